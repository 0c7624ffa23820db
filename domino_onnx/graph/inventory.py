"""Every weight of a model as a site, or as a skip with its reason."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto

from domino_onnx.errors import ModelError, PlanError
from domino_onnx.graph.grids import grid_of
from domino_onnx.graph.index import GraphIndex, Use
from domino_onnx.graph.io.external import overlapping
from domino_onnx.graph.io.read import OnnxFile
from domino_onnx.graph.io.tensors import FLOAT_TYPES
from domino_onnx.graph.macs import use_macs
from domino_onnx.graph.shapes import ShapeTable
from domino_onnx.graph.values import Derived, Sparse, Stored
from domino_onnx.graph.walk import normal_domain, tensors
from domino_onnx.scheme import Grid, Inventory, NMScheme, SchemePool, Site, Skip, WeightKey, WeightLayout
from domino_onnx.scheme.nm import MIN_M

__all__ = ["PRUNABLE", "Selection", "operator_of", "take_inventory", "use_layout"]

PRUNABLE = {"Conv": (1,), "ConvTranspose": (1,), "Gemm": (0, 1), "MatMul": (0, 1)}
_LISTED = {
    "LSTM": (1, 2),
    "GRU": (1, 2),
    "RNN": (1, 2),
    "DeformConv": (1,),
    "Einsum": (0, 1),
    "ConvInteger": (1,),
    "MatMulInteger": (0, 1),
    "QLinearConv": (3,),
    "QLinearMatMul": (0, 3),
}
"""Operators whose weights are reported but not pruned, and at which inputs those stand."""
_IN_INTEGERS = frozenset({"ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul"})
_USUAL_M = (4, 8, 16, 32)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which weights a user wants pruned: shell patterns over weight and node names; no `include` means all."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def require_matches(self, weights: Iterable[Sequence[str]]) -> None:
        """Raise PlanError for a pattern that matches none of the names: a typo would prune what was to stay dense."""
        names = [name for known in weights for name in known]
        for option, patterns in (("--include", self.include), ("--exclude", self.exclude)):
            for pattern in patterns:
                if not any(fnmatchcase(name, pattern) for name in names):
                    raise PlanError(
                        f"{option} {pattern!r} matches no weight and no node; domino-onnx inspect lists them"
                    )

    def refuses(self, names: Sequence[str]) -> str | None:
        """Why a weight known by `names` is left out, None if it isn't."""
        for pattern in self.exclude:
            if any(fnmatchcase(name, pattern) for name in names):
                return f"excluded by --exclude {pattern!r}"
        if self.include and not any(fnmatchcase(name, pattern) for name in names for pattern in self.include):
            return "matches no --include pattern"
        return None


@dataclasses.dataclass(slots=True)
class _Weight:
    """One stored tensor while its uses are gathered."""

    tensor: TensorProto | None
    shape: tuple[int, ...]
    operator: str
    uses: list[Use] = dataclasses.field(default_factory=list)
    layouts: list[WeightLayout | None] = dataclasses.field(default_factory=list)
    grids: list[Grid | str] = dataclasses.field(default_factory=list)
    reasons: list[str] = dataclasses.field(default_factory=list)
    counted: bool = True
    outputs: int = 0

    @property
    def grid(self) -> Grid | str:
        """What its values can be, the same for all who read it; else the reason why that isn't known."""
        refused = next((grid for grid in self.grids if isinstance(grid, str)), None)
        if refused is not None:
            return refused
        return self.grids[0] if len(set(self.grids)) == 1 else "the nodes that read it don't agree on its values"


