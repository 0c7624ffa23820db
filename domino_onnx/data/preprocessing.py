"""How images become a model's input: the keys of a preprocessing.yaml, each checked."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from domino_onnx.data.augment import Augmentation
from domino_onnx.data.fields import Fields, count, number, read_fields
from domino_onnx.data.inputs import InputSpec
from domino_onnx.errors import DataError

__all__ = ["FOLDERS", "KEYS", "Preprocessing", "find_preprocessing", "read_preprocessing"]

KEYS = (
    "images", "input", "resize", "crop", "interpolation", "color", "scale", "mean", "std", "layout", "dtype", "labels",
    "augment", "limit",
)  # fmt: skip
FOLDERS: Final = "folders"
_NAMES = ("preprocessing.yaml", "preprocessing.yml")
_SUFFIXES = (".yaml", ".yml")
_COLORS = {"rgb": "RGB", "bgr": "BGR", "gray": "gray", "grey": "gray"}
_INTERPOLATIONS = {name: name for name in ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")}
_LAYOUTS = {"nchw": "NCHW", "nhwc": "NHWC"}
_DTYPES = {name: np.dtype(name) for name in ("uint8", "float16", "float32", "float64")}
_MAX_SIDE = 1 << 14
_MAX_PADDING = 64


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """What a preprocessing.yaml says, with what it leaves out filled in from the model.

    Attributes
    ----------
    file
        The .yaml, for messages.
    images
        The folder of images.
    spec
        The input that they are for.
    resize
        The length of the short side, or (height, width); None leaves images as large as they are.
    crop
        (height, width) of the middle that is kept after resizing.
    scale, mean, std
        A pixel of 0 to 255 becomes `(pixel / scale - mean) / std`; mean and std by channel, in the order of `color`.
        None where the input takes pixels as they are.
    labels
        A file of labels, FOLDERS for one class a subfolder, None for no labels.
    limit
        How many images to use at most.
    """

    file: Path
    images: Path
    spec: InputSpec
    resize: int | tuple[int, int] | None
    crop: tuple[int, int] | None
    interpolation: str
    color: str
    scale: float | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    layout: str
    dtype: np.dtype[Any]
    labels: Path | str | None
    augment: Augmentation | None
    limit: int | None

    def normalized(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """(batch, height, width, channels) pixels as values in the layout and type that the model takes."""
        ordered: NDArray[Any] = pixels[..., ::-1] if self.color == "BGR" else pixels
        if self.scale is not None:
            scaled = ordered.astype(np.float32) / np.float32(self.scale)
            ordered = (scaled - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        if self.layout == "NCHW":
            ordered = ordered.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(ordered, self.dtype)


def find_preprocessing(path: Path) -> Path | None:
    """The .yaml that `--data PATH` is or holds; None for data that aren't images."""
    if path.suffix.lower() in _SUFFIXES and path.is_file():
        return path
    return next((path / name for name in _NAMES if (path / name).is_file()), None)


def read_preprocessing(file: Path, specs: Sequence[InputSpec]) -> Preprocessing:
    """Read and check a preprocessing.yaml.

    Raises
    ------
    DataError
        For a file that isn't YAML, an unknown key, or a value that isn't what the key takes.
    DependencyError
        If PyYAML isn't installed.
    """
    fields = read_fields(file, KEYS)
    spec = _input(fields, specs)
    dtype = fields.choice("dtype", _DTYPES) or np.dtype(np.uint8 if spec.dtype.kind in "iu" else np.float32)
    color = fields.choice("color", _COLORS) or "RGB"
    layout = fields.choice("layout", _LAYOUTS) or "NCHW"
    channels = 1 if color == "gray" else 3
    return Preprocessing(
        file=file,
        images=file.parent / (fields.text("images") or "."),
        spec=spec,
        resize=fields.value("resize", _short_or_sides, "the length of the short side, or [height, width]"),
        crop=fields.value("crop", _sides, "a length, or [height, width]"),
        interpolation=fields.choice("interpolation", _INTERPOLATIONS) or "bilinear",
        color=color,
        scale=_scale(fields, dtype),
        mean=fields.value("mean", _by_channel(channels), f"a number, or {channels}") or (0.0,) * channels,
        std=fields.value("std", _divisors(channels), f"a number above 0, or {channels}") or (1.0,) * channels,
        layout=layout,
        dtype=dtype,
        labels=_labels(fields),
        augment=_augmentation(fields, height=1 if layout == "NCHW" else 0),
        limit=fields.value("limit", count, "a whole number above 0"),
    )


