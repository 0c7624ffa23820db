"""Random variations of images, for finetuning only."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Augmentation"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """Prepared images, shifted and mirrored at random.

    Attributes
    ----------
    flip
        Mirror every other image left to right.
    crop_padding
        Shift by up to so many pixels; what comes in at the border mirrors what is there, so that it is right for any
        normalisation.
    height
        The axis of an image that is its height; the width is the one after it.
    """

    flip: bool = False
    crop_padding: int = 0
    height: int = 1

    def __call__(self, images: NDArray[Any], indices: NDArray[np.int64], draw: int) -> NDArray[Any]:
        """Variation number `draw` of these images; the same whatever batch an image is in.

        Parameters
        ----------
        images
            (batch, ...), not changed.
        indices
            (batch,) the images' numbers.
        """
        return np.stack(
            [
                self._varied(image, np.random.default_rng([draw, int(index)]))
                for image, index in zip(images, indices, strict=True)
            ]
        )

    def _varied(self, image: NDArray[Any], generator: np.random.Generator) -> NDArray[Any]:
        down, right = generator.integers(0, 2 * self.crop_padding + 1, 2)
        mirrored = generator.random() < 0.5
        if self.crop_padding:
            rows, columns = image.shape[self.height : self.height + 2]
            border = [(0, 0)] * image.ndim
            border[self.height] = border[self.height + 1] = (self.crop_padding, self.crop_padding)
            window = [slice(None)] * image.ndim
            window[self.height] = slice(down, down + rows)
            window[self.height + 1] = slice(right, right + columns)
            image = np.pad(image, border, mode="reflect")[tuple(window)]
        return np.flip(image, self.height + 1) if self.flip and mirrored else image
