"""How images become a model's input: the keys of a preprocessing.yaml, each checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from domino_onnx import codec
from domino_onnx.data.augment import Augmentation
from domino_onnx.data.fields import Fields, Folders, ToHeight, Variations, read_fields
from domino_onnx.data.inputs import InputSpec
from domino_onnx.errors import DataError

__all__ = ["FOLDERS", "Preprocessing", "find_preprocessing", "only_one_input", "read_preprocessing"]

FOLDERS: Final = "folders"
_NAMES = ("preprocessing.yaml", "preprocessing.yml")
_SUFFIXES = (".yaml", ".yml")
_DIVISORS = ("pad_height_divisor", "pad_width_divisor")


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
        The length of the short side, (height, width), or the height alone; None leaves images as large as they are.
    crop
        (height, width) of the middle that is kept after resizing.
    pad
        (height, width) that an image is scaled to fit into, its shape kept, unless `resize` says how large it becomes;
        the rest is filled with `pad_value`, on all sides (``"center"``) or at the right and below (``"corner"``).
    divisors
        What height and width are filled up to a multiple of.
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
    resize: int | tuple[int, int] | ToHeight | None
    crop: tuple[int, int] | None
    pad: tuple[int, int] | None
    divisors: tuple[int, int] | None
    pad_value: tuple[int, ...]
    pad_place: str
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

    @property
    def has_several_shapes(self) -> bool:
        """Whether images are meant to keep sizes of their own."""
        own = self.divisors is not None or isinstance(self.resize, ToHeight)
        return own and self.pad is None and self.crop is None

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
    fields = read_fields(file)
    spec = _input(file, fields, specs)
    dtype = np.dtype(fields.dtype or (np.uint8 if spec.dtype.kind in "iu" else np.float32))
    color = "gray" if fields.color == "grey" else fields.color or "RGB"
    layout = fields.layout or "NCHW"
    channels = 1 if color == "gray" else 3
    return Preprocessing(
        file=file,
        images=file.parent / (fields.images or "."),
        spec=spec,
        resize=_sides(fields.resize) if isinstance(fields.resize, tuple) else fields.resize,
        crop=(fields.crop, fields.crop) if isinstance(fields.crop, int) else _sides(fields.crop),
        pad=_sides(fields.pad),
        divisors=_divisors(file, fields),
        pad_value=_filling(file, fields, channels),
        pad_place=fields.pad_place or ("corner" if fields.pad is None else "center"),
        interpolation=fields.interpolation or "bilinear",
        color=color,
        scale=_scale(file, fields, dtype),
        mean=_by_channel(file, "mean", fields.mean, channels, default=0.0),
        std=_by_channel(file, "std", fields.std, channels, default=1.0),
        layout=layout,
        dtype=dtype,
        labels=_labels(file, fields),
        augment=_augmentation(fields.augment, height=1 if layout == "NCHW" else 0),
        limit=fields.limit,
    )


def only_one_input(specs: Sequence[InputSpec]) -> str:
    """Why images can't be given to a model with these inputs."""
    wanted = "; ".join(map(str, specs)) or "none"
    return f"images can be given to a model of one input only; this one's are {wanted}"


def _input(file: Path, fields: Fields, specs: Sequence[InputSpec]) -> InputSpec:
    if len(specs) != 1:
        raise DataError(f"{file}: {only_one_input(specs)}")
    if fields.input is not None and fields.input != specs[0].name:
        raise DataError(f"{file}: the model has no input {fields.input!r}; it has {specs[0]}")
    return specs[0]


def _divisors(file: Path, fields: Fields) -> tuple[int, int] | None:
    """(height, width), 1 for one that isn't given."""
    given = [key for key in _DIVISORS if getattr(fields, key) is not None]
    other = next((key for key in ("pad", "crop") if getattr(fields, key) is not None), None)
    if given and other is not None:
        raise DataError(f"{file}: {given[0]!r} and {other!r} contradict each other: give one of them")
    return (fields.pad_height_divisor or 1, fields.pad_width_divisor or 1) if given else None


def _filling(file: Path, fields: Fields, channels: int) -> tuple[int, ...]:
    """The pixels that are filled in, in the order of RGB."""
    if fields.pad is None and all(getattr(fields, key) is None for key in _DIVISORS):
        alone = [key for key in ("pad_value", "pad_place") if getattr(fields, key) is not None]
        if alone:
            raise DataError(f"{file}: {alone[0]!r} makes no sense without 'pad' or 'pad_width_divisor'")
    if fields.pad is not None and fields.crop is not None:
        raise DataError(f"{file}: 'pad' and 'crop' contradict each other: give one of them")
    if isinstance(fields.pad_value, tuple) and channels == 1:
        raise DataError(f"{file}: 'pad_value' is {codec.shown(list(fields.pad_value))}; gray images take one number")
    value = fields.pad_value or 0
    return (value,) * channels if isinstance(value, int) else value


def _sides(given: tuple[int, ...] | None) -> tuple[int, int] | None:
    return None if given is None else (given[0], given[1])


def _scale(file: Path, fields: Fields, dtype: np.dtype[Any]) -> float | None:
    """The divisor of pixels. It has no default: a network that gets 0..1 where it wants 0..255 fails silently."""
    if dtype.kind == "f":
        if fields.scale is None:
            raise DataError(f"{file}: `scale` is missing; `scale: 255` makes pixels 0..1, `scale: 1` leaves 0..255")
        return fields.scale
    given = [key for key in ("scale", "mean", "std") if getattr(fields, key) is not None]
    if given:
        raise DataError(f"{file}: {given[0]!r} makes no sense with {dtype} pixels, which stay as they are")
    return None


def _by_channel(
    file: Path, key: str, given: float | tuple[float, ...] | None, channels: int, *, default: float
) -> tuple[float, ...]:
    if given is None:
        return (default,) * channels
    if isinstance(given, float):
        return (given,) * channels
    if len(given) != channels:
        raise DataError(f"{file}: {key!r} is {codec.shown(list(given))}; it must be a number, or a list of {channels}")
    return given


def _labels(file: Path, fields: Fields) -> Path | str | None:
    if isinstance(fields.labels, Folders):
        if not fields.labels.folders:
            raise DataError(f"{file}: 'labels.folders' is False; write {{folders: true}}, or leave `labels` out")
        return FOLDERS
    return None if fields.labels is None else file.parent / fields.labels


def _augmentation(variations: Variations | None, *, height: int) -> Augmentation | None:
    if variations is None:
        return None
    return Augmentation(flip=bool(variations.flip), crop_padding=variations.crop_padding or 0, height=height)
