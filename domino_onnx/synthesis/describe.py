"""What is each input of a model: an image, a sound, tokens, a mask? It shows in shape, dtype, name and readers."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from domino_onnx.data import InputSpec
from domino_onnx.errors import OptionError
from domino_onnx.graph import OnnxFile
from domino_onnx.synthesis.reading import Reader, Readers

__all__ = ["InputDescription", "InputKind", "describe_inputs"]

InputKind: TypeAlias = Literal[
    "image",
    "sound",
    "spectrogram",
    "table",
    "features",
    "tokens",
    "mask",
    "segments",
    "positions",
    "length",
    "state",
    "rate",
    "flag",
    "number",
]
"""``features`` are floats of which nothing is known but their shape. ``segments`` are token_type_ids.
``rate`` is a sampling rate, ``flag`` a truth value, ``number`` any other lone number."""

_LAYOUTS = ("NCHW", "NHWC")
_CHANNELS = (1, 3, 4)
_LEAST_SIDE = 8
_LEAST_SOUND = 400
"""Columns from which on a row under a convolution is a waveform."""
_SOUND = re.compile(r"wave|wav\b|audio|sound|speech|pcm|signal")
_SPECTRUM = re.compile(r"mel|spec|fbank|filterbank|mfcc")
_STATE = re.compile(r"state|past|cache|memory|hidden_in|^[hc]_?(in|i)?\d*$")
_RATE = re.compile(r"^sr$|rate")
_RECURRENT = ("LSTM", "GRU", "RNN")
_LEAST_BINS = 20
_INTEGERS: Mapping[str, InputKind] = {
    "mask": "mask",
    "position": "positions",
    "token_type": "segments",
    "segment": "segments",
    "len": "length",
}
"""What part of a name says about integers, in this order."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class InputDescription:
    """One input, and what it is taken to be.

    Attributes
    ----------
    rows
        Below which number integers lie, where the graph says so.
    layout
        Of an image's axes, "NCHW" or "NHWC"; of a spectrogram "NFT" (bins, then frames) or "NTF". Empty for others.
    """

    spec: InputSpec
    kind: InputKind
    rows: int | None = None
    layout: str = ""

    @property
    def name(self) -> str:
        """The input's name."""
        return self.spec.name


def describe_inputs(
    file: OnnxFile, specs: Sequence[InputSpec], kinds: Mapping[str, InputKind] | None = None
) -> tuple[InputDescription, ...]:
    """What each input is taken to be, or what `kinds` says of it by its name.

    Raises
    ------
    OptionError
        If `kinds` names no input, or no kind.
    """
    said = dict(kinds or {})
    _check(said, specs)
    readers = Readers(file)
    return tuple(_describe(spec, readers.of(spec.name), said.get(spec.name)) for spec in specs)


def _check(said: Mapping[str, str], specs: Sequence[InputSpec]) -> None:
    known, names = get_args(InputKind), [spec.name for spec in specs]
    for name, kind in said.items():
        if name not in names:
            raise OptionError(f"{name!r} is no input of the model; inputs: {', '.join(names) or 'none'}")
        if kind not in known:
            raise OptionError(f"input {name!r} can't be drawn as {kind!r}; kinds: {', '.join(known)}")


def _describe(spec: InputSpec, readers: Sequence[Reader], said: InputKind | None) -> InputDescription:
    kind = said or _kind(spec, readers)
    rows = [reader.rows for reader in readers if reader.rows is not None]
    layout = _image_layout(spec) if kind == "image" else _spectrum_layout(spec) if kind == "spectrogram" else ""
    return InputDescription(spec=spec, kind=kind, rows=min(rows, default=None), layout=layout or "")


def _kind(spec: InputSpec, readers: Sequence[Reader]) -> InputKind:
    name = spec.name.lower()
    if spec.shape is not None and all(size == 1 for size in spec.shape):
        return _lone_kind(name, spec.dtype)
    if spec.dtype.kind in "iub":
        return _integer_kind(name, spec, readers)
    return _float_kind(name, spec, readers)


def _lone_kind(name: str, dtype: np.dtype[Any]) -> InputKind:
    if dtype.kind == "b":
        return "flag"
    return "rate" if _RATE.search(name) else "number"


def _integer_kind(name: str, spec: InputSpec, readers: Sequence[Reader]) -> InputKind:
    said = next((kind for part, kind in _INTEGERS.items() if part in name), None)
    if said is not None:
        return said
    if spec.dtype.itemsize == 1 and _image_layout(spec):
        return "image"
    if spec.dtype == np.int16 and _is_wave(name, spec, readers):
        return "sound"
    return "flag" if spec.dtype.kind == "b" else "tokens"


def _float_kind(name: str, spec: InputSpec, readers: Sequence[Reader]) -> InputKind:
    rank = len(spec.shape or ())
    is_first_state = any(reader.operator in _RECURRENT and reader.position >= 5 for reader in readers)
    is_volume = any(reader.spatial in (1, 3) for reader in readers)
    signs: tuple[tuple[InputKind, bool], ...] = (
        ("mask", "mask" in name),
        ("state", bool(_STATE.search(name)) or is_first_state),
        ("spectrogram", rank >= 3 and bool(_SPECTRUM.search(name))),
        ("image", bool(_image_layout(spec)) and not is_volume),
        ("sound", _is_wave(name, spec, readers)),
        ("spectrogram", _reads_frames(spec, readers)),
        ("table", rank <= 2),
    )
    return next((kind for kind, shown in signs if shown), "features")


def _image_layout(spec: InputSpec) -> str | None:
    """Where the channels of a batch of images are; None for what can't be images."""
    shape = spec.shape
    if shape is None or len(shape) != 4:
        return None
    for layout, channels, sides in zip(_LAYOUTS, (shape[1], shape[3]), (shape[2:], shape[1:3]), strict=True):
        if channels in _CHANNELS and all(side is None or side >= _LEAST_SIDE for side in sides):
            return layout
    return None


def _is_wave(name: str, spec: InputSpec, readers: Sequence[Reader]) -> bool:
    """A row of samples: (n, time), (n, 1, time) or (n, time, 1), long enough or without a length."""
    shape = spec.shape
    if shape is None or not 1 <= len(shape) <= 3:
        return False
    inner = [size for size in shape[1:] if size != 1] if len(shape) > 1 else list(shape)
    if len(inner) != 1 or (inner[0] is not None and inner[0] < _LEAST_SOUND):
        return False
    return bool(_SOUND.search(name)) or not readers or any(_slides(reader) for reader in readers)


def _slides(reader: Reader) -> bool:
    return reader.operator in ("Conv", "STFT", "DFT", "If", "Loop")


def _reads_frames(spec: InputSpec, readers: Sequence[Reader]) -> bool:
    """(n, frames, bins) with free frames, that a recurrent layer reads in order."""
    shape = spec.shape or ()
    wide = len(shape) == 3 and shape[1] is None and (shape[2] or 0) >= _LEAST_BINS
    return wide and any(reader.operator in _RECURRENT and reader.position == 0 for reader in readers)


def _spectrum_layout(spec: InputSpec) -> str:
    """Bins are the axis whose size is fixed; with two of a size, the last but one, as frames move fastest."""
    *_, before, last = spec.shape or (None, None)
    return "NTF" if before is None or (last is not None and last < before) else "NFT"