def take_inventory(
    file: OnnxFile,
    pool: SchemePool,
    shapes: ShapeTable,
    selection: Selection | None = None,
) -> Inventory:
    """Find every constant weight of Conv, ConvTranspose, Gemm and MatMul, and list those of other operators.

    Parameters
    ----------
    pool
        The schemes that sites may get; decides what a reduction axis must be divisible by.
    shapes
        Inferred shapes of the model's tensors, for the MACs.

    Raises
    ------
    ModelError
        If a weight can't be read or holds NaN or infinity.
    PlanError
        If a pattern of `selection` matches nothing.
    """
    index = GraphIndex(file.proto)
    weights = _gather(file, index)
    shared = _overlapping(file, weights)
    chosen = selection or Selection()
    chosen.require_matches([_names(key, weight) for key, weight in weights.items()])
    sites: list[Site] = []
    skips: list[Skip] = []
    for key, weight in weights.items():
        if not weight.uses:
            continue
        values = _values(file, weight)
        macs = _total_macs(weight, shapes)
        reason = shared.get(key) or _refusal(key, weight, pool, chosen)
        layout, grid = weight.layouts[0], weight.grid
        if reason is None and layout is not None and isinstance(grid, Grid):
            sites.append(_site(key, weight, layout, grid, values, pool, macs))
        else:
            skips.append(_skip(key, weight, values, reason or "", macs))
    return Inventory(sites=tuple(sites), skips=tuple(skips), notes=(*_pool_notes(pool), *_notes(file, sites)))


def _gather(file: OnnxFile, index: GraphIndex) -> dict[WeightKey, _Weight]:
    """Uses of every weight, in file order; a weight also knows what else reads it."""
    weights: dict[WeightKey, _Weight] = {}
    others: list[tuple[WeightKey, Use]] = []
    for use in index.uses():
        operator = operator_of(use)
        value = index.value(use)
        if value is None:
            continue
        listed = _LISTED.get(operator, ()) if operator not in PRUNABLE else PRUNABLE[operator]
        contrib = operator.startswith("com.microsoft.") and _rank(value) >= 2
        if use.position in listed or contrib:
            weight = _add(weights, use, operator, value, index)
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


def _other_reader(use: Use) -> str:
    if use.node is not None:
        return f"read by {use.node.op_type} {use.label!r}"
    return f"an output of {use.scope.label!r}" if use.scope.label else "a graph output"


def operator_of(use: Use) -> str:
    """The operator that reads, after its domain if it isn't a standard one; empty for an output of a graph."""
    if use.node is None:
        return ""
    domain = normal_domain(use.node.domain)
    return f"{domain}.{use.node.op_type}" if domain else use.node.op_type


def _rank(value: Stored | Sparse | Derived) -> int:
    return len(value.tensor.dims if not isinstance(value, Derived) else value.origin.tensor.dims)


def _add(
    weights: dict[WeightKey, _Weight], use: Use, operator: str, value: Stored | Sparse | Derived, index: GraphIndex
) -> _Weight:
    stored = value.origin if isinstance(value, Derived) else value
    tensor = stored.tensor if isinstance(stored, Stored) else None
    weight = weights.setdefault(stored.key, _Weight(tensor, tuple(stored.tensor.dims), operator))
    layout = use_layout(use, stored, operator) if isinstance(stored, Stored) else None
    weight.uses.append(use)
    weight.layouts.append(layout)
    if isinstance(value, Stored) and layout is not None and use.node is not None:
        weight.outputs = _outputs(use.node, value, layout)
    if operator not in PRUNABLE:
        weight.counted = False
        weight.reasons.append(f"{operator} weights are not pruned, only those of Conv, ConvTranspose, Gemm and MatMul")
        if operator in _IN_INTEGERS:
            weight.reasons[-1] += (
                ", integers among them that DequantizeLinear makes floats of: quantise the model to that form (QDQ)"
            )
    elif isinstance(value, Sparse):
        weight.reasons.append("is stored as a sparse tensor")
    elif isinstance(value, Derived):
        weight.reasons.append(
            f"reaches the node through {value.operator}; only Identity, Transpose, Cast, a DequantizeLinear of stored "
            "integers, and a QuantizeLinear with its DequantizeLinear that keep zeros zeros, are followed"
        )
    elif _other_operand_is_constant(use, index):
        weight.reasons.append("both operands of the node are constant")
    elif _has_caller_attribute(use):
        weight.reasons.append("the caller of a local function gives an attribute of the node, which isn't followed")
    elif layout is None:
        weight.reasons.append(f"its shape {value.shape} doesn't fit {operator}")
    return weight


