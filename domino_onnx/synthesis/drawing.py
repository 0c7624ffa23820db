"""One sample of one input, by what the input is."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from domino_onnx.synthesis.describe import InputDescription, InputKind
from domino_onnx.synthesis.pictures import Motif, draw_picture
from domino_onnx.synthesis.preparation import Preparation
from domino_onnx.synthesis.sound import RATE, draw_mel_energies, draw_sound
from domino_onnx.synthesis.tables import draw_features, draw_row
from domino_onnx.synthesis.tokens import draw_ids, draw_mask, draw_segments, vocabulary_of

__all__ = ["DrawnInput", "draw", "prepared"]

_UNKNOWN_ROWS: Final = 2
"""Integers of which the graph doesn't say what looks them up are 0 and 1."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DrawnInput:
    """An input, as it is drawn.

    Attributes
    ----------
    shape
        Of one sample.
    preparation
        Of images and spectrograms, else None.
    longest
        How many places a sample has, where an input says how many of them it uses.
    seed
        Of what all samples have in common: the columns of a table.
    motif
        What images show.
    """

    description: InputDescription
    shape: tuple[int, ...]
    preparation: Preparation | None = None
    longest: int = 1
    seed: int = 0
    motif: Motif = "shapes"

    @property
    def name(self) -> str:
        """The input's name."""
        return self.description.name

    @property
    def dtype(self) -> np.dtype[Any]:
        """The input's type."""
        return self.description.spec.dtype


def draw(drawn: DrawnInput, generator: np.random.Generator, share: float) -> NDArray[Any]:
    """One sample in the input's shape: images as pixels of 0 to 255, spectrograms as power, others as they are taken.

    Parameters
    ----------
    share
        How much of the longest length the sample uses, where there are masks.
    """
    return _DRAWERS[drawn.description.kind](drawn, generator, share).reshape(drawn.shape)


def prepared(drawn: DrawnInput, values: NDArray[Any], preparation: Preparation | None) -> NDArray[Any]:
    """Drawn samples, of one or with a batch axis, in the type that the model takes."""
    if preparation is not None:
        channels_last = drawn.description.layout == "NHWC"
        planes = np.moveaxis(values, -1, -3) if channels_last else values
        if drawn.description.kind == "spectrogram":
            values = preparation(values[..., None, :, :])[..., 0, :, :]
        else:
            values = np.moveaxis(preparation(planes), -3, -1) if channels_last else preparation(planes)
    if drawn.dtype.kind in "iu" and values.dtype.kind == "f":
        values = np.rint(values)
    return np.asarray(values, drawn.dtype)


def _image(drawn: DrawnInput, generator: np.random.Generator, share: float) -> NDArray[Any]:  # noqa: ARG001
    channels_last = drawn.description.layout == "NHWC"
    *leading, first, second, third = drawn.shape
    height, width, channels = (first, second, third) if channels_last else (second, third, first)
    pictures = np.stack(
        [draw_picture(generator, height, width, channels, drawn.motif) for _ in range(math.prod(leading))]
    )
    return np.moveaxis(pictures, -3, -1) if channels_last else pictures


def _sound(drawn: DrawnInput, generator: np.random.Generator, share: float) -> NDArray[Any]:  # noqa: ARG001
    sound = draw_sound(generator, math.prod(drawn.shape))
    return sound * np.float32(32767) if drawn.dtype.kind == "i" else sound


def _spectrogram(drawn: DrawnInput, generator: np.random.Generator, share: float) -> NDArray[Any]:  # noqa: ARG001
    bins_first = drawn.description.layout == "NFT"
    *leading, first, second = drawn.shape
    bins, frames = (first, second) if bins_first else (second, first)
    energies = np.stack([draw_mel_energies(generator, frames, bins) for _ in range(math.prod(leading))])
    return energies.transpose(0, 2, 1) if bins_first else energies


def _table(drawn: DrawnInput, generator: np.random.Generator, share: float) -> NDArray[Any]:  # noqa: ARG001
    *leading, columns = drawn.shape or (1,)
    return np.stack([draw_row(generator, columns, [drawn.seed]) for _ in range(math.prod(leading))])


def _features(drawn: DrawnInput, generator: np.random.Generator, share: float) -> NDArray[Any]:  # noqa: ARG001
    return draw_features(generator, drawn.shape)


def _tokens(drawn: DrawnInput, generator: np.random.Generator, share: float) -> NDArray[Any]:
    *leading, length = drawn.shape or (1,)
    vocabulary = vocabulary_of(drawn.description.rows or _UNKNOWN_ROWS)
    used = _used(length, share)
    return np.stack([draw_ids(generator, length, used, vocabulary) for _ in range(math.prod(leading))])


def _mask(drawn: DrawnInput, generator: np.random.Generator, share: float) -> NDArray[Any]:  # noqa: ARG001
    return draw_mask(drawn.shape, _used(_length(drawn), share))


def _segments(drawn: DrawnInput, generator: np.random.Generator, share: float) -> NDArray[Any]:
    rows = drawn.description.rows or _UNKNOWN_ROWS
    return draw_segments(generator, drawn.shape, _used(_length(drawn), share), rows)


def _positions(drawn: DrawnInput, generator: np.random.Generator, share: float) -> NDArray[Any]:  # noqa: ARG001
    rows = drawn.description.rows or _length(drawn)
    return np.broadcast_to(np.arange(_length(drawn)) % rows, drawn.shape)


def _lengths(drawn: DrawnInput, generator: np.random.Generator, share: float) -> NDArray[Any]:  # noqa: ARG001
    return np.full(drawn.shape, _used(drawn.longest, share))


def _state(drawn: DrawnInput, generator: np.random.Generator, share: float) -> NDArray[Any]:  # noqa: ARG001
    return np.zeros(drawn.shape)


def _rate(drawn: DrawnInput, generator: np.random.Generator, share: float) -> NDArray[Any]:  # noqa: ARG001
    return np.full(drawn.shape, RATE)


def _flag(drawn: DrawnInput, generator: np.random.Generator, share: float) -> NDArray[Any]:  # noqa: ARG001
    return generator.random(drawn.shape) < 0.5 if math.prod(drawn.shape) > 1 else np.ones(drawn.shape)


def _number(drawn: DrawnInput, generator: np.random.Generator, share: float) -> NDArray[Any]:  # noqa: ARG001
    return np.ones(drawn.shape)


_DRAWERS: Final[Mapping[InputKind, Callable[[DrawnInput, np.random.Generator, float], NDArray[Any]]]] = {
    "image": _image,
    "sound": _sound,
    "spectrogram": _spectrogram,
    "table": _table,
    "features": _features,
    "tokens": _tokens,
    "mask": _mask,
    "segments": _segments,
    "positions": _positions,
    "length": _lengths,
    "state": _state,
    "rate": _rate,
    "flag": _flag,
    "number": _number,
}


def _length(drawn: DrawnInput) -> int:
    return drawn.shape[-1] if drawn.shape else 1


def _used(length: int, share: float) -> int:
    return max(1, round(share * length))
