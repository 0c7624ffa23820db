"""Attention: two products of activations with a softmax between them become one operator."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto

from domino_onnx.deployment.activations import scalar_of
from domino_onnx.deployment.layer import Shapes
from domino_onnx.deployment.operators import DOMAIN, import_operators
from domino_onnx.deployment.surgeon import drop_unread, exported, must_stay, open_graph, require_surgeon
from domino_onnx.deployment.values import stored_of
from domino_onnx.graph import sort_nodes

__all__ = ["with_attention"]

_RANKS = (3, 4)
_AROUND = ("Add", "Constant", "Div", "MatMul", "Mul", "Softmax", "Transpose")
_SOFTMAX_OF_LAST_AXIS = 13
"""The opset from which Softmax takes the last axis where it names none."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Operand:
    """A tensor whose axes, put in another order, and whose values, times a factor, a product takes."""

    tensor: Any
    order: tuple[int, ...]
    scale: float = 1.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Scores:
    """`q` times `k`, times a factor, plus a mask where there is one."""

    q: _Operand
    k: _Operand
    scale: float
    mask: Any
    shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """softmax(scores) times `v`, with the axes of the result in an order; `last` is the node that gives it."""

    scores: _Scores
    v: _Operand
    order: tuple[int, ...]
    last: Any


def with_attention(model: ModelProto, *runs: Shapes) -> tuple[ModelProto, int]:
    """The model with each attention as one operator, and how many these are.

    Factors, transposes and a mask around the products join in.

    Parameters
    ----------
    runs
        Shapes of activations that are float32, as far as they were seen in each of one or several runs; attention
        between others is left alone. A mask must fit in all of them.
    """
    graph = open_graph(model)
    search = _Search(runs, must_stay(graph), graph.opset)
    count = 0
    for node in list(graph.nodes):
        found = search.attention_around(node)
        if found is not None:
            _replace(graph, found)
            count += 1
    if not count:
        return model, 0
    drop_unread(graph, _AROUND)
    result = exported(graph, model)
    sort_nodes(result.graph)
    import_operators(result)
    return result, count


