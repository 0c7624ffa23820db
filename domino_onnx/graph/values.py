"""What does a name in a graph mean: a stored tensor, perhaps transposed, perhaps made of integers?

A scope is one graph, or one call of a local function. Names resolve outwards, from a subgraph to the graph around it,
and from a function's formal input to the value that the call gives it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from onnx import NodeProto, SparseTensorProto, TensorProto

from domino_onnx.graph.attributes import attributes, has_attribute_of_caller, integer, integers
from domino_onnx.graph.io.external import is_external
from domino_onnx.graph.io.tensors import FLOAT_TYPES, read_tensor
from domino_onnx.graph.walk import normal_domain
from domino_onnx.scheme import WeightKey

__all__ = [
    "Derived",
    "Feed",
    "Scaling",
    "Scope",
    "Sparse",
    "Stored",
    "Transposes",
    "before_transposes",
    "dequantised",
    "in_function",
    "is_symmetric",
    "stored_in",
    "transposed",
]

Transposes = list[tuple[int, ...] | None]
"""From a value back to the tensor: the perm of each, None for the default."""


@dataclasses.dataclass(eq=False, slots=True, kw_only=True)
class Scope:
    """One graph or function call: its nodes, its stored tensors, and where outer names come from.

    `fed` says which inputs of a body a Loop or Scan fills with a value of the graph around it. `inner` has the scopes
    of a node's subgraphs, or of the function that it calls, by the node's position. `nested` tells whether it is in the
    body of an If, Loop or Scan, or in a function that is called there; a call alone is as good as the graph around it.
    """

    path: tuple[str, ...]
    label: str
    nodes: Sequence[NodeProto]
    outputs: tuple[str, ...]
    inputs: frozenset[str]
    stored: dict[str, TensorProto]
    sparse: dict[str, SparseTensorProto]
    producers: dict[str, int]
    parent: Scope | None = None
    nested: bool = False
    bindings: Mapping[str, tuple[Scope, str]] = dataclasses.field(default_factory=dict)
    fed: Mapping[str, Feed] = dataclasses.field(default_factory=dict)
    inner: dict[int, list[Scope]] = dataclasses.field(default_factory=dict)

    @property
    def in_function(self) -> bool:
        """Whether it is in the body of a local function."""
        return in_function(self.path)

    def locate(self, name: str) -> tuple[Scope, str] | None:
        """The scope that defines `name`, and its name there; None for what nothing in the file defines."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.bindings:
                scope, name = scope.bindings[name]
            elif name in scope.stored or name in scope.sparse or name in scope.producers or name in scope.inputs:
                return scope, name
            else:
                scope = scope.parent
        return None


@dataclasses.dataclass(frozen=True, slots=True)
class Feed:
    """A value that an operator hands to its body as it is, or slice by slice."""

    operator: str
    scope: Scope
    name: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """What DequantizeLinear makes of stored integers: their distance from the zero point, times the scale.

    `axis` of the stored tensor is the one along which scales differ, if they do; `block` is 0 unless many integers
    along it share each.
    """

    scale: TensorProto
    zero_point: TensorProto | None
    axis: int | None
    block: int


@dataclasses.dataclass(frozen=True, slots=True)
class Stored:
    """A value that is a stored tensor, seen through transposes: axis `k` of the value is axis `axes[k]` of it.

    With `scaling` the tensor holds integers, of which the value is made.
    """

    key: WeightKey
    tensor: TensorProto
    axes: tuple[int, ...]
    scaling: Scaling | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The value's shape, after the transposes."""
        return tuple(self.tensor.dims[axis] for axis in self.axes)

    @property
    def data_type(self) -> int:
        """The value's ONNX element type, before casts."""
        return self.tensor.data_type if self.scaling is None else self.scaling.scale.data_type


@dataclasses.dataclass(frozen=True, slots=True)
class Sparse:
    """A value that is a sparse_initializer, or a Constant's sparse_value."""

    key: WeightKey
    tensor: SparseTensorProto


