"""Which stored tensors is a value made of, through whatever operators, subgraphs and functions?

A value is made of stored tensors alone if no input of the model has a say in its numbers. The data may say which part
of a tensor is taken, and in which shape: a Slice whose bounds come from Shape makes no activation of a weight.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import TypeAlias

from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, helper

from domino_onnx.graph.order import RANDOM
from domino_onnx.graph.values import Feed, Scope, Sparse, Stored, stored_in
from domino_onnx.graph.walk import normal_domain
from domino_onnx.scheme import WeightKey

__all__ = ["Reach", "Reached", "fed_by"]

_MOVED: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys(
        (
            *("Cast", "CastLike", "Clip", "Compress", "CumSum", "DepthToSpace", "DequantizeLinear", "Dropout"),
            *("Expand", "Flatten", "Identity", "Pad", "QuantizeLinear", "Reshape", "Resize", "ReverseSequence"),
            *("SequenceAt", "Slice", "SpaceToDepth", "Split", "SplitToSequence", "Squeeze", "Tile", "TopK"),
            *("Transpose", "Trilu", "Unsqueeze", "Upsample"),
        ),
        (0,),
    ),
    "Where": (1, 2),
}
"""Operators that move numbers about, and the inputs with the numbers; the others say where to."""
_JOINED = frozenset({"Concat", "ConcatFromSequence", "SequenceConstruct", "SequenceInsert"})
"""Operators whose output holds the numbers of all inputs. Of others the largest tensor is the weight."""
_OF_SCORES = frozenset({"Exp", "Hardmax", "Sigmoid", "Softmax"})
"""Operators that take scores: minus infinity is a mask's, and becomes 0; a 0 becomes no zero."""
_OF_SHAPES = frozenset({"Shape", "Size"})
_MIXED = frozenset({"Add", "Div", "Mul", "Sub", "Sum", *_MOVED, *_JOINED})
_Place: TypeAlias = tuple[Scope, str]


@dataclasses.dataclass(frozen=True, slots=True)
class Reached:
    """The stored tensors that a value is made of; `is_fixed` is False where the data say which part of them.

    `scores` has those of them that Softmax, or a like operator, takes on the way.
    """

    origins: tuple[Stored | Sparse, ...] = ()
    is_fixed: bool = True
    scores: frozenset[WeightKey] = frozenset()


class Reach:
    """Answers for all values of a model, each found once."""

    def __init__(self) -> None:
        self._known: dict[_Place, Reached | None] = {}

    def of(self, scope: Scope, name: str) -> Reached | None:
        """What a value is made of; None if an input of the model, or chance, has a say in its numbers."""
        start = scope.locate(name)
        if start is None:
            return None
        waiting, opened = [start], set[_Place]()
        while waiting:  # no recursion: a chain may be 50,000 nodes long
            place = waiting[-1]
            if place in self._known:
                waiting.pop()
                continue
            sources, controls = _sources(*place), _controls(*place)
            needed = (*(sources or ()), *controls)
            missing = [source for source in needed if source is not None and source not in self._known]
            if missing and place not in opened:
                opened.add(place)
                waiting += missing
            else:
                self._known[place] = self._made(place, sources, controls)
                waiting.pop()
        return self._known[start]

    def kernel(self, scope: Scope, name: str) -> tuple[Stored | Sparse, ...]:
        """Tensors of two axes and more that a kernel mixes with activations, as a modulated convolution does."""
        found: dict[WeightKey, Stored | Sparse] = {}
        waiting, seen = [scope.locate(name)], set[_Place]()
        while waiting:
            place = waiting.pop()
            if place is None or place in seen:
                continue
            seen.add(place)
            reached = self.of(*place)
            if reached is not None:
                found.update((origin.key, origin) for origin in reached.origins if _is_matrix(origin))
            else:
                node = _producer(*place)
                if node is not None and node.op_type in _MIXED and not normal_domain(node.domain):
                    waiting += _content(place[0], node)
        return tuple(found.values())

    def _made(
        self, place: _Place, sources: Sequence[_Place | None] | None, controls: Sequence[_Place]
    ) -> Reached | None:
        scope, name = place
        stored = _stored(scope, name)
        if stored is not None or sources is None:
            return None if stored is None else Reached(stored)
        parts = [None if source is None else self._known.get(source) for source in sources]
        reached = [part for part in parts if part is not None]
        if len(reached) < len(parts):
            return None
        node = _producer(scope, name)
        is_shape = _is_one_of(node, _OF_SHAPES)
        steering = [self._known.get(control) for control in controls]
        is_fixed = not is_shape and all(part is not None and part.is_fixed for part in (*reached, *steering))
        keeps_all = node is None or scope.producers.get(name) in scope.inner or _moves(node)
        origins = _origins(reached, keeps_all=keeps_all)
        if _is_one_of(node, _OF_SCORES):
            return Reached(origins, is_fixed, frozenset(origin.key for origin in origins))
        return Reached(origins, is_fixed, frozenset().union(*(part.scores for part in reached)))


def fed_by(node: NodeProto, body: GraphProto, around: Scope) -> dict[str, Feed]:
    """Inputs of a Loop's or Scan's body that are a value of the graph around it: as it is, or slice by slice."""
    if normal_domain(node.domain) or node.op_type not in ("Loop", "Scan"):
        return {}
    formals = [value.name for value in body.input]
    results = [value.name for value in body.output]
    if node.op_type == "Loop":
        pairs, carried, results = list(zip(formals[2:], node.input[2:], strict=False)), len(formals) - 2, results[1:]
    else:
        sliced = next((attribute.i for attribute in node.attribute if attribute.name == "num_scan_inputs"), 0)
        actuals = node.input[len(node.input) - len(formals) :] if len(node.input) >= len(formals) else node.input
        pairs, carried = list(zip(formals, actuals, strict=False)), len(formals) - sliced
    copies = {inner.output[0]: inner.input[0] for inner in body.node if inner.op_type == "Identity" and inner.input}
    fed = {}
    for position, (formal, actual) in enumerate(pairs):
        stays = position >= carried or (
            position < len(results) and _uncopied(results[position], copies) == formal
        )  # what the body changes is a state, and so an activation
        if stays and actual:
            fed[formal] = Feed(node.op_type, around, actual)
    return fed