class _Search:
    """Finds attention around a softmax."""

    def __init__(self, runs: Sequence[Shapes], outputs: set[int], opset: int) -> None:
        self._runs = runs
        self._floats = runs[0]
        self._outputs = outputs
        self._opset = opset

    def attention_around(self, softmax: Any) -> _Found | None:
        if softmax.domain or softmax.op != "Softmax":
            return None
        scores = self._scores(softmax.inputs[0])
        product = self._only_reader(softmax.outputs[0])
        if scores is None or product is None or not self._takes_last_axis(softmax, len(scores.shape)):
            return None
        if product.domain or product.op != "MatMul" or product.inputs[0] is not softmax.outputs[0]:
            return None
        values = product.inputs[1]
        if len(self._floats.get(values.name, ())) != len(scores.shape):
            return None
        v = self._operand(values, is_scaled=False)
        behind = self._only_reader(product.outputs[0])
        order = None if behind is None or behind.domain or behind.op != "Transpose" else _order_of(behind, len(v.order))
        if order is not None and order[-1] == len(order) - 1:
            return _Found(scores=scores, v=v, order=order, last=behind)
        return _Found(scores=scores, v=v, order=tuple(range(len(v.order))), last=product)

    def _scores(self, tensor: Any) -> _Scores | None:
        node = self._only_producer(tensor)
        if node is None:
            return None
        if node.op != "Add":
            return self._product(tensor)
        for scores, mask in (node.inputs, node.inputs[::-1]):
            found = self._product(scores)
            if found is not None and self._fits(mask, scores.name):
                return dataclasses.replace(found, mask=mask)
        return None

    def _product(self, tensor: Any) -> _Scores | None:
        """A product of two activations, times stored numbers."""
        scale, node = 1.0, self._only_producer(tensor)
        while node is not None and node.op != "MatMul":
            factor = _factor_of(node)
            if factor is None:
                return None
            tensor, scale = factor[0], scale * factor[1]
            node = self._only_producer(tensor)
        shape = self._floats.get(tensor.name, ())
        if node is None or len(shape) not in _RANKS:
            return None
        if any(len(self._floats.get(each.name, ())) != len(shape) for each in node.inputs):
            return None
        q, k = (self._operand(each, is_scaled=True) for each in node.inputs)
        return _Scores(q=q, k=k, scale=scale * q.scale * k.scale, mask=None, shape=shape)

    def _operand(self, tensor: Any, *, is_scaled: bool) -> _Operand:
        """What a product reads, behind transposes and factors: they may have other readers, which keep them."""
        operand = _Operand(tensor=tensor, order=tuple(range(len(self._floats[tensor.name]))))
        while len(operand.tensor.inputs) == 1 and not operand.tensor.inputs[0].domain:
            node = operand.tensor.inputs[0]
            order = _order_of(node, len(operand.order)) if node.op == "Transpose" else None
            factor = _factor_of(node) if is_scaled else None
            if order is not None:
                after = tuple(order[axis] for axis in operand.order)
                operand = dataclasses.replace(operand, tensor=node.inputs[0], order=after)
            elif factor is not None:
                operand = dataclasses.replace(operand, tensor=factor[0], scale=operand.scale * factor[1])
            else:
                break
        return operand

    def _fits(self, mask: Any, scores: str) -> bool:
        """Whether a mask is of float32 and repeats along axes of the scores.

        At other sizes the operator asks that of the last two axes; in front of them the scores may repeat as well.
        """
        stored = stored_of(mask)
        if stored is not None and stored.dtype != np.float32:
            return False
        for place, shapes in enumerate(self._runs):
            own, wanted = shapes.get(mask.name) if stored is None else stored.shape, shapes.get(scores)
            if own is None or wanted is None:
                return False
            axes = slice(-2 if place else None, None)
            if not _repeats(own[axes], wanted[axes]):
                return False
        return True

    def _takes_last_axis(self, softmax: Any, rank: int) -> bool:
        axis = softmax.attrs.get("axis", -1 if self._opset >= _SOFTMAX_OF_LAST_AXIS else 1)
        return axis in (-1, rank - 1)

    def _only_producer(self, tensor: Any) -> Any:
        """The node that gives a tensor which one node alone reads; None for others."""
        if id(tensor) in self._outputs or len(tensor.outputs) != 1 or len(tensor.inputs) != 1:
            return None
        return None if tensor.inputs[0].domain else tensor.inputs[0]

    def _only_reader(self, tensor: Any) -> Any:
        return tensor.outputs[0] if id(tensor) not in self._outputs and len(tensor.outputs) == 1 else None


def _repeats(own: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether an array of the first shape repeats along axes of one of the second."""
    if len(own) > len(shape):
        return False
    return all(size in (1, wanted) for size, wanted in zip(own[::-1], shape[::-1], strict=False))


def _factor_of(node: Any) -> tuple[Any, float] | None:
    """What a Mul or Div multiplies with a stored number, and that number; None for other nodes."""
    if node.domain or node.op not in ("Mul", "Div"):
        return None
    tensor, number = node.inputs
    if node.op == "Mul" and scalar_of(number, min(_RANKS)) is None:
        tensor, number = number, tensor
    value = scalar_of(number, min(_RANKS))
    if value is None or (node.op == "Div" and value == 0):
        return None
    return tensor, value if node.op == "Mul" else 1 / value


def _order_of(node: Any, rank: int) -> tuple[int, ...] | None:
    """The axes that a Transpose reads, in the order of its result; None where it isn't of that rank."""
    order = tuple(node.attrs.get("perm", range(rank - 1, -1, -1)))
    return order if sorted(order) == list(range(rank)) else None


def _replace(graph: Any, found: _Found) -> None:
    """Put one node in the place of the last one that was found."""
    scores, output = found.scores, found.last.outputs[0]
    orders = {"q": scores.q.order, "k": scores.k.order, "v": found.v.order, "y": found.order}
    moved = {name: order for name, order in orders.items() if order != tuple(range(len(order)))}
    attributes = {"scale": scores.scale, **{f"{name}_order": list(order) for name, order in moved.items()}}
    place, name = graph.nodes.index(found.last), found.last.name
    found.last.inputs.clear()
    found.last.outputs.clear()
    inputs = [scores.q.tensor, scores.k.tensor, found.v.tensor, *([] if scores.mask is None else [scores.mask])]
    graph.nodes[place] = require_surgeon().Node(
        op="NmAttention", attrs=attributes, inputs=inputs, outputs=[output], domain=DOMAIN, name=name
    )
