"""Images as a model's input: decoded when they are taken, so that there may be more than memory holds."""

from __future__ import annotations

import dataclasses
import importlib
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.data.labels import labels_from_file, labels_from_folders
from domino_onnx.data.preprocessing import FOLDERS, Preprocessing
from domino_onnx.errors import DataError, DependencyError

__all__ = ["ImageSamples", "image_files", "open_images"]

# What photographs and drawings come in. Pillow also reads formats that are programs, as PostScript, and TIFF,
# whose decoder writes of its troubles to stderr by itself.
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "PPM")
_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".ppm", ".pgm"))
_MODES = frozenset(("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"))
_MAX_PIXELS = 1 << 27  # the largest cameras have 100 million
_CACHED_BYTES = 512 << 20
# What Pillow's decoders raise on damaged files; OSError has its own errors under it.
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, MemoryError, OverflowError,
            IndexError, KeyError, TypeError)  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ImageSamples:
    """Image files as samples of an input.

    Attributes
    ----------
    files
        One a sample.
    shape
        The number of files, and the shape of one image as the model takes it.
    cache
        Pixels of images that were decoded before, by their numbers. The first stay: readers of data go round and
        round, and a cache that throws out what is oldest would never have what comes next.
    """

    files: tuple[Path, ...]
    preprocessing: Preprocessing
    shape: tuple[int, ...]
    cache: dict[int, NDArray[np.uint8]] = dataclasses.field(default_factory=dict)

    @property
    def dtype(self) -> np.dtype[Any]:
        """What the preprocessing gives."""
        return self.preprocessing.dtype

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, indices: NDArray[np.int64], /) -> NDArray[Any]:
        return self.preprocessing.normalized(np.stack([self._pixels(int(index)) for index in indices]))

    def _pixels(self, index: int) -> NDArray[np.uint8]:
        if index in self.cache:
            return self.cache[index]
        pixels = _decode(self.files[index], self.preprocessing)
        shape = _sample_shape(pixels, self.preprocessing)
        if shape != self.shape[1:]:
            raise DataError(
                f"{self.files[index]} becomes {shape}, but {self.files[0]} {self.shape[1:]}: images of different sizes "
                f"need `resize: [height, width]`, a `crop` or a `pad`, in {self.preprocessing.file}"
            )
        if (len(self.cache) + 1) * pixels.nbytes <= _CACHED_BYTES:
            self.cache[index] = pixels
        return pixels


def open_images(preprocessing: Preprocessing, *, any_labels: bool = False) -> tuple[ImageSamples, NDArray[Any] | None]:
    """The images of a folder and its subfolders, and their labels if there are any.

    They come in an order that is random but always the same: sorted, they would come class by class, and so would
    batches, of which some are held out to judge by.

    Parameters
    ----------
    any_labels
        Whether a list of labels may hold text.

    Raises
    ------
    DataError
        If there are none, the first can't be read or doesn't fit the input, or labels are missing.
    DependencyError
        If Pillow isn't installed.
    """
    _pillow()
    root = preprocessing.images
    names = _find(preprocessing)
    shape = _sample_shape(_decode(root / names[0], preprocessing), preprocessing)
    _require_fit(root / names[0], shape, preprocessing)
    samples = ImageSamples(
        files=tuple(root / name for name in names), preprocessing=preprocessing, shape=(len(names), *shape)
    )
    if preprocessing.labels is None:
        return samples, None
    if isinstance(preprocessing.labels, Path):
        return samples, labels_from_file(preprocessing.labels, names, any_labels=any_labels)
    assert preprocessing.labels == FOLDERS
    return samples, labels_from_folders(root, names)


def image_files(root: Path) -> Iterator[Path]:
    """Files in a folder and its subfolders that are named as images are; hidden ones are thumbnails and the like."""
    for folder, inner, files in os.walk(root):
        inner[:] = [name for name in inner if not name.startswith(".")]
        for name in files:
            path = Path(folder, name)
            if path.suffix.lower() in _SUFFIXES and not name.startswith(".") and path.is_file():
                yield path


def _find(preprocessing: Preprocessing) -> list[PurePosixPath]:
    """Images by their paths under the folder."""
    root = preprocessing.images
    if not root.is_dir():
        raise DataError(f"{preprocessing.file}: there is no folder of images {root}")
    found = sorted(PurePosixPath(path.relative_to(root).as_posix()) for path in image_files(root))
    if not found:
        raise DataError(f"{root} holds no images ({' '.join(sorted(_SUFFIXES))})")
    order = np.random.default_rng(0).permutation(len(found))[: preprocessing.limit]
    return [found[place] for place in order]


