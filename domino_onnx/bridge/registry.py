"""The table of operators: which torch function evaluates which ONNX operator from which opset on.

A file of `ops/` owns one :class:`Family` and fills it with a decorator; :func:`merge` turns all families into
one mapping that nothing changes afterwards::

    op = Family()

    @op("Softmax", since=13)
    def softmax(x: Tensor, *, axis: int = -1) -> Tensor:
        return torch.softmax(x, axis)

Positional parameters are the node's inputs (an absent optional one is None), keyword-only parameters are the
ONNX attributes. `output_count` is no ONNX attribute: a function that asks for it is told how many outputs the
node names.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType
from typing import TypeVar

import onnx
import torch

__all__ = ["Family", "Operator", "Result", "Table", "find", "merge", "objection"]

Result = torch.Tensor | tuple[torch.Tensor, ...]
F = TypeVar("F", bound=Callable[..., Result])


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One torch counterpart of an ONNX operator, valid from opset `since` to the next one registered.

    `host` are the positions of inputs that are read as Python numbers (shapes, axes) and so stay on the CPU.
    `outputs` is the greatest number of outputs, None for any. `fixed` are attributes that are supported with
    one value only, `ignored` those that don't change what inference computes; neither is passed to
    `function`.
    """

    domain: str
    name: str
    since: int
    function: Callable[..., Result]
    host: frozenset[int]
    outputs: int | None
    attributes: frozenset[str]
    fixed: Mapping[str, object]
    ignored: frozenset[str]


Table = Mapping[tuple[str, str], tuple[Operator, ...]]


class Family:
    """Operators of one domain that are told in one file; used as the file's decorator."""

    def __init__(self, domain: str = "") -> None:
        self.domain = domain
        self.operators: list[Operator] = []

    def __call__(
        self,
        name: str,
        *,
        since: int = 1,
        host: Collection[int] = (),
        outputs: int | None = 1,
        fixed: Mapping[str, object] | None = None,
        ignored: Collection[str] = (),
    ) -> Callable[[F], F]:
        """Register the decorated function as `name` from opset `since` on; see :class:`Operator`."""

        def register(function: F) -> F:
            operator = Operator(
                domain=self.domain,
                name=name,
                since=since,
                function=function,
                host=frozenset(host),
                outputs=outputs,
                attributes=_keywords(function),
                fixed=dict(fixed or {}),
                ignored=frozenset(ignored),
            )
            self.operators.append(operator)
            return function

        return register


def merge(families: Iterable[Family]) -> Table:
    """Join families into one read-only table; versions of an operator are newest first."""
    table: dict[tuple[str, str], list[Operator]] = {}
    for family in families:
        for operator in family.operators:
            table.setdefault((operator.domain, operator.name), []).append(operator)
    return MappingProxyType({key: tuple(sorted(versions, key=lambda o: -o.since)) for key, versions in table.items()})


def find(table: Table, domain: str, name: str, opset: int) -> Operator | None:
    """Return the newest version of an operator that an `opset` of its domain has, or None."""
    versions = table.get((domain, name), ())
    return next((operator for operator in versions if operator.since <= opset), None)


def objection(operator: Operator, node: onnx.NodeProto) -> str | None:
    """Say which part of `node` the operator doesn't cover (an attribute, an output), or None."""
    known = operator.attributes | operator.ignored
    for attribute in node.attribute:
        if attribute.name in operator.fixed:
            if onnx.helper.get_attribute_value(attribute) != operator.fixed[attribute.name]:
                return f"{attribute.name}={onnx.helper.get_attribute_value(attribute)}"
        elif attribute.name not in known:
            return f"attribute {attribute.name}"
    named = [position for position, name in enumerate(node.output, start=1) if name]
    if operator.outputs is not None and named and named[-1] > operator.outputs:
        return f"output {named[-1]}"
    return None


def _keywords(function: Callable[..., Result]) -> frozenset[str]:
    parameters = inspect.signature(function).parameters.values()
    return frozenset(p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY)
