"""What makes samples doubtful as judges. It is said before any work."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from domino_onnx.percentage import percent
from domino_onnx.plurals import quantity

if TYPE_CHECKING:
    from domino_onnx.data import Dataset

__all__ = ["doubts_of_judges", "doubts_of_labels", "doubts_of_samples"]

_LOOKED_AT = 8
_CHANCE = 3.0
"""Standard errors by which a model must be better than guesses as frequent as the labels."""


def doubts_of_labels(labels: NDArray[np.int64], right: float | None) -> Iterator[str]:
    """Why the dense model's answers may have nothing to do with the labels.

    Parameters
    ----------
    right
        Share of the samples that it classifies as they say; None if it tells no classes apart.
    """
    if right is None:
        yield "the labels are not used: no output tells classes apart with one row a sample"
        return
    shares = np.bincount(labels) / len(labels)
    commonest, alike = float(shares.max()), float((shares**2).sum())
    guessed = alike + _CHANCE * math.sqrt(alike * (1 - alike) / len(labels))
    if commonest < 1 and right <= max(commonest, guessed):
        yield (
            f"the dense model is right on {percent(right)} of {quantity(len(labels), 'labelled sample')}, which "
            "looks like chance. Check the labels, and how the inputs were prepared"
        )


def doubts_of_samples(data: Dataset) -> Iterator[str]:
    """Why data may tell nothing of the model. A few samples from all over them are looked at."""
    count = min(data.count, _LOOKED_AT)
    places = np.arange(count) * data.count // count
    one_shape = len(data.like(0, places)) == count
    if count > 1 and one_shape and all(_are_the_same(samples[places]) for samples in data.arrays.values()):
        yield (
            f"all of {count} samples from all over the data are the same: they tell the program next to nothing. Give "
            "samples that differ as the model's real inputs do"
        )


def _are_the_same(samples: NDArray[np.generic]) -> bool:
    return bool(np.all(samples == samples[:1]))


def doubts_of_judges(judges: Dataset, max_drop: float | None) -> Iterator[str]:
    """Why these samples may not tell what a plan is worth."""
    if judges.labels is not None and judges.count > 1 and np.all(judges.labels == judges.labels[0]):
        yield (
            f"all {judges.count} samples that judge have the label {judges.labels[0]}. What other classes lose stays "
            "unseen: give samples of all classes, shuffled"
        )
    if max_drop is not None and judges.count * max_drop < 1:
        yield (
            f"{quantity(judges.count, 'sample')} to judge by, each {percent(1 / judges.count)} of all: too few to "
            f"see a drop of {max_drop:g}; give more, with --eval-data or --data"
        )
