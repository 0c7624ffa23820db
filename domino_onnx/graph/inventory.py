"""Which weights of a model can be pruned, and why are the others left alone?"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from domino_onnx.codec.words import either
from domino_onnx.graph.fixed import fixed_function
from domino_onnx.graph.index import GraphIndex, Use
from domino_onnx.graph.inventory_notes import left_dense, of_same_density, replaceable
from domino_onnx.graph.io.external import overlapping
from domino_onnx.graph.io.read import OnnxFile
from domino_onnx.graph.io.tensors import FLOAT_TYPES
from domino_onnx.graph.macs import unpruned_macs, use_macs
from domino_onnx.graph.operators import WeightView
from domino_onnx.graph.selection import Selection
from domino_onnx.graph.shapes import ShapeTable
from domino_onnx.graph.walk import tensors
from domino_onnx.graph.weights import FoundWeight, find_weights, finite_values
from domino_onnx.scheme import Inventory, NMScheme, SchemePool, Site, Skip, StoredNumbers, WeightKey, WeightLayout

__all__ = ["take_inventory"]

_USUAL_M = (4, 8, 16, 32)
_AT_A_TIME = 1 << 18
"""Weights that are counted at a time."""
_UNLESS_NAMED = "; it is pruned only where a pattern to include names it"


def take_inventory(
    file: OnnxFile,
    pool: SchemePool,
    shapes: ShapeTable,
    selection: Selection | None = None,
    *,
    structure_only: bool = False,
) -> Inventory:
    """Find every stored tensor that reaches a Conv, ConvTranspose, Gemm or MatMul, and the weights of other operators.

    Parameters
    ----------
    pool
        The schemes that sites may get; decides what a reduction axis must be divisible by.
    shapes
        Inferred shapes of the model's tensors, for the MACs.
    structure_only
        Without a look at the weights' values, whatever they are: no zeros are counted, and no weight is found to be a
        fixed function.

    Raises
    ------
    ModelError
        If a weight can't be read or holds NaN or infinity, unless only its structure is asked for.
    PlanError
        If a pattern of `selection` matches nothing.
    """
    index = GraphIndex(file.proto)
    weights = find_weights(file, index)
    shared = _overlapping(file, weights)
    chosen = selection or Selection()
    chosen.require_matches([weight.names(key) for key, weight in weights.items()])
    sites: list[Site] = []
    skips: list[Skip] = []
    for key, weight in weights.items():
        values = None if structure_only else _values(file, weight)
        macs = _total_macs(weight, shapes)
        reason = shared.get(key) or _refusal(key, weight, values, pool, chosen)
        view, numbers = weight.views[0], weight.numbers
        if reason is None and view is not None and isinstance(numbers, StoredNumbers):
            sites.append(_site(key, weight, view, numbers, values, pool, macs))
        else:
            skip = _skip(key, weight, values, reason or "", macs)
            skips.append(dataclasses.replace(skip, by_options=reason == chosen.refuses(weight.names(key))))
    notes = (*left_dense(sites, skips), *file.notes, *of_same_density(pool), *replaceable(file, sites))
    return Inventory(sites=tuple(sites), skips=tuple(skips), notes=notes)


def _refusal(
    key: WeightKey,
    weight: FoundWeight,
    values: NDArray[np.generic] | None,
    pool: SchemePool,
    selection: Selection,
) -> str | None:
    """Why a weight can't be a site: the first reason that a user can act on."""
    if weight.reasons:
        return weight.reasons[0]
    if isinstance(weight.numbers, str):
        return weight.numbers
    if not math.prod(weight.shape):
        return "is empty"
    view = weight.views[0]
    if view is None or any(other is None or other.layout != view.layout for other in weight.views):
        readers = ", ".join(use.label for use in weight.uses)
        return f"its consumers ({readers}) sum over different axes of it"
    divisible = bool(pool.for_reduction(view.layout.reduction))
    names = weight.names(key)
    if values is not None and not selection.names_explicitly(key, names):
        what = fixed_function(values, view, weight.numbers)
        if what is not None:
            return f"is a fixed function, not trained: {what}" + (_UNLESS_NAMED if divisible else "")
    return selection.refuses(names) if divisible else _indivisible(weight, view.layout, pool)


def _indivisible(weight: FoundWeight, layout: WeightLayout, pool: SchemePool) -> str:
    grouped = max(_conv_groups(weight)) > 1
    if layout.reduction == 1:
        what = "depthwise: one input channel a group" if grouped else "the reduction axis has length 1"
        return f"{what}, so there is nothing to choose from"
    channels = "input channels a group" if grouped else "input channels"
    what = channels if weight.operator.startswith("Conv") else "weights along the reduction axis"
    return f"{layout.reduction} {what}: not divisible by {either(map(str, pool.group_sizes))}"