def _has_caller_attribute(use: Use) -> bool:
    return use.node is not None and any(attribute.ref_attr_name for attribute in use.node.attribute)


def _other_operand_is_constant(use: Use, index: GraphIndex) -> bool:
    node = use.node
    if node is None or node.op_type not in ("Gemm", "MatMul") or len(node.input) < 2:
        return False
    return index.trace(use.scope, node.input[1 - use.position]) is not None


def use_layout(use: Use, value: Stored, operator: str) -> WeightLayout | None:
    """How the consumer sums over the stored tensor; None if the shapes can't belong together."""
    node, shape = use.node, value.shape
    if node is None or operator not in PRUNABLE or not shape:
        return None
    if operator == "MatMul":
        view = WeightLayout.matrix(shape, left=use.position == 0)
    elif operator == "Gemm":
        transposed = bool(_attribute(node, "transA" if use.position == 0 else "transB", 0))
        view = WeightLayout.matrix(shape, left=use.position == 0, transposed=transposed)
    elif len(shape) < 3:
        return None
    elif operator == "Conv":
        view = WeightLayout.conv(shape)
    else:
        groups = _attribute(node, "group", 1)
        if groups < 1 or shape[0] % groups:
            return None
        view = WeightLayout.conv_transpose(shape, groups)
    return view.stored_as(value.axes, value.tensor.dims)


def _outputs(node: NodeProto, value: Stored, layout: WeightLayout) -> int:
    """How many channels, rows or columns the consumer makes with the weight."""
    if node.op_type == "Conv":
        return value.shape[0]
    if node.op_type == "ConvTranspose":
        return value.shape[1] * _attribute(node, "group", 1)
    other = [size for axis, size in zip(value.axes, value.shape, strict=True) if axis != layout.axis]
    return other[-1] if other else 1


def _is_nested(use: Use) -> bool:
    """Whether a use stands in the body of an If, Loop or Scan; a local function is as good as the main graph."""
    return any(not part.startswith("function ") for part in use.scope.path)


def _conv_groups(use: Use) -> int:
    is_conv = use.node is not None and use.node.op_type in ("Conv", "ConvTranspose")
    return _attribute(use.node, "group", 1) if is_conv and use.node is not None else 1


def _attribute(node: NodeProto, name: str, default: int) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == name), default)


def _refusal(key: WeightKey, weight: _Weight, pool: SchemePool, selection: Selection) -> str | None:
    """Why a weight can't be a site: the first reason that a user can act on."""
    if weight.reasons:
        return weight.reasons[0]
    if isinstance(weight.grid, str):
        return weight.grid
    if not math.prod(weight.shape):
        return "is empty"
    layout = weight.layouts[0]
    if layout is None or any(other != layout for other in weight.layouts):
        readers = ", ".join(use.label for use in weight.uses)
        return f"its consumers ({readers}) sum over different axes of it"
    if not pool.for_reduction(layout.reduction):
        return _indivisible(weight, layout, pool)
    return selection.refuses(_names(key, weight))


def _names(key: WeightKey, weight: _Weight) -> list[str]:
    """What `--include` and `--exclude` may call a weight."""
    return [str(key), key.name, *(use.label for use in weight.uses)]


def _indivisible(weight: _Weight, layout: WeightLayout, pool: SchemePool) -> str:
    if layout.reduction == 1:
        grouped = any(_conv_groups(use) > 1 for use in weight.uses)
        what = "depthwise: one input channel a group" if grouped else "the reduction axis has length 1"
        return f"{what}, so there is nothing to choose from"
    what = "input channels a group" if weight.operator.startswith("Conv") else "weights along the reduction axis"
    groups = sorted({scheme.m for scheme in pool.schemes if not scheme.is_dense})
    smaller = ", nor by a smaller power of two (4 or more) that can have the same density" if groups[-1] > MIN_M else ""
    return f"{layout.reduction} {what}: not divisible by {' or '.join(map(str, groups))}{smaller}"


