"""How long are axes that the model leaves free?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from domino_onnx.data import Batching
from domino_onnx.graph import Axes
from domino_onnx.synthesis.describe import InputDescription, InputKind

__all__ = ["Lengths", "possible_lengths", "sample_shapes"]

InputAxes = Mapping[str, Axes]


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


def sample_shapes(
    axes: InputAxes,
    kinds: Mapping[str, InputDescription],
    lengths: Lengths,
    *,
    batching: Batching,
    given: Mapping[str, tuple[int, ...]],
) -> dict[str, tuple[int, ...]]:
    """The shape of one sample of each input: without its batch axis, or with all axes where it has none.

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
    if batching.stacked:
        named.setdefault(_batch_name(axes), 1)
    for name, sizes in axes.items():
        for place, axis in enumerate(sizes):
            if isinstance(axis, str) and "+" not in axis:
                named.setdefault(axis, _length(kinds[name], place, axis, lengths, one=batching.stacked))
    shapes = {}
    for name, sizes in axes.items():
        filled = given.get(name) or tuple(
            axis if isinstance(axis, int) else _size(kinds[name], place, axis, lengths, named, one=batching.stacked)
            for place, axis in enumerate(sizes)
        )
        batch_axis = batching.axis(name)
        shapes[name] = filled if batch_axis is None else (*filled[:batch_axis], *filled[batch_axis + 1 :])
    return shapes


def _batch_name(axes: InputAxes) -> str:
    """What the axis that counts samples is called: the name that says so, else the first name of a first axis."""
    names = [axis for sizes in axes.values() for axis in sizes if isinstance(axis, str)]
    said = [name for name in names if "batch" in name.lower()]
    firsts = [sizes[0] for sizes in axes.values() if len(sizes) > 1 and isinstance(sizes[0], str)]
    return next(iter([*said, *firsts]), "")


def _size(
    description: InputDescription,
    place: int,
    axis: str | None,
    lengths: Lengths,
    named: Mapping[str, int],
    *,
    one: bool,
) -> int:
    """A free axis' size; a name like "past + sequence" is a sum."""
    if axis is None:
        return _length(description, place, "", lengths, one=one)
    terms = [term.strip() for term in axis.split("+")]
    if len(terms) == 1:
        return named[axis]
    return sum(int(term) if term.isdecimal() else named.get(term, lengths.places) for term in terms)


def _length(description: InputDescription, place: int, axis: str, lengths: Lengths, *, one: bool) -> int:
    """With `one`, samples are whole sets of inputs, whose first axes are likely to count samples."""
    if place == 0 and one:
        return 1
    if "past" in axis.lower():
        return lengths.past
    if description.kind == "image":
        first = 2 if description.layout == "NCHW" else 1
        return lengths.image[min(max(place - first, 0), 1)]
    return {**_BY_KIND, "sound": lengths.sound, "spectrogram": lengths.frames}.get(description.kind, lengths.places)


_BY_KIND: Mapping[InputKind, int] = {"state": 1, "table": 16}
