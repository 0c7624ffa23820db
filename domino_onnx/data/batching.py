"""Which axis of a model's inputs and outputs counts samples: the batch axis. All rules about it are in this file."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal, TypeAlias

from onnx import ModelProto

from domino_onnx.data.inputs import InputSpec
from domino_onnx.errors import DataError
from domino_onnx.graph import Axes, Axis, declared_axes
from domino_onnx.plurals import quantity

__all__ = ["BatchAxes", "Batching", "batching_of", "find_batching"]

BatchAxes: TypeAlias = Mapping[str, int | Literal["none"]]
"""What the user says: the batch axis of an input or output, by name; ``none`` for an input that all samples share."""

_SAYS_BATCH: Final = re.compile(r"\w*batch\w*|bsz?", re.IGNORECASE)
_LETTERS: Final = ("N", "B")
"""What papers call the batch. Along the last of several axes they count something else."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Batching:
    """How samples lie in the inputs and outputs of one run.

    Attributes
    ----------
    axes
        The batch axis of each input, the first for one that isn't here. None: the input has none, so that a run is of
        one sample, or all samples share its value.
    outputs
        The batch axis of those outputs where it isn't the first.
    size
        How many samples a run must have, None if any.
    certain
        Whether the names or sizes of the axes say it. Else it is the likeliest reading.
    """

    axes: Mapping[str, int | None] = dataclasses.field(default_factory=dict)
    outputs: Mapping[str, int] = dataclasses.field(default_factory=dict)
    size: int | None = None
    certain: bool = True

    @classmethod
    def whole(cls, inputs: Sequence[str]) -> Batching:
        """Each sample is one whole set of inputs, so that no axis counts samples."""
        return cls(axes=dict.fromkeys(inputs), size=1, certain=False)

    @property
    def stacked(self) -> bool:
        """Whether a sample is one whole set of inputs."""
        return bool(self.axes) and all(axis is None for axis in self.axes.values())

    def axis(self, name: str) -> int | None:
        """The batch axis of an input."""
        return self.axes.get(name, 0)

    def count(self, shapes: Mapping[str, Sequence[int]]) -> int:
        """The samples in a run whose inputs have these shapes: 1 where no axis counts them."""
        axes = {name: self.axis(name) for name in shapes}
        sizes = (shapes[name][axis] for name, axis in axes.items() if axis is not None and axis < len(shapes[name]))
        return max(sizes, default=1)


def batching_of(model: ModelProto, specs: Sequence[InputSpec], said: BatchAxes | None = None) -> Batching:
    """The batch axes of a model's inputs and outputs.

    Raises
    ------
    DataError
        If `said` names what isn't there, or an axis that it hasn't got.
    """
    inputs: dict[str, Axes | None] = {spec.name: spec.axes for spec in specs}
    outputs = {value.name: declared_axes(value) for value in model.graph.output}
    said = said or {}
    _check(said, inputs, outputs)
    return find_batching(inputs, outputs, said)


def find_batching(
    inputs: Mapping[str, Axes | None], outputs: Mapping[str, Axes | None] | None = None, said: BatchAxes | None = None
) -> Batching:
    """The batch axes, as far as the declared axes tell. A lone number has none.

    In this order, the batch axis is

    1. the one that `said` names;
    2. the one whose name says so: ``batch``, ``batch_size``, ``N``;
    3. the first, if that has one name or one size in all inputs, and no later axis has this name;
    4. the one whose name all inputs have, and one of them as its first;
    5. likely the first where that is free, else the only free one; of fixed ones the one whose size is the first of an
       input and all inputs have, else the first of size 1.

    Parameters
    ----------
    inputs, outputs
        The declared axes of each, by name; None where their number is unknown.
    """
    said = said or {}
    known = {name: axes for name, axes in inputs.items() if axes}
    names = _batch_names(known)
    alike = not names and _firsts_alike(known)
    if not names and not alike:
        names = _common_names(known)
    read = {
        name: (0, True) if axes is None or (alike and axes) else _read(axes, names, known)
        for name, axes in inputs.items()
    }
    read |= {name: (_as_said(said[name]), True) for name in inputs if name in said}
    found = {name: axis for name, (axis, _) in read.items()}
    sizes = {size for name, axes in known.items() if (size := _size(axes, found[name])) is not None}
    return Batching(
        axes=found,
        outputs=dict(_output_axes(outputs or {}, names, said)),
        size=max(sizes, default=None),
        certain=len(sizes) < 2 and all(certain for _, certain in read.values()),
    )


