"""What TensorRT's builder says of sparsity in its log: which layers could run sparse, and which do."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence

__all__ = ["BuildLog", "read_build_log"]

_LINE = re.compile(
    r"\(Sparsity\) (?:(?P<eligible>Layers eligible for sparse math)"
    r"|(?P<picked>TRT inference plan picked sparse implementation for layers)):(?P<layers>.*)"
)
_FUSED = re.compile(r" \+ | \|\| |[(),]")
"""Between the nodes in the name of a layer that was made of several: "a + b", "a || b", "PWN(a, b)"."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BuildLog:
    """The layers of all builds that the log tells of, by the names that the builder gave them.

    Attributes
    ----------
    eligible, picked
        Layers whose weights it found to be 2:4, and those that run with a sparse kernel.
    said_anything
        Whether the log holds that line at all; it doesn't without the flag for sparse weights.
    """

    eligible: tuple[str, ...]
    picked: tuple[str, ...]
    said_anything: bool

    def of(self, nodes: Sequence[tuple[str, str] | None]) -> str | None:
        """``"picked"``, ``"eligible"`` or ``"not eligible"`` of the layer that holds one of `nodes`; None if unsaid.

        Parameters
        ----------
        nodes
            Name and first output of each; None for one of which it isn't known what the builder calls it.
        """
        if not self.said_anything:
            return None
        wanted = {_layer(*node) for node in nodes if node is not None}
        if wanted & _nodes(self.picked):
            return "picked"
        if wanted & _nodes(self.eligible):
            return "eligible"
        return None if None in nodes else "not eligible"


def read_build_log(text: str) -> BuildLog:
    """Find what a log of trtexec, or of a logger of its own, says of sparsity; other lines don't matter."""
    found: dict[str, dict[str, None]] = {"eligible": {}, "picked": {}}
    lines = [match for match in map(_LINE.search, text.splitlines()) if match]
    for match in lines:
        layers = (name.strip() for name in match["layers"].split(", "))
        found["eligible" if match["eligible"] else "picked"].update(dict.fromkeys(filter(None, layers)))
    return BuildLog(eligible=tuple(found["eligible"]), picked=tuple(found["picked"]), said_anything=bool(lines))


def _layer(name: str, output: str) -> str:
    """What TensorRT's parser calls a node: `getNodeName` of onnx-tensorrt."""
    return name or f"node_of_{output}"


def _nodes(layers: Iterable[str]) -> set[str]:
    """Names of the layers, and of the nodes that they were made of."""
    names = set(layers)
    return names | {part.strip() for layer in names for part in _FUSED.split(layer) if part.strip()}
