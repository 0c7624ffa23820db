"""The keys of a preprocessing.yaml, and the values that each takes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from domino_onnx import codec
from domino_onnx.errors import DataError
from domino_onnx.plurals import quantity

__all__ = ["Fields", "Folders", "ToHeight", "Variations", "read_fields"]

_MAX_FILE_BYTES = 1 << 16
_IN_ANY_CASE = ("color", "dtype", "interpolation", "layout", "pad_place")
"""Keys whose choices may be written in capitals or not."""
_ALSO_CALLED = {"resize_size": "resize", "crop_size": "crop"}
"""What torchvision calls keys."""
_ENUMS = ("interpolationmode.", "resampling.")
"""What torchvision and Pillow put before the name of an interpolation."""
_Text = Annotated[str, Meta(min_length=1)]
_Side = Annotated[int, Meta(ge=1, le=1 << 14)]
_Sides = Annotated[tuple[_Side, ...], Meta(min_length=2, max_length=2)]
_Pixel = Annotated[int, Meta(ge=0, le=255)]
_Number = Annotated[float, Meta(gt=-1e30, lt=1e30)]
_Divisor = Annotated[float, Meta(gt=0, lt=1e30)]


class ToHeight(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A size by its height, each image as wide as its shape makes it."""

    height: _Side


class Folders(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Labels by subfolders."""

    folders: bool


class Variations(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How images are varied for finetuning."""

    flip: bool | None = None
    crop_padding: Annotated[int, Meta(ge=1, le=64)] | None = None


class Fields(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a preprocessing.yaml holds; None for what it leaves out. docs/data.md says what the keys mean."""

    images: _Text | None = None
    input: _Text | None = None
    resize: Annotated[
        _Side | _Sides | ToHeight | None,
        Meta(extra={"wanted": "the length of the short side, [height, width], or {height: ...}"}),
    ] = None
    crop: Annotated[_Side | _Sides | None, Meta(extra={"wanted": "a length, or [height, width]"})] = None
    pad: Annotated[_Sides | None, Meta(extra={"wanted": "[height, width]"})] = None
    pad_height_divisor: _Side | None = None
    pad_width_divisor: _Side | None = None
    pad_value: _Pixel | Annotated[tuple[_Pixel, ...], Meta(min_length=3, max_length=3)] | None = None
    pad_place: Literal["center", "corner"] | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"] | None = None
    color: Literal["RGB", "BGR", "gray", "grey"] | None = None
    scale: Annotated[_Divisor | None, Meta(extra={"wanted": "a number above 0"})] = None
    mean: _Number | tuple[_Number, ...] | None = None
    std: _Divisor | tuple[_Divisor, ...] | None = None
    layout: Literal["NCHW", "NHWC"] | None = None
    dtype: Literal["uint8", "float16", "float32", "float64"] | None = None
    labels: Annotated[
        _Text | Folders | None, Meta(extra={"wanted": "a .csv, .tsv or .txt file, or {folders: true}"})
    ] = None
    augment: Variations | None = None
    limit: Annotated[int, Meta(gt=0)] | None = None


def read_fields(file: Path) -> Fields:
    """The keys and values that a YAML file holds; none of them need be there.

    Raises
    ------
    DataError
        If the file isn't YAML, has an unknown key, or a value that the key doesn't take.
    DependencyError
        If PyYAML isn't installed.
    """
    what = str(file)
    try:
        size = file.stat().st_size
        if size > _MAX_FILE_BYTES:
            raise DataError(f"{file} has {quantity(size, 'byte')}; a preprocessing.yaml is a few lines")
        text = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file} can't be read: {error.strerror or error}") from None
    plain = codec.parse(text, what=what, error=DataError, syntax="yaml")
    said = _as_we_write(_in_our_words({} if plain is None else plain, what))
    return codec.convert(said, Fields, what=what, error=DataError)


def _as_we_write(plain: Any) -> Any:
    """The same with choices that differ from ours by capitals alone as we write them."""
    if not isinstance(plain, dict):
        return plain
    return {key: _choice(key, value) if key in _IN_ANY_CASE else value for key, value in plain.items()}


def _choice(key: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    ours = next(kind for kind in get_args(get_type_hints(Fields)[key]) if get_origin(kind) is Literal)
    return next((choice for choice in get_args(ours) if choice.lower() == value.lower()), value)


def _in_our_words(plain: Any, what: str) -> Any:
    """Torchvision's ``resize_size`` and ``crop_size``, and timm's ``input_size`` and ``crop_pct``, as our keys."""
    if not isinstance(plain, dict):
        return plain
    said = dict(plain)
    for theirs, ours in _ALSO_CALLED.items():
        if theirs in said:
            _say(said, ours, _alone(said.pop(theirs)), theirs, what)
    if "input_size" in said:
        size = said.pop("input_size")
        if not isinstance(size, list) or len(size) != 3:
            raise DataError(f"{what}: 'input_size' is {codec.shown(size)}; it must be [channels, height, width]")
        _say(said, "crop", size[1:], "input_size", what)
    if "crop_pct" in said:
        _say(said, "resize", _resized_for(said.get("crop"), said.pop("crop_pct"), what), "crop_pct", what)
    name = said.get("interpolation")
    if isinstance(name, str):
        said["interpolation"] = next((name[len(each) :] for each in _ENUMS if name.lower().startswith(each)), name)
    return said


def _say(said: dict[Any, Any], ours: str, value: Any, theirs: str, what: str) -> None:
    if ours in said:
        raise DataError(f"{what}: {theirs!r} and {ours!r} say the same: give one of them")
    said[ours] = value


def _alone(value: Any) -> Any:
    """A list of one, as torchvision writes a short side."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _resized_for(crop: Any, share: Any, what: str) -> int:
    """The short side of which a square crop is this share, rounded down as timm does."""
    side = crop[0] if isinstance(crop, list) and len(crop) == 2 and crop[0] == crop[1] else crop
    if isinstance(side, bool) or not isinstance(side, int):
        raise DataError(f"{what}: 'crop_pct' needs a square 'crop' (or 'input_size'), which it is a share of")
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise DataError(f"{what}: 'crop_pct' is {codec.shown(share)}; it must be a number above 0 and at most 1")
    return math.floor(side / share)
