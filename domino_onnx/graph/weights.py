"""Which stored tensors are weights, who reads each, and what speaks against pruning it?"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from domino_onnx.errors import ModelError
from domino_onnx.graph.attributes import has_attribute_of_caller
from domino_onnx.graph.dequantize import smaller_as_integers
from domino_onnx.graph.index import GraphIndex, Use
from domino_onnx.graph.io.read import OnnxFile
from domino_onnx.graph.io.tensors import FLOAT_TYPES
from domino_onnx.graph.operators import PRUNABLE, WeightView, listed_inputs, operator_of, stored_view, weights_in
from domino_onnx.graph.stored_numbers import grid_of
from domino_onnx.graph.values import Derived, Sparse, Stored, in_function
from domino_onnx.plurals import quantity
from domino_onnx.scheme import StoredNumbers, WeightKey

__all__ = [
    "FoundWeight",
    "find_weights",
    "finite_values",
    "float_weights",
    "floats_left",
    "quantisers",
    "weight_readers",
]

_ROUNDING = ("DequantizeLinear", "QuantizeLinear")
_IN_INTEGERS = frozenset({"ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul"})


@dataclasses.dataclass(slots=True, kw_only=True)
class FoundWeight:
    """One stored tensor, to which its uses are added while the file is looked through.

    Attributes
    ----------
    tensor
        None for a sparse one.
    params
        How many weights its readers see in it.
    operator
        The first that reads it.
    views
        How each of `uses` reads it; None where the operator and the shape can't belong together.
    as_scores
        Whether each of `uses` reads it through Softmax, or a like operator. Then it may hold a mask's minus infinity,
        and its zeros are none to the reader.
    parts
        Weights of all tensors that are behind what each of `uses` reads.
    grids
        What its values can be for each use, or why that isn't known.
    reasons
        Why it can't be pruned, the most telling one first.
    counted
        Whether its zeros count for the sparsity of the model.
    rounded
        Whether the last operator before a use makes integers of it, or floats of integers.
    """

    tensor: TensorProto | None
    shape: tuple[int, ...]
    params: int
    operator: str
    uses: list[Use] = dataclasses.field(default_factory=list)
    views: list[WeightView | None] = dataclasses.field(default_factory=list)
    as_scores: list[bool] = dataclasses.field(default_factory=list)
    parts: list[int] = dataclasses.field(default_factory=list)
    grids: list[StoredNumbers | str] = dataclasses.field(default_factory=list)
    reasons: list[str] = dataclasses.field(default_factory=list)
    counted: bool = False
    rounded: bool = False

    @property
    def numbers(self) -> StoredNumbers | str:
        """What its values can be, the same for all who read it; else the reason why that isn't known."""
        refused = next((numbers for numbers in self.grids if isinstance(numbers, str)), None)
        if refused is not None:
            return refused
        return self.grids[0] if len(set(self.grids)) == 1 else "the nodes that read it don't agree on its values"

    @property
    def quantised(self) -> bool:
        """Whether integers are stored, or floats that become integers on the way."""
        return self.rounded or (self.tensor is not None and self.tensor.data_type not in FLOAT_TYPES)

    def names(self, key: WeightKey) -> list[str]:
        """What `--include` and `--exclude` may call the weight."""
        return [str(key), key.name, *(use.label for use in self.uses)]


class FloatsLeft(NamedTuple):
    """float32 weights in file order: stored in local functions, behind operators that aren't followed, and others."""

    in_functions: list[WeightKey]
    behind_operators: list[WeightKey]
    others: list[WeightKey]


