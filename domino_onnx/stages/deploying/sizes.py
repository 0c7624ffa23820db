"""Which shapes do activations have at several sizes of the inputs? Two that are alike at one needn't be at another.

Each free axis of the inputs gets a second size, in a run of its own, and by itself the size 1, at which it broadcasts.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from domino_onnx.data import input_specs
from domino_onnx.errors import ModelError, ProcessError, RunError
from domino_onnx.graph import OnnxFile, with_outputs
from domino_onnx.runtime import ChildSession

__all__ = ["shapes_at_sizes"]

_AROUND = ("Add", "BatchNormalization", "Conv", "ConvTranspose", "Gemm", "MatMul", "Mul")
_MOST_AXES = 8
"""So many axes, all of one name as one, get a second size each; any more get theirs together."""
_TO_ONE = 0.0
"""A factor that leaves one of each size."""
_MOST_ENDED = 2
"""Runs of an axis that memory, time or a crash may end before its other sizes count as unknown."""
_Arrays = Mapping[str, NDArray[np.generic]]
_Shapes = dict[str, tuple[int, ...]]
_Axis = tuple[str, int]
"""An input and one of its axes."""


def shapes_at_sizes(file: OnnxFile, inputs: _Arrays, threads: int) -> list[_Shapes]:
    """Of the float32 activations of the main graph that layers and activations begin or end at, seen in runs.

    Parameters
    ----------
    inputs
        By name: those of the first run.

    Returns
    -------
    Name to shape, for each run. There is one run where the model adds no two activations. Elsewhere two runs follow for
    each free axis: with its size 1, and with another size. Those that the model refuses are left out. The last is empty
    if memory, time or a crash ended it, so that other sizes aren't known.

    Raises
    ------
    ModelError
        If the model can't be run on the inputs, or is too large for a look at its activations.
    """
    graph = file.proto.graph
    known = {tensor.name for tensor in graph.initializer} | set(inputs) | {""}
    known |= {name for node in graph.node if node.op_type == "Constant" for name in node.output}
    around = [node for node in graph.node if node.op_type in _AROUND]
    names = dict.fromkeys(name for node in around for name in (*node.input, *node.output) if name not in known)
    shown = with_outputs(file, names)
    if shown is None:
        raise ModelError(f"{file.path} is too large to be timed, or has external data: at most 1 GiB in one file")
    look = _Look(shown, threads)
    try:
        runs = [look(inputs)]
        if any(node.op_type == "Add" and all(name in runs[0] for name in node.input) for node in around):
            runs += look.at_other_sizes(inputs, _free_axes(file, inputs))
    finally:
        look.close()
    return runs


class _Look:
    """Runs a model that shows its activations, in a child process that is replaced when a run ends it."""

    def __init__(self, shown: bytes, threads: int) -> None:
        self._shown = shown
        self._threads = threads
        self._session: ChildSession | None = None

    def __call__(self, inputs: _Arrays) -> _Shapes:
        if self._session is None:
            self._session = ChildSession(self._shown, threads=self._threads, lean=True)
        seen = {**self._session.run(inputs), **inputs}
        return {name: value.shape for name, value in seen.items() if getattr(value, "dtype", None) == np.float32}

    def at_other_sizes(self, inputs: _Arrays, axes: Sequence[Sequence[_Axis]]) -> Iterator[_Shapes]:
        """The shapes with other sizes of each axis; at last empty ones, if it isn't known whether one has others."""
        done: set[_Axis] = set()
        free = list(itertools.chain(*axes))
        for each in axes:
            alone = self._at_one(inputs, each)
            if alone is not None:
                yield alone
            if alone == {}:
                return
            if not done.issuperset(each):
                seen, changed = self._at_another_size(inputs, each, free)
                done |= set(changed)
                if seen is not None:
                    yield seen
                if seen == {}:
                    return

    def _at_one(self, inputs: _Arrays, axes: Sequence[_Axis]) -> _Shapes | None:
        """The shapes with the size 1 of some axes; None if they have it already, or the model refuses it."""
        if all(inputs[name].shape[axis] == 1 for name, axis in axes):
            return None
        try:
            return self(_resized(inputs, axes, _TO_ONE))
        except RunError:
            return None
        except (ModelError, ProcessError):
            self.close()
            return {}

    def _at_another_size(
        self, inputs: _Arrays, axes: Sequence[_Axis], free: Sequence[_Axis]
    ) -> tuple[_Shapes | None, Sequence[_Axis]]:
        """The shapes with another size of some axes, and which have one then; None if the model refuses all sizes."""
        ended = 0
        for changed, factor in _trials(inputs, axes, free):
            try:
                return self(_resized(inputs, changed, factor)), changed
            except RunError:
                continue
            except (ModelError, ProcessError):
                self.close()
                ended += 1
                if ended == _MOST_ENDED:
                    break
        return ({} if ended else None), axes

    def close(self) -> None:
        """End the session that there is."""
        if self._session is not None:
            self._session.close()
            self._session = None


def _free_axes(file: OnnxFile, inputs: _Arrays) -> list[list[_Axis]]:
    """The axes whose size the model leaves open, those of one name together."""
    named: dict[object, list[_Axis]] = {}
    for spec in input_specs(file.proto):
        if spec.name in inputs:
            declared = spec.axes if spec.axes is not None else (None,) * inputs[spec.name].ndim
            for axis, size in enumerate(declared[: inputs[spec.name].ndim]):
                if not isinstance(size, int):
                    named.setdefault(size or (spec.name, axis), []).append((spec.name, axis))
    axes = list(named.values())
    rest = [axis for each in axes[_MOST_AXES:] for axis in each]
    return [*axes[:_MOST_AXES], *([rest] if rest else [])]


def _trials(inputs: _Arrays, axes: Sequence[_Axis], free: Sequence[_Axis]) -> Iterator[tuple[list[_Axis], float]]:
    """Axes to change and a factor, until a run succeeds: by themselves, or with others that may have to be equal."""

    def like(axis: _Axis) -> tuple[int, int]:
        return axis[1], inputs[axis[0]].shape[axis[1]]

    places, sizes = {like(axis) for axis in axes}, {like(axis)[1] for axis in axes}
    together = [
        list(axes),
        [axis for axis in free if axis in axes or like(axis) in places],
        [axis for axis in free if axis in axes or like(axis)[1] in sizes],
    ]
    different = [each for place, each in enumerate(together) if each not in together[:place]]
    for changed in different:
        yield changed, 2
        yield changed, 3 if 1 in sizes else 0.5


def _resized(inputs: _Arrays, axes: Sequence[_Axis], factor: float) -> dict[str, NDArray[np.generic]]:
    """The inputs with other sizes of some axes, at least 1; their values are repeated or cut off."""
    changed = dict(inputs)
    for name, axis in axes:
        value = changed[name]
        size = value.shape[axis]
        if size:
            changed[name] = np.take(value, np.arange(max(int(size * factor), 1)) % size, axis)
        else:
            changed[name] = np.zeros([*value.shape[:axis], 1, *value.shape[axis + 1 :]], value.dtype)
    return changed
