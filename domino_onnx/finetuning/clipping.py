"""Gradients are kept short, and those that aren't finite are found before they reach a weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from domino_onnx.errors import FinetuneError
from domino_onnx.scheme import WeightKey

__all__ = ["clip", "in_vain", "require_finite"]

_LARGEST = 1.0
"""The norm that gradients are clipped to, over all weights."""
_IN_VAIN = 10
"""So many steps in a row without a finite gradient are no accident."""


def clip(gradients: Mapping[WeightKey, Tensor]) -> WeightKey | None:
    """Scale the gradients in place, if they are too long together.

    Returns
    -------
    None, or if their norm isn't finite the weight that is to blame. Then they are as they were.
    """
    if not gradients:
        return None
    norms = torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients.values()])
    total = torch.linalg.vector_norm(norms)
    if not bool(total.isfinite()):
        endless = ~norms.isfinite()
        worst = endless.int().argmax() if bool(endless.any()) else norms.argmax()
        return list(gradients)[int(worst)]
    share = (_LARGEST / (total + 1e-6)).clamp(max=1.0)
    for gradient in gradients.values():
        gradient.mul_(share)
    return None


def in_vain(left_out: Sequence[str | None], planned: int) -> bool:
    """Whether the last steps, of so many that are planned, were all left out, too many of them for an accident."""
    last = left_out[-min(_IN_VAIN, planned) :]
    return len(last) == min(_IN_VAIN, planned) and all(last)


def require_finite(left_out: Sequence[str | None], planned: int) -> None:
    """Raise FinetuneError if all steps of a training were left out so far, too many of them for an accident.

    Parameters
    ----------
    left_out
        For each step the weight whose gradient wasn't finite; None where all were.
    """
    if all(left_out) and in_vain(left_out, planned):
        raise FinetuneError(
            f"the gradient of weight {left_out[-1]!r} isn't finite, in the first {len(left_out)} steps. The loss is: "
            "an operator between the two has no finite derivative on these samples"
        )
