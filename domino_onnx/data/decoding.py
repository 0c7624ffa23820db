"""One image file as pixels of the size that a preprocessing.yaml asks for."""

from __future__ import annotations

import contextlib
import importlib
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.data.fields import ToHeight
from domino_onnx.data.preprocessing import Preprocessing
from domino_onnx.errors import DataError, DependencyError

__all__ = ["decode", "require_pillow", "size_of"]

# What photographs and drawings come in. Pillow also reads formats that are programs, as PostScript, and TIFF,
# whose decoder writes of its troubles to stderr by itself.
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "PPM")
_MODES = frozenset(("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"))
_MAX_PIXELS = 1 << 27  # the largest cameras have 100 million
# What Pillow's decoders raise on damaged files; OSError has its own errors under it.
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, MemoryError, OverflowError,
            IndexError, KeyError, TypeError)  # fmt: skip


def decode(file: Path, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """(height, width, channels) pixels of one image, resized, padded and cropped.

    Raises
    ------
    DataError
        If it can't be read, or is smaller or larger than the preprocessing can do with.
    """
    with _opened(file) as image:
        converted = image.convert("L" if preprocessing.color == "gray" else "RGB")
    sized = _cropped(file, _padded(file, _resized(file, converted, preprocessing), preprocessing), preprocessing)
    pixels = np.asarray(sized, np.uint8)
    return pixels.reshape(*pixels.shape[:2], -1)


def size_of(file: Path, preprocessing: Preprocessing) -> tuple[int, int]:
    """(height, width) of what `decode` makes of an image without a crop, by its head alone.

    Raises
    ------
    DataError
        If the file is no image, or has none of the sizes and kinds of pixels that are read.
    """
    with _opened(file) as image:
        size = _size_on_canvas(*_size_resized(file, image.width, image.height, preprocessing), preprocessing)
    return size[1], size[0]


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """Pillow's image, of which nothing but the head is read yet; what is wrong with it as a DataError."""
    pil = require_pillow()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata, and sizes that are refused below
            with pil.open(file, formats=_FORMATS) as image:
                _refuse(file, image)
                yield image
    except pil.DecompressionBombError as error:
        raise DataError(f"{file} is refused: {error}") from None
    except _DAMAGED as error:
        raise DataError(f"{file} is not a readable image: {error}") from None


def _refuse(file: Path, image: Any) -> None:
    if image.width * image.height > _MAX_PIXELS:
        raise DataError(
            f"{file} says that it is {image.width} x {image.height}; more than {_MAX_PIXELS} pixels are refused"
        )
    if image.mode not in _MODES:
        raise DataError(f"{file} has pixels of mode {image.mode}; images need 8 bits a channel: use .npz for others")


def _resized(file: Path, image: Any, preprocessing: Preprocessing) -> Any:
    size = _size_resized(file, image.width, image.height, preprocessing)
    if preprocessing.resize is None and preprocessing.pad is None:
        return image
    return image.resize(size, require_pillow().Resampling[preprocessing.interpolation.upper()])


def _size_resized(file: Path, width: int, height: int, preprocessing: Preprocessing) -> tuple[int, int]:
    """(width, height) after resizing."""
    if preprocessing.resize is not None:
        size = _target(width, height, preprocessing.resize)
    elif preprocessing.pad is not None:
        size = _fitting(width, height, preprocessing.pad)
    else:
        return width, height
    if size[0] * size[1] > _MAX_PIXELS:
        raise DataError(f"{file} is {width} x {height}; resized it would be {size[0]} x {size[1]}")
    return size


def _target(width: int, height: int, resize: int | tuple[int, int] | ToHeight) -> tuple[int, int]:
    """(width, height) after resizing; the long side is rounded down, as torchvision does.

    To a height the width is rounded up, as PaddleOCR does.
    """
    if isinstance(resize, tuple):
        return resize[1], resize[0]
    if isinstance(resize, ToHeight):
        return -(-resize.height * width // height), resize.height
    if width <= height:
        return resize, resize * height // width
    return resize * width // height, resize


def _fitting(width: int, height: int, pad: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of the largest image of this shape that fits, a pixel at least."""
    ratio = min(pad[0] / height, pad[1] / width)
    return max(min(round(width * ratio), pad[1]), 1), max(min(round(height * ratio), pad[0]), 1)


def _padded(file: Path, image: Any, preprocessing: Preprocessing) -> Any:
    """The image on a canvas of the wanted size."""
    width, height = _size_on_canvas(image.width, image.height, preprocessing)
    if (width, height) == image.size:
        return image
    if image.width > width or image.height > height:
        raise DataError(
            f"{file} is {image.width} x {image.height} when it is padded to {width} x {height}: leave out `resize` "
            f"in {preprocessing.file}, and it is scaled to fit"
        )
    canvas = require_pillow().new(image.mode, (width, height), preprocessing.pad_value)
    centered = preprocessing.pad_place == "center"
    canvas.paste(image, ((width - image.width) // 2, (height - image.height) // 2) if centered else (0, 0))
    return canvas


def _size_on_canvas(width: int, height: int, preprocessing: Preprocessing) -> tuple[int, int]:
    """(width, height) after padding."""
    if preprocessing.pad is not None:
        return preprocessing.pad[1], preprocessing.pad[0]
    down, across = preprocessing.divisors or (1, 1)
    return -(-width // across) * across, -(-height // down) * down


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


def require_pillow() -> ModuleType:
    """Pillow's module for images; DependencyError without Pillow."""
    try:
        return importlib.import_module("PIL.Image")
    except ImportError as error:
        raise DependencyError(f"reading images needs Pillow ({error}): pip install 'domino-onnx[images]'") from None
