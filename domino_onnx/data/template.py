"""A preprocessing.yaml to start from, for a folder of images that has none."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from domino_onnx.data.images import image_files
from domino_onnx.data.inputs import InputSpec
from domino_onnx.data.preprocessing import only_one_input
from domino_onnx.plurals import quantity

__all__ = ["undescribed_images"]

_CENTRE: Final = 0.875
"""The share of an image's short side that ImageNet networks are mostly shown: 224 of 256."""
_SQUARE: Final = 224
_LINE: Final = 48
_STEP: Final = 32
"""Pixels of free sides: of images, of lines of text, and what the width of lines is a multiple of."""


def undescribed_images(folder: Path, specs: Sequence[InputSpec]) -> str | None:
    """What to tell of a folder of images without a preprocessing.yaml; None for other folders.

    Its lines are those of ImageNet networks, in the size that the model takes. They are shown and not used, because a
    wrong guess would fail silently.
    """
    if not folder.is_dir() or any(folder.glob("*.np[yz]")):
        return None
    count = sum(1 for _ in image_files(folder))
    if not count:
        return None
    if len(specs) != 1:
        return f"{folder} holds {quantity(count, 'image')}, and no .npz and no .npy file: {only_one_input(specs)}"
    lines = "\n".join(f"  {line}" for line in _lines(specs[0]))
    return (
        f"{folder} holds {quantity(count, 'image')}, and no preprocessing.yaml that says how your training code "
        "prepares them. "
        f"Save these lines as {folder / 'preprocessing.yaml'}, and change what differs:\n{lines}\n"
        f"The input is {specs[0]}. docs/data.md lists all keys."
    )


def _lines(spec: InputSpec) -> Iterator[str]:
    height, width, channels, last = _sides(spec)
    crop = height or _SQUARE, width or _SQUARE
    yield f"resize: {math.floor(max(crop) / _CENTRE)}  # the short side"
    yield f"crop: {crop[0] if crop[0] == crop[1] else list(crop)}  # the middle"
    if width is None:
        yield f"# resize: {{height: {height or _LINE}}}  # for lines of text take these five, and drop the other four"
        yield f"# pad_width_divisor: {_STEP}"
        yield "# pad_value: 127"
        yield "# mean: 0.5"
        yield "# std: 0.5"
    yield "color: gray" if channels == 1 else "color: RGB  # or BGR, as OpenCV reads"
    if last:
        yield "layout: NHWC"
    if spec.dtype.kind == "f":
        yield "scale: 255  # pixels of 0 to 255 become 0 to 1; scale: 1 leaves them"
        yield f"mean: {0.5 if channels == 1 else [0.485, 0.456, 0.406]}"
        yield f"std: {0.5 if channels == 1 else [0.229, 0.224, 0.225]}"


def _sides(spec: InputSpec) -> tuple[int | None, int | None, int | None, bool]:
    """Height, width and channels of the input as far as they are fixed, and whether channels are last."""
    shape = (spec.shape or ())[-3:]
    if len(shape) < 3:
        return None, None, None, False
    if shape[2] in (1, 3) and shape[0] not in (1, 3):
        return shape[0], shape[1], shape[2], True
    return shape[1], shape[2], shape[0], False
