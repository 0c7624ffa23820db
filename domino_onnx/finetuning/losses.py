"""How far the student's outputs are from the dense model's, by what the outputs are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from domino_onnx.errors import FinetuneError
from domino_onnx.options import FinetuneOptions, LossKind
from domino_onnx.outputs import CLASSES, OutputKind, OutputKinds, Outputs, class_output, variances

__all__ = ["DistillationLoss"]

_TINY = 1e-8


class DistillationLoss:
    """What the student is trained by, for each output by its kind.

    - Classes: Kullback-Leibler divergence, of scores with temperature (Hinton et al. 2015).
    - Embeddings: the squared distance of the vectors at length 1, which is 2 (1 - cosine).
    - Values: mean square error over the variance.

    Parameters
    ----------
    kinds
        What the outputs are (`decide_kinds`).
    teacher
        The teacher's outputs for some batches: values are measured against their variance.
    options
        Another loss than that, the temperature, and what labels count.
    """

    def __init__(self, kinds: OutputKinds, teacher: Sequence[Outputs], options: FinetuneOptions | None = None) -> None:
        settings = options or FinetuneOptions()
        first = teacher[0]
        self._kinds: dict[str, OutputKind] = {
            name: _asked_for(settings.loss, kind, first[name].shape) for name, kind in kinds.items()
        }
        self._scales = variances(teacher)
        self._temperature = settings.temperature
        self._label_weight = settings.label_weight
        self._classes = class_output(self._kinds, first)
        scores = first[self._classes] if self._classes is not None else None
        self._class_count = scores.shape[1] if scores is not None and scores.ndim == 2 else None

    @property
    def trainable(self) -> bool:
        """Whether there is a floating-point output to compare at all."""
        return bool(self._kinds)

    @property
    def class_count(self) -> int | None:
        """How many classes the scores of (batch, classes) have; None without such an output."""
        return self._class_count

    def __call__(
        self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor], targets: Tensor | None = None
    ) -> Tensor:
        """A scalar, the mean over the batch, summed over the outputs.

        `targets` are (batch, classes) shares of the classes that labels name; they need `class_count`.
        """
        distances = [self._distance(name, student[name].float(), teacher[name].float()) for name in self._kinds]
        loss = torch.stack(distances).sum()
        if targets is not None and self._classes is not None:
            log_probabilities = _log_probabilities(student[self._classes].float(), self._kinds[self._classes], 1.0)
            cross_entropy = -(targets * log_probabilities).sum(dim=-1).mean()
            loss = (1 - self._label_weight) * loss + self._label_weight * cross_entropy
        return loss

    def _distance(self, name: str, student: Tensor, teacher: Tensor) -> Tensor:
        if student.shape != teacher.shape:
            raise FinetuneError(
                f"{name!r} is {tuple(student.shape)} in torch and {tuple(teacher.shape)} in ONNX Runtime"
            )
        kind = self._kinds[name]
        if kind == "values":
            return functional.mse_loss(student, teacher) / self._scales[name]
        if kind == "embedding":
            return 2 * (1 - functional.cosine_similarity(student, teacher, dim=-1, eps=_TINY).mean())
        log_student = _log_probabilities(student, kind, self._temperature).flatten(0, -2)
        log_teacher = _log_probabilities(teacher, kind, self._temperature).flatten(0, -2)
        divergence = functional.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
        return divergence * (self._temperature**2 if kind == "scores" else 1.0)


def _asked_for(wanted: LossKind, kind: OutputKind, shape: tuple[int, ...]) -> OutputKind:
    """The kind whose loss is used: another one than the output's where that was asked for and can be."""
    if wanted == "auto":
        return kind
    if wanted == "mse" or len(shape) < 2 or shape[-1] < 2:
        return "values"
    if wanted == "cosine":
        return "embedding"
    return kind if kind in CLASSES else "scores"


def _log_probabilities(scores: Tensor, kind: OutputKind, temperature: float) -> Tensor:
    if kind == "probabilities":
        return scores.clamp_min(_TINY).log()
    return functional.log_softmax(scores / temperature, dim=-1)