@dataclasses.dataclass(frozen=True, slots=True)
class Derived:
    """A value that an operator which isn't followed makes of stored tensors.

    `is_fixed` is False where the data have a say: in which part of a tensor is taken, or in its shape. `scores` has
    those of the tensors that Softmax, or a like operator, takes on the way.
    """

    operator: str
    origins: tuple[Stored | Sparse, ...]
    is_fixed: bool
    scores: frozenset[WeightKey] = frozenset()


def in_function(path: Iterable[str]) -> bool:
    """Whether the scope of this path is in the body of a local function."""
    return any(part.startswith("function ") for part in path)


def stored_in(scope: Scope, name: str) -> Stored:
    """A tensor that `scope` stores."""
    tensor = scope.stored[name]
    return Stored(WeightKey(name, scope.path), tensor, tuple(range(len(tensor.dims))))


def before_transposes(scope: Scope, name: str, transposes: Transposes) -> tuple[Scope, str] | None:
    """Where a value comes from, before Identity and Transpose; the latter are appended to `transposes`."""
    found = scope.locate(name)
    while found is not None:
        scope, name = found
        if name in scope.stored or name not in scope.producers:
            break
        node = scope.nodes[scope.producers[name]]
        if node.op_type not in ("Identity", "Transpose") or normal_domain(node.domain):
            break
        if node.op_type == "Transpose":
            transposes.append(_permutation(node))
        found = scope.locate(node.input[0]) if node.input else None
    return found


def _stored_behind_transposes(scope: Scope, name: str) -> Stored | None:
    """The stored tensor that a value is, through nothing but Identity and Transpose."""
    transposes: Transposes = []
    found = before_transposes(scope, name, transposes)
    if found is None or found[1] not in found[0].stored:
        return None
    return transposed(transposes, stored_in(*found))


def dequantised(scope: Scope, node: NodeProto) -> Stored | None:
    """What a DequantizeLinear makes of stored integers with stored scales; None for all other nodes."""
    if node.op_type != "DequantizeLinear" or normal_domain(node.domain) or len(node.input) < 2:
        return None
    integers = _stored_behind_transposes(scope, node.input[0])
    if integers is None or integers.tensor.data_type in FLOAT_TYPES:
        return None
    scaling = _scaling(scope, node, integers.axes)
    return None if scaling is None else dataclasses.replace(integers, scaling=scaling)


def _scaling(scope: Scope, node: NodeProto, axes: tuple[int, ...]) -> Scaling | None:
    """What a DequantizeLinear reads besides integers that have these axes; None unless all of it is stored."""
    scale = _stored_behind_transposes(scope, node.input[1])
    zero_point = _stored_behind_transposes(scope, node.input[2]) if _has_zero_point(node) else None
    is_computed = zero_point is None and _has_zero_point(node)
    if scale is None or is_computed or has_attribute_of_caller(node):
        return None
    given = attributes(node)
    axis = integer(given, "axis", 1)
    return Scaling(
        scale=scale.tensor,
        zero_point=None if zero_point is None else zero_point.tensor,
        axis=axes[axis] if -len(axes) <= axis < len(axes) else None,
        block=integer(given, "block_size", 0),
    )


def _has_zero_point(node: NodeProto) -> bool:
    return len(node.input) > 2 and bool(node.input[2])


def is_symmetric(scope: Scope, node: NodeProto, operator: str) -> bool:
    """Whether a node is this operator with a zero point of zero that its own graph stores, or with none."""
    if node.op_type != operator or normal_domain(node.domain) or not node.input:
        return False
    if not _has_zero_point(node):
        return True
    zero_point = scope.stored.get(node.input[2])
    return zero_point is not None and not is_external(zero_point) and not np.any(read_tensor(zero_point, Path()))


def _permutation(node: NodeProto) -> tuple[int, ...] | None:
    """A Transpose's perm; None for the default, which reverses all axes."""
    return integers(attributes(node), "perm")


def transposed(transposes: Transposes, stored: Stored) -> Stored | None:
    """A stored tensor behind transposes, of which the last listed comes first; None if they don't fit it."""
    axes = stored.axes
    for permutation in reversed(transposes):
        order = permutation if permutation is not None else tuple(reversed(range(len(axes))))
        if sorted(order) != list(range(len(axes))):
            return None
        axes = tuple(axes[axis] for axis in order)
    return dataclasses.replace(stored, axes=axes)
