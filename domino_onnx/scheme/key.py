"""The name of a tensor in an ONNX file: scope and name, because a subgraph may use a name again."""

from __future__ import annotations

import dataclasses

__all__ = ["WeightKey"]


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class WeightKey:
    """Scope and name of an initializer, or of the output of a Constant node.

    `scope` is empty for the main graph. A subgraph adds `<index of its node>.<attribute>` (`7.then_branch`;
    list attributes add their position), a model-local function is `function <domain>:<name>:<overload>`.
    """

    name: str
    scope: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "/".join((*self.scope, self.name))

    def read_by(self, node: str) -> str:
        """The weight and the node that reads it: how reports, messages and `verify` name a weight."""
        return f"{self} ({node})" if node else str(self)
