"""Finetuning under fixed masks: the kept weights learn from the dense model, the pruned ones stay zero."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domino_onnx.errors import RecoveryError
from domino_onnx.recovery.distill import Distillation
from domino_onnx.scheme import WeightKey

__all__ = ["PROBED_RATES", "Recovery", "RecoveryOptions", "RecoveryStep", "finetune"]

_log = logging.getLogger(__name__)
PROBED_RATES = (1e-4, 3e-4, 1e-3, 3e-3)
_PROBE_SHARE = 25  # a probe takes a 25th of the steps
_PROBE_HELD_OUT = 256


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryOptions:
    """How to finetune.

    Attributes
    ----------
    steps
        Optimizer steps.
    batch_size
        Samples a step.
    lr
        Peak learning rate of AdamW without weight decay; linear warm-up over a twentieth of the steps, then a cosine
        to zero. None tries a few (`PROBED_RATES`) for a short while each and takes the one whose held-out loss is
        lowest: networks differ by a factor of ten, and finetuning at a wrong rate loses accuracy.
    clip
        Largest gradient norm.
    checks
        How often the held-out part is looked at on the way.
    """

    steps: int = 500
    batch_size: int = 32
    lr: float | None = None
    clip: float = 1.0
    checks: int = 10
    seed: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryStep:
    """Loss on the training batch after `step` steps; `held_out` where the held-out part was looked at."""

    step: int
    loss: float
    lr: float
    held_out: float | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What finetuning gave: the best state by the held-out part, which may be the one it was given.

    Attributes
    ----------
    values
        Of all weights and biases that were given.
    before, after
        Held-out loss of the given weights, and of these.
    lr
        The peak learning rate that was used.
    best_step
        The step these weights are from; 0 if finetuning never improved on what it was given.
    diverged
        Whether the loss stopped being a number, which ended it.
    """

    values: Mapping[WeightKey, NDArray[np.generic]]
    before: float
    after: float
    lr: float
    steps: int
    best_step: int
    history: tuple[RecoveryStep, ...]
    diverged: bool = False


def finetune(
    distillation: Distillation,
    weights: Mapping[WeightKey, NDArray[np.generic]],
    options: RecoveryOptions | None = None,
    progress: Callable[[RecoveryStep], None] | None = None,
    *,
    biases: Mapping[WeightKey, NDArray[np.generic]] | None = None,
) -> Recovery:
    """Train the non-zero entries of `weights`, and `biases`, towards the dense model's outputs.

    Parameters
    ----------
    weights
        The pruned weights in their stored dtype and shape; zeros are pruned and stay zero.
    progress
        Called after each step.
    biases
        Tensors that are trained as a whole, the same way.

    Returns
    -------
    The best weights by the held-out loss, never worse than those given.

    Raises
    ------
    RecoveryError
        If the given weights themselves have no finite loss.
    """
    return _Finetuning(distillation, weights, biases or {}, options or RecoveryOptions()).run(progress)


