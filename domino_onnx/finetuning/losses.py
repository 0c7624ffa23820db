"""How far the student's outputs are from the dense model's, by what the outputs are."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from domino_onnx.options import FinetuneOptions, LossKind
from domino_onnx.outputs import LEARNED, Meanings, OutputKind, OutputMeaning, Outputs, class_output, scales_of

__all__ = ["DistillationLoss"]

_TINY = 1e-8


class DistillationLoss:
    """What the student is trained by, for each output by its meaning.

    - Classes: Kullback-Leibler divergence, of scores with temperature (Hinton et al. 2015).
    - Embeddings: the squared distance of the vectors at length 1, which is 2 (1 - cosine).
    - Values: the mean over channels of the squared error over the channel's variance.

    Parameters
    ----------
    meanings
        What the outputs mean (`Survey`), with the scales that values are measured by.
    options
        Another loss than that, the temperature, and what labels count.
    """

    def __init__(self, meanings: Meanings, options: FinetuneOptions | None = None) -> None:
        settings = options or FinetuneOptions()
        learned = {name: meaning for name, meaning in meanings.items() if meaning.kind in LEARNED}
        self._meanings = {name: _asked_for(settings.loss, meaning) for name, meaning in learned.items()}
        self._temperature = settings.temperature
        self._label_weight = settings.label_weight
        self._classes = class_output(self._meanings)

    @property
    def trainable(self) -> bool:
        """Whether there is a floating-point output to compare at all."""
        return bool(self._meanings)

    @property
    def class_count(self) -> int | None:
        """How many classes labels can name; None without an output that they can."""
        return None if self.labelled is None else self._meanings[self.labelled].width

    @property
    def labelled(self) -> str | None:
        """The output whose rows of classes labels can name, one row a sample; None without one."""
        name = self._classes
        return None if name is None or self._meanings[name].positions else name

    def told(self, teacher: Outputs, samples: int) -> NDArray[np.bool_]:
        """(samples,) of which samples the teacher's outputs are numbers; of all or none where none counts them."""
        found = np.ones(samples, np.bool_)
        for name, meaning in self._meanings.items():
            unknown = np.isnan(teacher[name])
            if not unknown.any():
                continue
            axis = meaning.batch_axis
            if axis is None or unknown.shape[axis] != samples:
                return np.zeros(samples, np.bool_)
            found &= ~unknown.any(axis=tuple(place for place in range(unknown.ndim) if place != axis))
        return found

    def __call__(
        self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor], targets: Tensor | None = None
    ) -> Tensor:
        """A scalar, the mean over the batch, summed over the outputs; 0 for those that can't be compared.

        These are empty, or have another shape in each model: as many boxes as were found. Where the teacher's values
        aren't finite, they are nothing to learn from.

        `targets` are (batch, classes) shares of the classes that labels name, for the output `labelled`.
        """
        distances = [self._distance(name, student[name].float(), teacher[name].float()) for name in self._meanings]
        loss = torch.stack(distances).sum()
        if targets is not None and self.labelled is not None:
            meaning = self._meanings[self.labelled]
            rows = _rows(student[self.labelled].float(), meaning.axis)
            cross_entropy = -(targets * _log_probabilities(rows, meaning.kind, 1.0)).sum(dim=-1).mean()
            loss = (1 - self._label_weight) * loss + self._label_weight * cross_entropy
        return loss

    def _distance(self, name: str, student: Tensor, teacher: Tensor) -> Tensor:
        if student.shape != teacher.shape or not student.numel():
            return student.new_zeros(())
        meaning = self._meanings[name]
        left, right = _rows(student, meaning.axis), _rows(teacher, meaning.axis)
        if meaning.kind == "values":
            scales = torch.from_numpy(scales_of(meaning.scales, left.shape[1])).to(left)
            known = torch.isfinite(right)
            return torch.mean((left.where(known, 0) - right.where(known, 0)) ** 2 / scales)
        if meaning.kind == "embedding":
            return 2 * (1 - functional.cosine_similarity(left, right, dim=-1, eps=_TINY).mean())
        log_student = _log_probabilities(left, meaning.kind, self._temperature)
        log_teacher = _log_probabilities(right, meaning.kind, self._temperature)
        known = torch.isfinite(log_teacher)  # a class that is ruled out counts nothing
        left, right = log_student.where(known, 0), log_teacher.where(known, 0)
        divergence = functional.kl_div(left, right, reduction="batchmean", log_target=True)
        return divergence * (self._temperature**2 if meaning.kind == "scores" else 1.0)


def _rows(output: Tensor, axis: int | None) -> Tensor:
    """(positions, channels), as `domino_onnx.outputs` sees an output."""
    return output.reshape(-1, 1) if axis is None else output.movedim(axis, -1).flatten(0, -2)


def _asked_for(wanted: LossKind, meaning: OutputMeaning) -> OutputMeaning:
    """The meaning whose loss is used: another one than the output's where that was asked for and can be."""
    if wanted == "auto":
        return meaning
    if wanted == "mse" or meaning.axis is None:
        return dataclasses.replace(meaning, kind="values")
    if wanted == "cosine":
        return dataclasses.replace(meaning, kind="embedding")
    return meaning if meaning.tells_classes else dataclasses.replace(meaning, kind="scores")


def _log_probabilities(scores: Tensor, kind: OutputKind, temperature: float) -> Tensor:
    if kind == "probabilities":
        return scores.clamp_min(_TINY).log()
    return functional.log_softmax(scores / temperature, dim=-1)