def _values(file: OnnxFile, weight: FoundWeight) -> NDArray[np.generic] | None:
    """A counted weight's values as they are stored, checked; None for others, and where a 0 isn't a zero."""
    if weight.tensor is None or not weight.counted or all(weight.as_scores):
        return None
    if weight.tensor.data_type not in FLOAT_TYPES and not isinstance(weight.numbers, StoredNumbers):
        return None
    return finite_values(file, weight.tensor, weight.uses[0].label)


def _site(
    key: WeightKey,
    weight: FoundWeight,
    view: WeightView,
    numbers: StoredNumbers,
    values: NDArray[np.generic] | None,
    pool: SchemePool,
    macs: int | None,
) -> Site:
    return Site(
        key=key,
        name=weight.uses[0].label,
        op=weight.operator,
        layout=view.layout,
        numbers=numbers,
        consumers=tuple(use.label for use in weight.uses),
        schemes=pool.for_reduction(view.layout.reduction),
        zeros=_zeros(values),
        holds=_sparsest_held(values, view.layout, pool) if values is not None else None,
        macs=macs,
        outputs=view.outputs,
        in_function=any(use.scope.in_function for use in weight.uses),
        nested=any(use.scope.nested for use in weight.uses),
        conv_groups=max(_conv_groups(weight)),
        operand=min(use.position for use in weight.uses),
        nodes=tuple(map(_node, weight.uses)),
    )


def _skip(
    key: WeightKey, weight: FoundWeight, values: NDArray[np.generic] | None, reason: str, macs: int | None
) -> Skip:
    return Skip(
        key=key,
        name=weight.uses[0].label,
        op=weight.operator,
        shape=weight.shape,
        params=weight.params,
        reason=reason,
        zeros=_zeros(values),
        macs=macs,
        counted=weight.counted,
        quantised=weight.quantised,
        in_function=any(use.scope.in_function for use in weight.uses),
    )


def _node(use: Use) -> tuple[str, str] | None:
    """As `Site.nodes` has it."""
    return None if use.node is None or use.scope.path else (use.node.name, next(iter(use.node.output), ""))


def _conv_groups(weight: FoundWeight) -> list[int]:
    return [view.conv_groups for view in weight.views if view is not None]


def _zeros(values: NDArray[np.generic] | None) -> int:
    return 0 if values is None else values.size - int(np.count_nonzero(values))


def _sparsest_held(values: NDArray[np.generic], layout: WeightLayout, pool: SchemePool) -> NMScheme | None:
    """The sparsest N:M with M in 4, 8, 16, 32 or the pool that the tensor obeys; of equals the smallest M."""
    if values.all():
        return None
    held = [
        NMScheme(max(most, 1), m)
        for m in {*_USUAL_M, *(scheme.m for scheme in pool.schemes)}
        if not layout.reduction % m and (most := _most_held(values, layout, m)) < m
    ]
    return min(held, key=lambda scheme: (scheme.density, scheme.m), default=None)


def _most_held(values: NDArray[np.generic], layout: WeightLayout, m: int) -> int:
    """The most non-zeros that a group of M holds. The first full group ends the search: few dense weights lack one."""
    stack, most = layout.stacked(values, m), 0
    step = max(_AT_A_TIME // (m * stack.shape[2]), 1)
    for start in range(0, len(stack), step):
        most = max(most, int((stack[start : start + step] != 0).sum(axis=1, dtype=np.int32).max()))
        if most == m:
            break
    return most


def _total_macs(weight: FoundWeight, shapes: ShapeTable) -> int | None:
    total = 0
    for use, view, parts in zip(weight.uses, weight.views, weight.parts, strict=True):
        if view is not None:
            macs = use_macs(use, view.layout, shapes)
        else:
            macs = unpruned_macs(use, weight.params, parts, shapes)
        if macs is None:
            return None
        total += macs
    return total


def _overlapping(file: OnnxFile, weights: dict[WeightKey, FoundWeight]) -> dict[WeightKey, str]:
    """Weights whose external bytes another tensor reads too: writing one would change the other."""
    clashing = overlapping(tensors(file.proto), file.folder)
    return {
        key: "shares its bytes in the external data file with another tensor"
        for key, weight in weights.items()
        if weight.tensor is not None and id(weight.tensor) in clashing
    }