def _input(fields: Fields, specs: Sequence[InputSpec]) -> InputSpec:
    name = fields.text("input")
    wanted = "; ".join(map(str, specs)) or "none"
    if len(specs) != 1:
        raise DataError(f"{fields.file}: images can be given to a model of one input only; this one's are {wanted}")
    if name is not None and name != specs[0].name:
        raise DataError(f"{fields.file}: the model has no input {name!r}; it has {wanted}")
    return specs[0]


def _scale(fields: Fields, dtype: np.dtype[Any]) -> float | None:
    """The divisor of pixels, which nobody may guess: 0..1 given to a network that wants 0..255 fails silently."""
    scale: float | None = fields.value("scale", lambda value: number(value, above=0), "a number above 0")
    if dtype.kind == "f":
        if scale is None:
            raise DataError(
                f"{fields.file}: `scale` is missing; `scale: 255` makes pixels 0..1, `scale: 1` leaves 0..255"
            )
        return scale
    given = [key for key in ("scale", "mean", "std") if fields.given(key)]
    if given:
        raise DataError(f"{fields.file}: {given[0]!r} makes no sense with {dtype} pixels, which stay as they are")
    return None


def _labels(fields: Fields) -> Path | str | None:
    def read(value: Any) -> Path | str | None:
        if isinstance(value, dict):
            return FOLDERS if value == {FOLDERS: True} else None
        return fields.file.parent / value if isinstance(value, str) and value else None

    labels: Path | str | None = fields.value("labels", read, "a .csv, .tsv or .txt file, or {folders: true}")
    return labels


def _augmentation(fields: Fields, *, height: int) -> Augmentation | None:
    content = fields.value("augment", lambda value: value if isinstance(value, dict) else None, "keys and values")
    if content is None:
        return None
    inner = Fields(fields.file, content, ("flip", "crop_padding"))
    padding = inner.value("crop_padding", _padding, f"a whole number of pixels from 1 to {_MAX_PADDING}")
    return Augmentation(flip=inner.flag("flip"), crop_padding=padding or 0, height=height)


def _padding(value: Any) -> int | None:
    padding = count(value)
    return None if padding is None or padding > _MAX_PADDING else padding


def _side(value: Any) -> int | None:
    side = count(value)
    return None if side is None or side > _MAX_SIDE else side


def _short_or_sides(value: Any) -> int | tuple[int, int] | None:
    return _sides(value) if isinstance(value, list) else _side(value)


def _sides(value: Any) -> tuple[int, int] | None:
    sides = [_side(side) for side in (value if isinstance(value, list) else [value, value])]
    if len(sides) != 2 or sides[0] is None or sides[1] is None:
        return None
    return sides[0], sides[1]


def _by_channel(channels: int, *, above: float = -math.inf) -> Callable[[Any], tuple[float, ...] | None]:
    def read(value: Any) -> tuple[float, ...] | None:
        numbers = [number(one, above=above) for one in (value if isinstance(value, list) else [value] * channels)]
        known = tuple(one for one in numbers if one is not None)
        return known if len(known) == len(numbers) == channels else None

    return read


def _divisors(channels: int) -> Callable[[Any], tuple[float, ...] | None]:
    return _by_channel(channels, above=0)