def _require_fit(file: Path, shape: tuple[int, ...], preprocessing: Preprocessing) -> None:
    """An image is one sample of a batch, or all of an input that has no batch axis."""
    spec = preprocessing.spec
    if spec.shape is None:
        return
    sample = spec.shape[1:] if len(spec.shape) > len(shape) else spec.shape
    if len(sample) != len(shape) or any(want not in (None, have) for want, have in zip(sample, shape, strict=True)):
        raise DataError(
            f"{file} becomes {shape}, the input is {spec}: see to `resize`, `crop`, `color` and `layout` "
            f"(now {preprocessing.layout}) in {preprocessing.file}"
        )


def _sample_shape(pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> tuple[int, ...]:
    height, width, channels = pixels.shape
    return (channels, height, width) if preprocessing.layout == "NCHW" else (height, width, channels)


def _decode(file: Path, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """(height, width, channels) pixels of one image, resized and cropped."""
    pil = _pillow()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata, and sizes that are refused below
            with pil.open(file, formats=_FORMATS) as image:
                _refuse(file, image)
                converted = image.convert("L" if preprocessing.color == "gray" else "RGB")
    except pil.DecompressionBombError as error:
        raise DataError(f"{file} is refused: {error}") from None
    except _DAMAGED as error:
        raise DataError(f"{file} is not a readable image: {error}") from None
    sized = _cropped(file, _padded(file, _resized(file, converted, preprocessing), preprocessing), preprocessing)
    pixels = np.asarray(sized, np.uint8)
    return pixels.reshape(*pixels.shape[:2], -1)


def _refuse(file: Path, image: Any) -> None:
    if image.width * image.height > _MAX_PIXELS:
        raise DataError(
            f"{file} says that it is {image.width} x {image.height}; more than {_MAX_PIXELS} pixels are refused"
        )
    if image.mode not in _MODES:
        raise DataError(f"{file} has pixels of mode {image.mode}; images need 8 bits a channel: use .npz for others")


def _resized(file: Path, image: Any, preprocessing: Preprocessing) -> Any:
    if preprocessing.resize is not None:
        size = _target(image.width, image.height, preprocessing.resize)
    elif preprocessing.pad is not None:
        size = _fitting(image.width, image.height, preprocessing.pad)
    else:
        return image
    if size[0] * size[1] > _MAX_PIXELS:
        raise DataError(f"{file} is {image.width} x {image.height}; resized it would be {size[0]} x {size[1]}")
    return image.resize(size, _pillow().Resampling[preprocessing.interpolation.upper()])


def _target(width: int, height: int, resize: int | tuple[int, int]) -> tuple[int, int]:
    """(width, height) after resizing; the long side is rounded down, as torchvision does."""
    if isinstance(resize, tuple):
        return resize[1], resize[0]
    if width <= height:
        return resize, resize * height // width
    return resize * width // height, resize


def _fitting(width: int, height: int, pad: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of the largest image of this shape that fits, a pixel at least."""
    ratio = min(pad[0] / height, pad[1] / width)
    return max(min(round(width * ratio), pad[1]), 1), max(min(round(height * ratio), pad[0]), 1)


def _padded(file: Path, image: Any, preprocessing: Preprocessing) -> Any:
    """The image on a canvas of the wanted size."""
    if preprocessing.pad is None:
        return image
    height, width = preprocessing.pad
    if image.width > width or image.height > height:
        raise DataError(
            f"{file} is {image.width} x {image.height} when it is padded to {width} x {height}: leave out `resize` "
            f"in {preprocessing.file}, and it is scaled to fit"
        )
    canvas = _pillow().new(image.mode, (width, height), preprocessing.pad_value)
    centered = preprocessing.pad_place == "center"
    canvas.paste(image, ((width - image.width) // 2, (height - image.height) // 2) if centered else (0, 0))
    return canvas


def _cropped(file: Path, image: Any, preprocessing: Preprocessing) -> Any:
    """The middle; half pixels are rounded as torchvision does."""
    if preprocessing.crop is None:
        return image
    height, width = preprocessing.crop
    if width > image.width or height > image.height:
        raise DataError(
            f"{file} is {image.width} x {image.height} when {width} x {height} are to be cropped from it: give a "
            f"`resize` in {preprocessing.file}"
        )
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


def _pillow() -> ModuleType:
    """Pillow's module for images; DependencyError without Pillow."""
    try:
        return importlib.import_module("PIL.Image")
    except ImportError as error:
        raise DependencyError(f"reading images needs Pillow ({error}): pip install 'domino-onnx[images]'") from None
