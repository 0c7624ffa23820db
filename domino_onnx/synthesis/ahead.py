"""Samples drawn ahead by other processes, while this one learns from those before."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import pickle
import subprocess
import weakref
from typing import IO, TYPE_CHECKING, Any, Final

from numpy.typing import NDArray

from domino_onnx.isolated import isolated

if TYPE_CHECKING:
    from domino_onnx.synthesis.synthesis import Synthesis

__all__ = ["DrawnAhead", "serve"]

_CHILD: Final = """
import sys
from domino_onnx.synthesis.ahead import serve
serve(sys.stdin.buffer, sys.stdout.buffer)
"""

_Sample = dict[str, NDArray[Any]]


class DrawnAhead:
    """Samples by their numbers, the same as `Synthesis.sample` gives.

    Those that are asked for in order come from children, which fill their pipes and wait. Others are drawn here, as all
    are where a child is lost.

    Parameters
    ----------
    first
        The number from which on children draw.
    processes
        How many children there are. They start with the first sample that is asked for in order.
    """

    def __init__(self, synthesis: Synthesis, first: int, processes: int) -> None:
        self._synthesis = synthesis
        self._first = self._next = first
        self._processes = processes
        self._children: list[subprocess.Popen[bytes]] = []
        weakref.finalize(self, _end, self._children)

    def __call__(self, place: int) -> _Sample:
        """All inputs of a sample."""
        if place != self._next or not self._processes:
            return self._synthesis.sample(place)
        if not self._children:
            self._start()
        self._next += 1
        return self._received(place) or self._synthesis.sample(place)

    def _start(self) -> None:
        try:
            for number in range(self._processes):
                self._children.append(_started(self._synthesis, self._first + number, self._processes))
        except OSError:
            self._give_up()

    def _received(self, place: int) -> _Sample | None:
        """What the child whose turn it is sends; None if it is lost."""
        if not self._children:
            return None
        source = self._children[(place - self._first) % len(self._children)].stdout
        assert source is not None
        try:
            sample: _Sample = pickle.load(source)  # noqa: S301  this program's own child sends it
        except (EOFError, OSError, pickle.UnpicklingError):
            self._give_up()
            return None
        return sample

    def _give_up(self) -> None:
        """Draw here from now on."""
        self._processes = 0
        _end(self._children)


def serve(source: IO[bytes], target: IO[bytes]) -> None:
    """Send one sample of a synthesis after another, from a number on in steps; the parent ends it."""
    synthesis, first, step = pickle.load(source)  # noqa: S301  the parent sends it
    with contextlib.suppress(OSError):  # the parent is gone
        for place in itertools.count(first, step):
            pickle.dump(synthesis.sample(place), target, pickle.HIGHEST_PROTOCOL)
            target.flush()


def _started(synthesis: Synthesis, first: int, step: int) -> subprocess.Popen[bytes]:
    child = subprocess.Popen(isolated(_CHILD), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert child.stdin is not None
    pickle.dump((dataclasses.replace(synthesis, run=None), first, step), child.stdin)
    child.stdin.close()
    return child


def _end(children: list[subprocess.Popen[bytes]]) -> None:
    for child in children:
        child.kill()
        if child.stdout is not None:
            child.stdout.close()
        child.wait()
    children.clear()