def _as_said(axis: int | Literal["none"]) -> int | None:
    return None if axis == "none" else axis


def _read(axes: Axes, names: frozenset[Axis], inputs: Mapping[str, Axes]) -> tuple[int | None, bool]:
    """The batch axis of one input by the names that count samples, and whether that is certain."""
    named = next((place for place, axis in enumerate(axes) if axis in names), None)
    if not axes or named is not None:
        return named, True
    if not names:
        return _likely_axis(axes, inputs), False
    later = {axis for each in inputs.values() for axis in each[1:] if isinstance(axis, str)}
    may_be_first = not isinstance(axes[0], int) and axes[0] not in later
    return (0, False) if may_be_first else (None, True)


def _batch_names(inputs: Mapping[str, Axes]) -> frozenset[Axis]:
    """The names of axes that say batch. A product or a sum with the batch in it counts no samples."""
    names = [
        (name, place, len(axes)) for axes in inputs.values() for place, name in enumerate(axes) if isinstance(name, str)
    ]
    said = {name for name, _, _ in names if _SAYS_BATCH.fullmatch(name)}
    letters = {name for name, place, rank in names if name in _LETTERS and (place < rank - 1 or rank == 1)}
    return frozenset(said or letters)


def _firsts_alike(inputs: Mapping[str, Axes]) -> bool:
    firsts = {axes[0] for axes in inputs.values()}
    later = {axis for axes in inputs.values() for axis in axes[1:] if isinstance(axis, str)}
    return len(firsts) == 1 and not firsts & later


def _common_names(inputs: Mapping[str, Axes]) -> frozenset[Axis]:
    """A name that every input has once, and one of them as its first axis."""
    firsts = {axes[0] for axes in inputs.values() if isinstance(axes[0], str)}
    common = sorted(
        str(name) for name in firsts if len(inputs) > 1 and all(axes.count(name) == 1 for axes in inputs.values())
    )
    return frozenset(common[:1])


def _likely_axis(axes: Axes, inputs: Mapping[str, Axes]) -> int | None:
    """Rule 5 of `find_batching`."""
    if not isinstance(axes[0], int):
        return 0
    free = [place for place, axis in enumerate(axes) if not isinstance(axis, int)]
    if free:
        return free[0] if len(free) == 1 else None
    firsts = {each[0] for each in inputs.values() if isinstance(each[0], int)}
    shared = {size for size in firsts if all(size in each for each in inputs.values())}
    size = min(shared) if len(shared) == 1 else 1
    return next((place for place, axis in enumerate(axes) if axis == size), None)


def _size(axes: Axes, axis: int | None) -> int | None:
    """The fixed size of an axis, None for a free one."""
    size = None if axis is None else axes[axis]
    return size if isinstance(size, int) else None


def _output_axes(
    outputs: Mapping[str, Axes | None], names: frozenset[Axis], said: BatchAxes
) -> Iterator[tuple[str, int]]:
    """The outputs whose batch axis isn't the first."""
    for name, axes in outputs.items():
        place = next((place for place, axis in enumerate(axes or ()) if axis in names), 0)
        axis = said.get(name, place)
        if axis != "none" and axis:
            yield name, axis


def _check(said: BatchAxes, inputs: Mapping[str, Axes | None], outputs: Mapping[str, Axes | None]) -> None:
    every = {**outputs, **inputs}
    for name, axis in said.items():
        if name not in every:
            raise DataError(
                f"--batch-axis names {name!r}; the model's inputs are {', '.join(map(repr, inputs)) or 'none'}, its "
                f"outputs {', '.join(map(repr, outputs)) or 'none'}"
            )
        axes = every[name]
        if axis != "none" and axes is not None and axis >= len(axes):
            raise DataError(
                f"--batch-axis {name}={axis}: {name!r} has {quantity(len(axes), 'axis', 'axes')}, counted from 0"
            )
