"""How pixels become what a network was trained on: the ways that are in use."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Preparation", "image_preparations", "preparation_like", "spectrum_preparations"]

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CAFFE_MEAN = (103.939, 116.779, 123.68)
_QUIETEST = 1e-6
"""Power below which the logarithm of a spectrogram is cut off."""
_TINY = 1e-6


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """A pixel of 0 to 255 becomes `(pixel / scale - mean) / std`, as in a preprocessing.yaml.

    A spectrogram's power is what a pixel is, or with `logarithm` its natural logarithm.

    Attributes
    ----------
    words
        What it is called, in a report.
    mean, std
        One number for all channels, or one for each, in the order that the network takes.
    bgr
        Whether blue comes first. For drawn images it matters little: their colours are as likely one way as the other.
    """

    words: str
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    bgr: bool = False
    logarithm: bool = False

    def __call__(self, planes: NDArray[np.float32]) -> NDArray[np.float32]:
        """(..., channels, height, width) values as the network takes them, in the same layout."""
        ordered = planes[..., ::-1, :, :] if self.bgr else planes
        if self.logarithm:
            ordered = np.log(np.maximum(ordered, np.float32(_QUIETEST)))
        mean, std = (np.array(values, np.float32).reshape(-1, 1, 1) for values in (self.mean, self.std))
        scaled: NDArray[np.float32] = (ordered / np.float32(self.scale) - mean) / std
        return scaled


_SIGNED: Final = Preparation(words="-1..1", scale=127.5, mean=(1.0,))
_UNIT: Final = Preparation(words="0..1", scale=255.0)
_PIXELS: Final = Preparation(words="0..255")
_CENTRED: Final = (
    Preparation(words="-128..127", mean=(128.0,)),
    Preparation(words="-0.5..0.5", scale=255.0, mean=(0.5,)),
)
_COLOURED: Final = (
    Preparation(words="ImageNet-normalised RGB", scale=255.0, mean=_IMAGENET_MEAN, std=_IMAGENET_STD),
    *(_SIGNED, _UNIT, _PIXELS),
    Preparation(words="BGR less Caffe's means", mean=_CAFFE_MEAN, bgr=True),
    *_CENTRED,
)
_GREY: Final = (
    *(_UNIT, _SIGNED, _PIXELS),
    Preparation(words="MNIST-normalised", scale=255.0, mean=(0.1307,), std=(0.3081,)),
    *_CENTRED,
)
_SPECTRA: Final = (
    Preparation(words="logarithm of the power", logarithm=True),
    Preparation(words="logarithm, mean 0 and deviation 1", logarithm=True, mean=(-5.0,), std=(4.5,)),
    Preparation(words="decibels", logarithm=True, scale=float(np.log(10) / 10)),
    Preparation(words="power"),
)


def image_preparations(channels: int, dtype: np.dtype[Any]) -> tuple[Preparation, ...]:
    """The ways that images of so many channels are prepared, the most usual first; integers are pixels as they are."""
    if dtype == np.int8:
        return _CENTRED[:1]
    if dtype.kind in "iu":
        return (_PIXELS,)
    if channels == 3:
        return _COLOURED
    return _GREY if channels == 1 else (_SIGNED, _UNIT, _PIXELS, *_CENTRED)


def preparation_like(pixels: NDArray[Any], real: NDArray[Any]) -> Preparation:
    """The preparation that gives pixels the mean and the deviation of real images in each channel, which is axis 0."""
    axes = tuple(range(1, pixels.ndim))
    ours, theirs = ((each.mean(axes, np.float64), each.std(axes, dtype=np.float64)) for each in (pixels, real))
    scale = ours[1] / np.maximum(theirs[1], _TINY)
    return Preparation(words="scaled like the data", mean=tuple(ours[0] - theirs[0] * scale), std=tuple(scale))


def spectrum_preparations() -> tuple[Preparation, ...]:
    """The ways that spectrograms are prepared, the most usual first."""
    return _SPECTRA
