"""Which stored tensors are weights, who reads each, and what speaks against pruning it?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from onnx import TensorProto

from domino_onnx.graph.attributes import has_attribute_of_caller
from domino_onnx.graph.index import GraphIndex, Use
from domino_onnx.graph.io.read import OnnxFile
from domino_onnx.graph.operators import PRUNABLE, WeightView, listed_inputs, operator_of, stored_view
from domino_onnx.graph.stored_numbers import grid_of
from domino_onnx.graph.values import Derived, Sparse, Stored
from domino_onnx.scheme import StoredNumbers, WeightKey

__all__ = ["FoundWeight", "find_weights", "weight_readers"]

_IN_INTEGERS = frozenset({"ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul"})


@dataclasses.dataclass(slots=True, kw_only=True)
class FoundWeight:
    """One stored tensor, to which its uses are added while the file is looked through.

    Attributes
    ----------
    tensor
        None for a sparse one.
    operator
        The first that reads it.
    views
        How each of `uses` reads it; None where the operator and the shape can't belong together.
    grids
        What its values can be for each use, or why that isn't known.
    reasons
        Why it can't be pruned, the most telling one first.
    counted
        Whether its zeros count for the sparsity of the model.
    """

    tensor: TensorProto | None
    shape: tuple[int, ...]
    operator: str
    uses: list[Use] = dataclasses.field(default_factory=list)
    views: list[WeightView | None] = dataclasses.field(default_factory=list)
    grids: list[StoredNumbers | str] = dataclasses.field(default_factory=list)
    reasons: list[str] = dataclasses.field(default_factory=list)
    counted: bool = True

    @property
    def numbers(self) -> StoredNumbers | str:
        """What its values can be, the same for all who read it; else the reason why that isn't known."""
        refused = next((numbers for numbers in self.grids if isinstance(numbers, str)), None)
        if refused is not None:
            return refused
        return self.grids[0] if len(set(self.grids)) == 1 else "the nodes that read it don't agree on its values"

    def names(self, key: WeightKey) -> list[str]:
        """What `--include` and `--exclude` may call the weight."""
        return [str(key), key.name, *(use.label for use in self.uses)]


def find_weights(file: OnnxFile, index: GraphIndex) -> dict[WeightKey, FoundWeight]:
    """Every weight with its uses, in file order; a weight also knows what else reads it."""
    weights: dict[WeightKey, FoundWeight] = {}
    others: list[tuple[WeightKey, Use]] = []
    for use in index.uses():
        value = index.value(use)
        if value is None:
            continue
        if _is_weight(use, value):
            weight = _add(weights, use, value, index)
            if isinstance(value, Stored):
                weight.grids.append(grid_of(file, value))
        elif isinstance(value, Stored):
            others.append((value.key, use))
        elif isinstance(value, Derived) and value.operator == "QuantizeLinear":  # which itself is no reader
            others.append((value.origin.key, use))
    for key, use in others:
        if key in weights:
            weights[key].reasons.append(f"is {_other_reader(use)} as well, which zeros would change too")
    return weights


def weight_readers(file: OnnxFile) -> dict[WeightKey, str]:
    """The first node that reads each weight, by the name that the inventory gives it. No values are read."""
    weights = find_weights(file, GraphIndex(file.proto))
    return {key: weight.uses[0].label for key, weight in weights.items() if weight.uses}


def _is_weight(use: Use, value: Stored | Sparse | Derived) -> bool:
    operator = operator_of(use)
    rank = len(value.origin.tensor.dims if isinstance(value, Derived) else value.tensor.dims)
    return use.position in listed_inputs(operator) or (operator.startswith("com.microsoft.") and rank >= 2)


def _other_reader(use: Use) -> str:
    if use.node is not None:
        return f"read by {use.node.op_type} {use.label!r}"
    return f"an output of {use.scope.label!r}" if use.scope.label else "a graph output"


def _add(
    weights: dict[WeightKey, FoundWeight], use: Use, value: Stored | Sparse | Derived, index: GraphIndex
) -> FoundWeight:
    """Add a use to its weight, which is a new one for the first."""
    stored = value.origin if isinstance(value, Derived) else value
    tensor = stored.tensor if isinstance(stored, Stored) else None
    found = FoundWeight(tensor=tensor, shape=tuple(stored.tensor.dims), operator=operator_of(use))
    weight = weights.setdefault(stored.key, found)
    view = stored_view(use, stored) if isinstance(stored, Stored) else None
    weight.uses.append(use)
    weight.views.append(view)
    weight.counted = weight.counted and operator_of(use) in PRUNABLE
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
            f"reaches the node through {value.operator}; only Identity, Transpose, Cast, a DequantizeLinear of stored "
            "integers, and a QuantizeLinear with its DequantizeLinear that keep zeros zeros, are followed"
        )
    elif _other_operand_is_constant(use, index):
        yield "both operands of the node are constant"
    elif use.node is not None and has_attribute_of_caller(use.node):
        yield "the caller of a local function gives an attribute of the node, which isn't followed"
    elif view is None:
        yield f"its shape {shape} doesn't fit {operator}"


def _not_pruned(operator: str) -> str:
    reason = f"{operator} weights are not pruned, only those of Conv, ConvTranspose, Gemm and MatMul"
    if operator in _IN_INTEGERS:
        reason += ", integers among them that DequantizeLinear makes floats of: quantise the model to that form (QDQ)"
    return reason


def _other_operand_is_constant(use: Use, index: GraphIndex) -> bool:
    node = use.node
    if node is None or node.op_type not in ("Gemm", "MatMul") or len(node.input) < 2:
        return False
    return index.trace(use.scope, node.input[1 - use.position]) is not None