def _values(file: OnnxFile, weight: _Weight) -> NDArray[np.generic] | None:
    """A counted weight's values as they are stored, checked; None for others, and where a 0 isn't a zero."""
    if weight.tensor is None or not weight.counted:
        return None
    if weight.tensor.data_type not in FLOAT_TYPES and not isinstance(weight.grid, Grid):
        return None
    values = file.array(weight.tensor)
    bad = values.size - int(np.count_nonzero(np.isfinite(values)))
    if bad:
        raise ModelError(
            f"{file.path}: weight {weight.tensor.name!r} of {weight.uses[0].label!r} holds {bad} NaN or infinite "
            f"value(s) of {values.size}; the model is broken before any pruning"
        )
    return values


def _site(
    key: WeightKey,
    weight: _Weight,
    layout: WeightLayout,
    grid: Grid,
    values: NDArray[np.generic] | None,
    pool: SchemePool,
    macs: int | None,
) -> Site:
    return Site(
        key=key,
        name=weight.uses[0].label,
        op=weight.operator,
        layout=layout,
        grid=grid,
        consumers=tuple(use.label for use in weight.uses),
        schemes=pool.for_reduction(layout.reduction),
        zeros=_zeros(values),
        holds=_sparsest_held(values, layout, pool) if values is not None else None,
        macs=macs,
        outputs=weight.outputs,
        nested=any(_is_nested(use) for use in weight.uses),
        conv_groups=max(_conv_groups(use) for use in weight.uses),
        operand=min(use.position for use in weight.uses),
    )


def _skip(key: WeightKey, weight: _Weight, values: NDArray[np.generic] | None, reason: str, macs: int | None) -> Skip:
    return Skip(
        key=key,
        name=weight.uses[0].label,
        op=weight.operator,
        shape=weight.shape,
        params=math.prod(weight.shape),
        reason=reason,
        zeros=_zeros(values),
        macs=macs,
        counted=weight.counted,
    )


def _zeros(values: NDArray[np.generic] | None) -> int:
    return 0 if values is None else values.size - int(np.count_nonzero(values))


def _sparsest_held(values: NDArray[np.generic], layout: WeightLayout, pool: SchemePool) -> NMScheme | None:
    """The sparsest N:M with M in 4, 8, 16, 32 or the pool that the tensor obeys; of equals the smallest M."""
    if values.all():
        return None
    held = [
        NMScheme(max(most, 1), m)
        for m in {*_USUAL_M, *(scheme.m for scheme in pool.schemes)}
        if not layout.reduction % m
        and (most := int(np.count_nonzero(layout.to_groups(values != 0, m), axis=1).max())) < m
    ]
    return min(held, key=lambda scheme: (scheme.density, scheme.m), default=None)


def _total_macs(weight: _Weight, shapes: ShapeTable) -> int | None:
    total = 0
    for use, layout in zip(weight.uses, weight.layouts, strict=True):
        macs = use_macs(use, layout, shapes) if layout is not None else None
        if macs is None:
            return None
        total += macs
    return total


def _overlapping(file: OnnxFile, weights: dict[WeightKey, _Weight]) -> dict[WeightKey, str]:
    """Weights whose external bytes another tensor reads too: writing one would change the other."""
    clashing = overlapping(tensors(file.proto), file.folder)
    return {
        key: "shares its bytes in the external data file with another tensor"
        for key, weight in weights.items()
        if weight.tensor is not None and id(weight.tensor) in clashing
    }


def _pool_notes(pool: SchemePool) -> Iterable[str]:
    for schemes in pool.rivals:
        smallest, *others = map(str, schemes)
        yield (
            f"{smallest}, {', '.join(others)} keep the same share: a site gets the one with the largest M that divides "
            f"its axis; leave {', '.join(others)} out to have {smallest} everywhere"
        )


def _notes(file: OnnxFile, sites: Iterable[Site]) -> tuple[str, ...]:
    inputs = {value.name for value in file.proto.graph.input}
    overridable = [str(site.key) for site in sites if not site.key.scope and site.key.name in inputs]
    if not overridable or file.proto.ir_version < 4:
        return ()
    names = ", ".join(overridable)
    return (f"graph inputs of the same name may replace these weights at run time, zeros included: {names}",)
