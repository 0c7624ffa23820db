"""Which axis counts samples, and how long are axes that the model leaves free?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from onnx import ModelProto

from domino_onnx.errors import DataError
from domino_onnx.graph import model_inputs
from domino_onnx.synthesis.describe import InputDescription, InputKind

__all__ = ["Batching", "Lengths", "batching", "declared_axes", "possible_lengths", "sample_shapes"]

Axis = int | str | None
"""A size, a name that stands for one, or neither."""
Axes = Mapping[str, tuple[Axis, ...]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Batching:
    """How samples lie in inputs, in the words of `Dataset`.

    Attributes
    ----------
    batch
        The batch size that the model insists on, None if it takes any.
    stacked
        A sample is one whole set of inputs, since their first axes don't count the same thing.
    """

    batch: int | None
    stacked: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Sizes for free axes: of images (height, width), sounds, and all others that count places in a row."""

    image: tuple[int, int] = (224, 224)
    sound: int = 16000
    frames: int = 160
    places: int = 64
    past: int = 8


def possible_lengths(descriptions: Sequence[InputDescription]) -> Iterator[Lengths]:
    """Lengths to try in turn: some models run on few of them. A sound that comes with a state comes in pieces."""
    kinds = {each.kind for each in descriptions}
    sounds = (512, 1024, 256) if "state" in kinds else (16000, 48000, 4096, 1024, 512)
    images = ((224, 224), (48, 320), (32, 320), (32, 32), (64, 64), (640, 640))
    places = (64, 16, 128, 8, 32, 1)
    for attempt in range(max(len(sounds), len(images), len(places))):
        yield Lengths(
            image=images[min(attempt, len(images) - 1)],
            sound=sounds[min(attempt, len(sounds) - 1)],
            frames=160 if attempt < 3 else 64,
            places=places[min(attempt, len(places) - 1)],
        )


def declared_axes(model: ModelProto) -> Axes:
    """The axes of each input, as far as the model tells; DataError if it leaves open how many there are."""
    found: dict[str, tuple[Axis, ...]] = {}
    for value in model_inputs(model):
        tensor = value.type.tensor_type
        if not tensor.HasField("shape"):
            raise DataError(f"the shape of input {value.name!r} is unknown: give --data")
        names = (axis.dim_param.strip() if any(map(str.isalpha, axis.dim_param)) else "" for axis in tensor.shape.dim)
        sizes = (axis.dim_value for axis in tensor.shape.dim)
        found[value.name] = tuple(size if size > 0 else name or None for size, name in zip(sizes, names, strict=True))
    return found


def batching(axes: Axes) -> Batching:
    """First axes count samples where all of them have one size or one name, which no later axis has."""
    arrays = [sizes for sizes in axes.values() if sizes]
    firsts = {sizes[0] for sizes in arrays}
    later = {size for sizes in arrays for size in sizes[1:] if isinstance(size, str)}
    if len(firsts) != 1 or firsts & later:
        return Batching(batch=None, stacked=True)
    first = firsts.pop()
    return Batching(batch=first if isinstance(first, int) else None, stacked=False)


def sample_shapes(
    axes: Axes,
    kinds: Mapping[str, InputDescription],
    lengths: Lengths,
    *,
    stacked: bool,
    given: Mapping[str, tuple[int, ...]],
) -> dict[str, tuple[int, ...]]:
    """The shape of one sample of each input: without its first axis, or with all of them where samples are stacked.

    Parameters
    ----------
    given
        Whole shapes that the user gave for inputs, whose names of axes then have these sizes everywhere.
    """
    named = {
        axis: size
        for name, shape in given.items()
        for axis, size in zip(axes[name], shape, strict=False)
        if isinstance(axis, str)
    }
    if stacked:
        named.setdefault(_batch_name(axes), 1)
    for name, sizes in axes.items():
        for place, axis in enumerate(sizes):
            if isinstance(axis, str) and "+" not in axis:
                named.setdefault(axis, _length(kinds[name], place, axis, lengths))
    shapes = {}
    for name, sizes in axes.items():
        filled = given.get(name) or tuple(
            axis if isinstance(axis, int) else _size(kinds[name], place, axis, lengths, named)
            for place, axis in enumerate(sizes)
        )
        whole = stacked or not filled
        shapes[name] = filled if whole else filled[1:]
    return shapes


def _batch_name(axes: Axes) -> str:
    """What the axis that counts samples is called: the name that says so, else the first name of a first axis."""
    names = [axis for sizes in axes.values() for axis in sizes if isinstance(axis, str)]
    said = [name for name in names if "batch" in name.lower()]
    firsts = [sizes[0] for sizes in axes.values() if len(sizes) > 1 and isinstance(sizes[0], str)]
    return next(iter([*said, *firsts]), "")


def _size(
    description: InputDescription, place: int, axis: str | None, lengths: Lengths, named: Mapping[str, int]
) -> int:
    """A free axis' size; a name such as "past + sequence" is a sum."""
    if axis is None:
        return 1 if place == 0 else _length(description, place, "", lengths)
    terms = [term.strip() for term in axis.split("+")]
    if len(terms) == 1:
        return named[axis]
    return sum(int(term) if term.isdecimal() else named.get(term, lengths.places) for term in terms)


def _length(description: InputDescription, place: int, axis: str, lengths: Lengths) -> int:
    if place == 0:
        return 1
    if "past" in axis.lower():
        return lengths.past
    if description.kind == "image":
        first = 2 if description.layout == "NCHW" else 1
        return lengths.image[min(max(place - first, 0), 1)]
    return {**_BY_KIND, "sound": lengths.sound, "spectrogram": lengths.frames}.get(description.kind, lengths.places)


_BY_KIND: Mapping[InputKind, int] = {"state": 1, "table": 16}