def find_weights(file: OnnxFile, index: GraphIndex) -> dict[WeightKey, FoundWeight]:
    """Every weight with its uses, in file order; a weight also knows what else reads it."""
    weights: dict[WeightKey, FoundWeight] = {}
    others: list[tuple[WeightKey, Use]] = []
    for use in index.uses():
        value = index.weight(use)
        if value is None:
            continue
        if _is_weight(use, value) and not _is_learned_input(use, value, index):
            for stored in _origins(value):
                weight = _add(weights, use, value, stored, index)
            if isinstance(value, Stored):
                weight.grids.append(grid_of(file, value))
        elif isinstance(value, Stored):
            others.append((value.key, use))
        elif isinstance(value, Derived) and value.operator == "QuantizeLinear":  # which itself is no reader
            others += ((origin.key, use) for origin in value.origins)
    for key, use in others:
        if key in weights:
            weights[key].reasons.append(f"is {_other_reader(use)} as well, which zeros would change too")
    return weights


def finite_values(file: OnnxFile, tensor: TensorProto, reader: str) -> NDArray[np.generic]:
    """The values of a weight that the node `reader` reads, as they are stored.

    Raises
    ------
    ModelError
        If they can't be read, or some are NaN or infinity.
    """
    values = file.array(tensor)
    bad = values.size - int(np.count_nonzero(np.isfinite(values)))
    if bad:
        raise ModelError(
            f"{file.path}: weight {tensor.name!r} of {reader!r} holds NaN or infinity in {bad:,} of "
            f"{quantity(values.size, 'value')}; the model is broken already"
        )
    return values


def float_weights(file: OnnxFile) -> Iterator[tuple[WeightKey, NDArray[np.generic]]]:
    """Each float32 weight that counts, with its values: shared and derived ones too.

    Left out are those that all uses read as scores: a mask may be among them.

    Raises
    ------
    ModelError
        As `finite_values`.
    """
    for key, weight in find_weights(file, GraphIndex(file.proto)).items():
        if weight.tensor is None or weight.tensor.data_type != TensorProto.FLOAT or not weight.counted:
            continue
        if not all(weight.as_scores):
            yield key, finite_values(file, weight.tensor, weight.uses[0].label)


def floats_left(file: OnnxFile) -> FloatsLeft:
    """float32 weights of Conv, ConvTranspose, Gemm and MatMul, but for those that integers would hardly make smaller.

    No values are read.
    """
    left = FloatsLeft([], [], [])
    for key, weight in find_weights(file, GraphIndex(file.proto)).items():
        if weight.tensor is None or weight.tensor.data_type != TensorProto.FLOAT or weight.operator not in PRUNABLE:
            continue
        if not smaller_as_integers(math.prod(weight.shape), max(weight.shape, default=1)):
            continue
        if in_function(key.scope):
            left.in_functions.append(key)
        elif None in weight.views:
            left.behind_operators.append(key)
        else:
            left.others.append(key)
    return left


def weight_readers(file: OnnxFile) -> dict[WeightKey, str]:
    """The first node that reads each weight, by the name that the inventory gives it. No values are read."""
    weights = find_weights(file, GraphIndex(file.proto))
    return {key: weight.uses[0].label for key, weight in weights.items()}


def quantisers(file: OnnxFile, keys: Collection[WeightKey]) -> dict[WeightKey, tuple[NDArray[np.generic], ...]]:
    """The values of all scales and zero points between stored tensors and their readers, in their order, each once.

    Left out are tensors between which and their readers there are none.

    Parameters
    ----------
    keys
        Of the tensors.

    Raises
    ------
    ModelError
        If one can't be read.
    """
    index = GraphIndex(file.proto)
    found: dict[WeightKey, dict[int, TensorProto]] = {}
    for use in index.uses():
        value = index.value(use)
        if isinstance(value, Stored) and value.key in keys:
            found.setdefault(value.key, {}).update((id(tensor), tensor) for tensor in index.quantisers(use))
    return {key: tuple(map(file.array, tensors.values())) for key, tensors in found.items() if tensors}


def _is_weight(use: Use, value: Stored | Sparse | Derived) -> bool:
    operator = operator_of(use)
    rank = max(len(origin.tensor.dims) for origin in _origins(value))
    return use.position in listed_inputs(operator) or (operator.startswith("com.microsoft.") and rank >= 2)


