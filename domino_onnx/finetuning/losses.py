"""How far the student's outputs are from the dense model's, chosen from what the outputs look like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from domino_onnx.errors import FinetuneError
from domino_onnx.options import FinetuneOptions, LossKind

__all__ = ["DistillationLoss"]

_Kind = Literal["logits", "probabilities", "values", "directions"]
_TINY = 1e-8


class DistillationLoss:
    """KL divergence on class scores, mean square error relative to the variance on everything else.

    Outputs are told apart by the teacher's: (batch, classes) floats that are probabilities if every row adds up to 1,
    else logits; the last axis of longer tensors counts as classes only if it adds up to 1 (a recogniser's softmax per
    position). Hinton et al. 2015, with temperature.

    Parameters
    ----------
    teacher
        The teacher's outputs for one batch.
    options
        Another choice than that, the temperature, and what labels count.
    """

    def __init__(self, teacher: Mapping[str, Tensor], options: FinetuneOptions | None = None) -> None:
        settings = options or FinetuneOptions()
        comparable = {name: each for name, each in teacher.items() if each.is_floating_point() and each.numel()}
        self._kinds: dict[str, _Kind] = {name: _kind(output, settings.loss) for name, output in comparable.items()}
        self._scales = {name: float(teacher[name].float().var(unbiased=False)) + _TINY for name in self._kinds}
        self._temperature = settings.temperature
        self._label_weight = settings.label_weight
        scored = (name for name, kind in self._kinds.items() if kind in ("logits", "probabilities"))
        self._classes = next(scored, None)
        scores = teacher[self._classes] if self._classes is not None else None
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
        if kind == "directions":
            return 1 - functional.cosine_similarity(student, teacher, dim=-1, eps=_TINY).mean()
        log_student = _log_probabilities(student, kind, self._temperature).flatten(0, -2)
        log_teacher = _log_probabilities(teacher, kind, self._temperature).flatten(0, -2)
        divergence = functional.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
        return divergence * (self._temperature**2 if kind == "logits" else 1.0)


def _kind(output: Tensor, wanted: LossKind) -> _Kind:
    if wanted == "mse" or output.ndim < 2 or output.shape[-1] < 2:
        return "values"
    if wanted == "cosine":
        return "directions"
    sums = output.float().sum(dim=-1)
    if float(output.min()) >= 0 and torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
        return "probabilities"
    return "logits" if output.ndim == 2 or wanted == "kl" else "values"


def _log_probabilities(scores: Tensor, kind: _Kind, temperature: float) -> Tensor:
    if kind == "probabilities":
        return scores.clamp_min(_TINY).log()
    return functional.log_softmax(scores / temperature, dim=-1)