def _uncopied(name: str, copies: Mapping[str, str]) -> str:
    seen: set[str] = set()
    while name in copies and name not in seen:
        seen.add(name)
        name = copies[name]
    return name


def _sources(scope: Scope, name: str) -> list[_Place | None] | None:
    """The values with the numbers that a value is made of; None for an activation of its own."""
    if name in scope.stored or name in scope.sparse:
        return []
    if name not in scope.producers:
        feed = scope.fed.get(name)
        return None if feed is None else [feed.scope.locate(feed.name)]
    position = scope.producers[name]
    node, inner = scope.nodes[position], scope.inner.get(position)
    if inner is not None:
        return _inner_sources(scope, node, inner, list(node.output).index(name))
    if not normal_domain(node.domain):
        if node.op_type in RANDOM:
            return None
        if node.op_type in _OF_SHAPES:
            return []
    return _content(scope, node)


def _controls(scope: Scope, name: str) -> list[_Place]:
    """The values that say which numbers an operator takes, and where to."""
    node = None if name in scope.stored or name in scope.sparse else _producer(scope, name)
    if node is None or normal_domain(node.domain):
        return []
    if node.op_type not in _MOVED and node.op_type not in ("Gather", "GatherND", "If", "Loop", "Scan"):
        return []
    places = [scope.locate(name) for name in node.input if name]
    return [place for place in places if place is not None]


def _inner_sources(scope: Scope, node: NodeProto, inner: Sequence[Scope], position: int) -> list[_Place | None]:
    """What the bodies of a node, or the function that it calls, give as one of its outputs."""
    behind = position + (node.op_type == "Loop" and not normal_domain(node.domain))
    given = [body.locate(body.outputs[behind]) if behind < len(body.outputs) else None for body in inner]
    if node.op_type == "Loop" and not normal_domain(node.domain) and position + 2 < len(node.input):
        given.append(scope.locate(node.input[position + 2]))  # which it is without a single round
    return given


def _content(scope: Scope, node: NodeProto) -> list[_Place | None]:
    names = list(node.input)
    if not normal_domain(node.domain):
        if node.op_type in _MOVED:
            names = [names[position] for position in _MOVED[node.op_type] if position < len(names)]
        elif node.op_type in ("Gather", "GatherND") and _picks_matrices(scope, node):
            names = names[:1]
    return [scope.locate(name) for name in names if name]


def _picks_matrices(scope: Scope, node: NodeProto) -> bool:
    """Whether a Gather takes matrices of a stored stack, as a mixture of experts does, and not rows of a table."""
    found = scope.locate(node.input[0]) if node.input else None
    if found is None or found[1] not in found[0].stored:
        return False
    dims: list[int] = list(found[0].stored[found[1]].dims)
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
    if not -len(dims) <= axis < len(dims):
        return False
    del dims[axis]
    return sum(size > 1 for size in dims) > 1


def _origins(parts: Iterable[Reached], *, keeps_all: bool) -> tuple[Stored | Sparse, ...]:
    """The tensors that the parts of a value are made of, each once; else the largest alone."""
    origins = {origin.key: origin for part in parts for origin in part.origins}.values()
    return tuple(origins) if keeps_all else tuple(sorted(origins, key=_size)[-1:])


def _moves(node: NodeProto) -> bool:
    return _is_one_of(node, _JOINED) or _is_one_of(node, _MOVED)


def _is_one_of(node: NodeProto | None, operators: Container[str]) -> bool:
    """Whether a node is one of ONNX's own operators of these names."""
    return node is not None and node.op_type in operators and not normal_domain(node.domain)


def _producer(scope: Scope, name: str) -> NodeProto | None:
    return scope.nodes[scope.producers[name]] if name in scope.producers else None


def _stored(scope: Scope, name: str) -> tuple[Stored | Sparse, ...] | None:
    """The tensor of a name; empty for a constant that is none, None for what a node makes of others."""
    if name in scope.stored:
        return (stored_in(scope, name),)
    if name in scope.sparse:
        return (Sparse(WeightKey(name, scope.path), scope.sparse[name]),)
    node = _producer(scope, name)
    if node is not None and node.op_type == "Constant" and not normal_domain(node.domain):
        return tuple(_listed_floats(scope, node))
    return None


def _listed_floats(scope: Scope, node: NodeProto) -> list[Stored]:
    """The numbers that a Constant lists in an attribute, as a tensor; empty for all other attributes."""
    for attribute in node.attribute:
        if attribute.name == "value_floats" and attribute.type == AttributeProto.FLOATS:
            tensor = helper.make_tensor(node.output[0], TensorProto.FLOAT, [len(attribute.floats)], attribute.floats)
            return [Stored(WeightKey(node.output[0], scope.path), tensor, (0,))]
    return []


def _is_matrix(origin: Stored | Sparse) -> bool:
    dims: list[int] = list(origin.tensor.dims)
    return sum(size > 1 for size in dims) > 1


def _size(origin: Stored | Sparse) -> int:
    return math.prod(origin.tensor.dims)