def _is_learned_input(use: Use, value: Stored | Sparse | Derived, index: GraphIndex) -> bool:
    """Whether a constant takes the place of data: a learned query or state, repeated as often as the data want it."""
    is_left = operator_of(use) in ("Gemm", "MatMul") and use.position == 0
    return is_left and isinstance(value, Derived) and not value.is_fixed and _other_operand(use, index) is not None


def _origins(value: Stored | Sparse | Derived) -> tuple[Stored | Sparse, ...]:
    return value.origins if isinstance(value, Derived) else (value,)


def _other_reader(use: Use) -> str:
    if use.node is not None:
        return f"read by {use.node.op_type} {use.label!r}"
    return f"an output of {use.scope.label!r}" if use.scope.label else "a graph output"


def _add(
    weights: dict[WeightKey, FoundWeight],
    use: Use,
    value: Stored | Sparse | Derived,
    stored: Stored | Sparse,
    index: GraphIndex,
) -> FoundWeight:
    """Add a use to its weight, which is a new one for the first."""
    tensor, dims = (stored.tensor if isinstance(stored, Stored) else None), tuple(stored.tensor.dims)
    found = FoundWeight(tensor=tensor, shape=dims, params=weights_in(use, dims), operator=operator_of(use))
    weight = weights.setdefault(stored.key, found)
    view = stored_view(use, stored) if value is stored and isinstance(stored, Stored) else None
    weight.uses.append(use)
    weight.views.append(view)
    weight.as_scores.append(isinstance(value, Derived) and stored.key in value.scores)
    weight.parts.append(sum(weights_in(use, origin.tensor.dims) for origin in _origins(value)))
    weight.counted = weight.counted or use.position in listed_inputs(operator_of(use))
    weight.rounded = weight.rounded or (isinstance(value, Derived) and value.operator in _ROUNDING)
    weight.reasons += _reasons(use, value, view, weight.shape, index)
    return weight


def _reasons(
    use: Use, value: Stored | Sparse | Derived, view: WeightView | None, shape: tuple[int, ...], index: GraphIndex
) -> Iterator[str]:
    """Why this use keeps the weight from being pruned: at most one reason."""
    operator = operator_of(use)
    if operator not in PRUNABLE:
        yield _not_pruned(operator)
    elif isinstance(value, Sparse):
        yield "is stored as a sparse tensor"
    elif isinstance(value, Derived):
        yield (
            f"reaches the node through {value.operator}: pruning follows Identity, Transpose and Cast, a "
            "DequantizeLinear of stored integers, and a QuantizeLinear with its DequantizeLinear if zeros stay zeros"
        )
    elif _is_fixed(_other_operand(use, index)):
        yield "both operands of the node are constant"
    elif use.node is not None and has_attribute_of_caller(use.node):
        yield "the caller of a local function gives an attribute of the node, which isn't followed"
    elif view is None:
        yield f"its shape {shape} doesn't fit {operator}"


def _not_pruned(operator: str) -> str:
    reason = f"{operator} weights are not pruned, only those of Conv, ConvTranspose, Gemm and MatMul"
    if operator in _IN_INTEGERS:
        reason += "; integers are pruned behind a DequantizeLinear: quantise the model to that form (QDQ)"
    return reason


def _other_operand(use: Use, index: GraphIndex) -> Stored | Sparse | Derived | None:
    """What a product multiplies with besides; None for an activation, and for other operators."""
    node = use.node
    if node is None or node.op_type not in ("Gemm", "MatMul") or len(node.input) < 2:
        return None
    return index.trace(use.scope, node.input[1 - use.position])


def _is_fixed(value: Stored | Sparse | Derived | None) -> bool:
    return value is not None and (not isinstance(value, Derived) or value.is_fixed)