class _Finetuning:
    def __init__(
        self,
        distillation: Distillation,
        weights: Mapping[WeightKey, NDArray[np.generic]],
        biases: Mapping[WeightKey, NDArray[np.generic]],
        options: RecoveryOptions,
    ) -> None:
        self._distillation = distillation
        self._options = options
        self._dtypes = {key: values[key].dtype for values in (weights, biases) for key in values}
        self._parameters = distillation.trainable(self._dtypes)
        self._masks = {key: _load(self._parameters[key], weights[key]) for key in weights}
        for key in biases:
            self._masks[key] = torch.ones_like(_load(self._parameters[key], biases[key]))
        self._given = self._state()
        self._restart()

    def run(self, progress: Callable[[RecoveryStep], None] | None) -> Recovery:
        before = best = self._held_out()
        if not math.isfinite(before):
            raise RecoveryError("the pruned model gives outputs that aren't finite, so there is nothing to start from")
        peak = self._options.lr if self._options.lr is not None else self._probe(progress)
        best_state, best_step, diverged = self._given, 0, False
        history: list[RecoveryStep] = []
        check_every = max(self._options.steps // self._options.checks, 1)
        for step in range(1, self._options.steps + 1):
            lr = peak * _schedule(step, self._options.steps)
            loss = self._step(lr)
            due = step % check_every == 0 or step == self._options.steps
            held_out = self._held_out() if due and math.isfinite(loss) else None
            history.append(RecoveryStep(step=step, loss=loss, lr=lr, held_out=held_out))
            if progress is not None:
                progress(history[-1])
            if not math.isfinite(loss) or (held_out is not None and not math.isfinite(held_out)):
                _log.warning("the loss is not finite at step %d: going back to step %d", step, best_step)
                diverged = True
                break
            if held_out is not None and held_out < best:
                best, best_state, best_step = held_out, self._state(), step
        return Recovery(
            values={key: _to_numpy(state, self._dtypes[key]) for key, state in best_state.items()},
            before=before,
            after=best,
            lr=peak,
            steps=len(history),
            best_step=best_step,
            history=tuple(history),
            diverged=diverged,
        )

    def _probe(self, progress: Callable[[RecoveryStep], None] | None) -> float:
        """The rate that brings the held-out loss down furthest in a few steps from the given weights."""
        losses: dict[float, float] = {}
        for lr in PROBED_RATES:
            for _ in range(max(self._options.steps // _PROBE_SHARE, 1)):
                loss = self._step(lr)
                if progress is not None:
                    progress(RecoveryStep(step=0, loss=loss, lr=lr))
                if not math.isfinite(loss):
                    break
            held_out = self._held_out(_PROBE_HELD_OUT)
            losses[lr] = held_out if math.isfinite(held_out) else math.inf
            _log.info("learning rate %g: held-out loss %.5g", lr, losses[lr])
            self._restart()
        return min(losses, key=lambda lr: losses[lr])

    def _restart(self) -> None:
        """The given weights, a fresh optimizer, and the batches from the start."""
        with torch.no_grad():
            for key, state in self._given.items():
                self._parameters[key].copy_(state)
        # Half-precision weights take steps too small for their type: the optimizer works on float32 copies of all.
        self._masters = {key: p.detach().float().clone() for key, p in self._parameters.items()}
        self._optimizer = torch.optim.AdamW(self._masters.values(), weight_decay=0.0)
        self._batches = enumerate(self._distillation.shuffled(self._options.batch_size, self._options.seed))

    def _step(self, lr: float) -> float:
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        draw, batch = next(self._batches)  # no sample is twice in a batch, so each time it comes it is varied anew
        loss = self._distillation.backward(batch, self._options.batch_size, draw=draw)
        for key, master in self._masters.items():
            gradient = self._parameters[key].grad
            master.grad = None if gradient is None else gradient.float() * self._masks[key]
            self._parameters[key].grad = None
        torch.nn.utils.clip_grad_norm_(self._masters.values(), self._options.clip)
        self._optimizer.step()
        with torch.no_grad():
            for key, master in self._masters.items():
                self._parameters[key].copy_(master * self._masks[key])
        return loss

    def _held_out(self, samples: int | None = None) -> float:
        return self._distillation.held_out_loss(self._options.batch_size, samples)

    def _state(self) -> dict[WeightKey, Tensor]:
        return {key: parameter.detach().cpu().clone() for key, parameter in self._parameters.items()}


def _schedule(step: int, steps: int) -> float:
    """Linear warm-up over a twentieth of the steps, then a cosine to zero."""
    warm_up = max(steps // 20, 1)
    if step <= warm_up:
        return step / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(steps - warm_up, 1)))


def _load(parameter: torch.nn.Parameter, weight: NDArray[np.generic]) -> Tensor:
    """Put a pruned weight into the student; its mask as a tensor beside it."""
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(weight.astype(np.float64)).to(parameter.dtype))
    return torch.from_numpy(weight != 0).to(parameter.device)


def _to_numpy(state: Tensor, dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
    """Exact: every stored dtype fits into float64, and the values are the parameter's own."""
    values: NDArray[np.generic] = state.double().numpy().astype(dtype)
    return np.where(values == 0, dtype.type(0), values)
