"""How fast is each form of a model on the same inputs, and how far are its outputs from what the file says?"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

if TYPE_CHECKING:
    from domino_onnx.deployment import Latency
    from domino_onnx.runtime import Session

__all__ = ["Bench", "difference"]

_SECONDS = 2.0
_GLANCE = 0.4
_WORTH_A_LOOK = 1.1
"""Seconds for each model: of those that may be the fastest, and of all; and how much slower at first these may be."""
Arrays = Mapping[str, NDArray[Any]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A model that was read, and what all forms of it run on.

    Attributes
    ----------
    whole
        Its data are all inline.
    runs
        Shapes of activations that are float32: on the inputs, and at other sizes (`shapes_at_sizes`).
    threads
        0 for as many as ONNX Runtime takes.
    """

    whole: ModelProto
    inputs: Arrays
    runs: Sequence[Mapping[str, tuple[int, ...]]]
    threads: int

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """On the inputs."""
        return self.runs[0]

    def glanced(self, protos: Sequence[ModelProto]) -> list[Latency]:
        """What each of several models takes, the first of which is the dense one.

        All are timed for a short while, and those that may be the fastest again, for longer.
        """
        sessions = self._sessions(protos)
        taken = self._timed(sessions, _GLANCE)
        limit = _WORTH_A_LOOK * min(each.low for each in taken)
        again = [place for place, each in enumerate(taken) if place == 0 or each.low <= limit]
        longer = self._timed([sessions[place] for place in again], _SECONDS)
        known = dict(zip(again, longer, strict=True))
        return [known.get(place, each) for place, each in enumerate(taken)]

    def timed(self, protos: Sequence[ModelProto]) -> list[Latency]:
        """What each of a few models takes, all of them for long."""
        return self._timed(self._sessions(protos), _SECONDS)

    def error(self, proto: ModelProto) -> float | None:
        """How far a model's outputs are from what the file says (`difference`).

        The file says what ONNX Runtime computes without optimisation: with it, sums of a quantised model may overflow
        (docs/cpu.md).
        """
        from domino_onnx.runtime import Session

        said = Session(bytes(self.whole.SerializeToString()), device="cpu", threads=self.threads, lean=True)
        run = Session(bytes(proto.SerializeToString()), device="cpu", threads=self.threads)
        return difference(said.run(self.inputs), run.run(self.inputs))

    def _sessions(self, protos: Sequence[ModelProto]) -> list[Session]:
        from domino_onnx.runtime import Session

        return [
            Session(bytes(each.SerializeToString()), device="cpu", threads=self.threads, timed=True) for each in protos
        ]

    def _timed(self, sessions: Sequence[Session], seconds: float) -> list[Latency]:
        """For so many seconds each."""
        from domino_onnx.deployment import clock_for, measure

        runs = [functools.partial(each.run, self.inputs) for each in sessions]
        return measure(runs, seconds * len(runs), clock_for(self.threads))


def difference(wanted: Arrays, found: Arrays) -> float | None:
    """The largest difference of two sets of outputs, each as a share of the largest finite value of the first.

    Infinite where a value is NaN or infinity in one of them and another value in the other one; None where no output
    holds a finite float.
    """
    floats = [name for name, value in wanted.items() if isinstance(value, np.ndarray) and value.dtype.kind == "f"]
    shares = (_difference(wanted[name], found[name]) for name in floats)
    return max((share for share in shares if share is not None), default=None)


def _difference(wanted: NDArray[Any], found: NDArray[Any]) -> float | None:
    finite = np.isfinite(wanted) & np.isfinite(found)
    if not np.array_equal(wanted[~finite], found[~finite], equal_nan=True):
        return math.inf
    if not finite.any():
        return None
    scale = float(np.abs(wanted[finite]).max()) or 1.0
    return float(np.abs(wanted[finite] - found[finite]).max()) / scale
