"""What a model's outputs mean. Everything that compares outputs is told it: search, refit, finetuning, every judge."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from domino_onnx.errors import DataError

__all__ = ["LEARNED", "Meanings", "OutputKind", "OutputMeaning", "Outputs", "class_output", "require_outputs"]

OutputKind: TypeAlias = Literal["scores", "probabilities", "embedding", "values", "exact", "ignored"]
"""``scores``: logits of classes. ``probabilities``: the same, adding up to 1. ``embedding``: vectors of which only the
direction counts. ``values``: numbers, compared channel by channel. ``exact``: integers, strings and booleans, which are
equal or not. ``ignored``: not compared."""
Outputs: TypeAlias = Mapping[str, NDArray[Any]]

_CLASSES: tuple[OutputKind, ...] = ("scores", "probabilities")
LEARNED: tuple[OutputKind, ...] = ("scores", "probabilities", "embedding", "values")
"""The kinds that a loss can be measured of."""


def require_outputs(given: Iterable[str], names: Iterable[str]) -> None:
    """Refuse kinds for outputs that a model hasn't got.

    Raises
    ------
    DataError
        If one of `given` isn't among `names`.
    """
    known = list(names)
    unknown = sorted(set(given) - set(known))
    if unknown:
        told = (", ".join(map(repr, each)) for each in (unknown, known))
        raise DataError("--output-kind names {}; the model's outputs are {}".format(*told))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OutputMeaning:
    """What one output is.

    Attributes
    ----------
    axis
        Along which classes, the entries of a vector, or channels lie, counted from 0. None: all values are one channel.
    scales
        (channels,) float64: what squared errors of values are divided by; (1,) where `axis` is None.
    width
        How many classes, entries or channels there are; 0 where that changes.
    batch_axis
        The axis that counts samples; None if none does.
    positions
        Whether a sample has several rows along `axis`.
    blank
        The class that CTC decoding drops, where the output is to be read that way (Graves et al., 2006).
    reason
        Why it is taken for that, in words.
    """

    kind: OutputKind
    axis: int | None = None
    scales: NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.ones(1))
    width: int = 0
    batch_axis: int | None = 0
    positions: bool = False
    blank: int | None = None
    reason: str = ""

    @property
    def tells_classes(self) -> bool:
        """Whether answers can be counted."""
        return self.kind in _CLASSES

    def in_words(self) -> str:
        """For people: the kind, where its parts lie, and why."""
        parts = {"scores": "classes", "probabilities": "classes", "embedding": "vectors", "values": "channels"}
        along = "" if self.axis is None or self.kind not in parts else f", {parts[self.kind]} along axis {self.axis}"
        blank = "" if self.blank is None else f", a sequence with the blank {self.blank}"
        return f"{self.kind}{along}{blank}" + (f" ({self.reason})" if self.reason else "")


Meanings: TypeAlias = Mapping[str, OutputMeaning]
"""What each output means, by name."""


def class_output(meanings: Meanings) -> str | None:
    """The output whose answers are counted: the first with one row of classes a sample, else the first with classes."""
    names = [name for name, meaning in meanings.items() if meaning.tells_classes]
    rows = (name for name in names if meanings[name].batch_axis is not None and not meanings[name].positions)
    return next(rows, next(iter(names), None))
