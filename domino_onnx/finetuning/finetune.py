"""Finetuning from the pruned weights to the best state on the way, whatever happens on it."""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from domino_onnx.bridge.gpu import full_memory_in_words, same_arithmetic
from domino_onnx.errors import FinetuneError
from domino_onnx.finetuning.clipping import in_vain, require_finite
from domino_onnx.finetuning.masks import WeightGroups
from domino_onnx.finetuning.pace import measured_pace
from domino_onnx.finetuning.processes import Processes
from domino_onnx.finetuning.rate import best_rate, schedule, short_run
from domino_onnx.finetuning.results import Finetuned, FinetuneStep
from domino_onnx.finetuning.saved import CheckpointFile, Saved
from domino_onnx.finetuning.state import MOST_HALVINGS, TrainingState
from domino_onnx.finetuning.trainer import Student, Trainer
from domino_onnx.options import (
    DEFAULT_TIME,
    FinetuneOptions,
    PlannedSteps,
    RunOptions,
    looks_within,
    planned_steps,
    rates_to_try,
)
from domino_onnx.scheme import WeightArrays, WeightKey

__all__ = ["finetune"]

_log = logging.getLogger(__name__)
_BLOWN_UP = 10.0
"""A held-out loss that many times the given weights' counts as divergence."""


def finetune(
    student: Student,
    weights: WeightArrays,
    options: FinetuneOptions | None = None,
    run: RunOptions | None = None,
    *,
    biases: WeightArrays | None = None,
    groups: Mapping[WeightKey, WeightGroups] | None = None,
    progress: Callable[[FinetuneStep, int], None] | None = None,
    checkpoint: CheckpointFile | None = None,
    stopped: Callable[[], bool] | None = None,
    processes: Processes | None = None,
) -> Finetuned:
    """Train the non-zero entries of `weights`, and `biases`, towards the dense model's outputs.

    Parameters
    ----------
    weights
        The pruned weights in their stored dtype and shape; zeros are pruned and stay zero. Integers stay as they are.
    biases
        Tensors that are trained as a whole, the same way.
    groups
        Of the weights, for `sr-ste`; other methods don't look at them.
    progress
        Called after each step, with the number of steps that are planned; 0 before they are.
    checkpoint
        Where to go on from, and to save to whenever that is due.
    stopped
        Asked after each step; if it says yes, the state is saved and KeyboardInterrupt raised.
    processes
        The processes that do this together, each with the same arguments; by default this one alone.

    Returns
    -------
    The best weights by the held-out loss, never worse than those given. If the loss stops being a number, or blows up,
    it goes back to the best state and on from there at half the rate, twice at most. A step whose gradient isn't finite
    leaves the weights as they are; so it goes back after many of those in a row. Stopped and gone on with, it gives
    the same bits on a CPU as if nothing had happened. So does another finetuning with as many steps as were planned,
    and `early_stop` as here.

    Raises
    ------
    FinetuneError
        If the given weights themselves have no finite loss, or no finite gradient.
    DeviceMemoryError
        If the GPU's memory is too small for one sample.
    CheckpointError
        If what `checkpoint` has is of another finetuning, or what none can have saved.
    KeyboardInterrupt
        If `stopped` said so.
    """
    settings, shared, others = options or FinetuneOptions(), run or RunOptions(), biases or {}
    moving = (groups or {}) if settings.method == "sr-ste" else {}
    dtypes = {key: values[key].dtype for values in (weights, others) for key in values}
    with full_memory_in_words("finetuning"), same_arithmetic(student.device, tf32=settings.precision == "tf32"):
        trainer = Trainer(
            student,
            weights,
            others,
            moving,
            method=settings.method,
            batch_size=shared.batch_size,
            processes=processes,
        )
        training = _Training(
            student,
            trainer,
            Saved(checkpoint, trainer, dtypes, settings, shared),
            settings,
            shared,
            progress or (lambda _, __: None),
            stopped or (lambda: False),
        )
        return _result(training.run(), dtypes)


class _Training:
    """The steps, from where they begin or were interrupted to the last one."""

    def __init__(
        self,
        student: Student,
        trainer: Trainer,
        saved: Saved,
        options: FinetuneOptions,
        run: RunOptions,
        progress: Callable[[FinetuneStep, int], None],
        stopped: Callable[[], bool],
    ) -> None:
        self._student = student
        self._trainer = trainer
        self._saved = saved
        self._options = options
        self._run = run
        self._progress = progress
        self._stopped = stopped
        self._began = time.perf_counter()
        self._state = saved.load() or self._first_state()

    def run(self) -> TrainingState:
        """The state after the last step."""
        state = self._state
        if state.plan is None:
            state.plan = self._trainer.processes.from_first(self._planned())
            self._saved.save(state)  # no other attempt has the same pace
        if state.peak is None:
            state.peak = self._choose_rate()
        batches = self._batches(state.batches)
        while state.step < state.planned and not state.diverged and not self._ends_early():
            self._step(next(batches))
            if self._is_to_stop():
                self._saved.save(state)
                raise KeyboardInterrupt
            self._saved.save_if_due(state)
        self._saved.save(state)
        return state

    def _first_state(self) -> TrainingState:
        before = self._trainer.held_out_loss()
        if not math.isfinite(before):
            raise FinetuneError("the pruned model gives outputs that aren't finite, so there is nothing to start from")
        return TrainingState(before=before, best=before, best_values=self._trainer.given, peak=self._options.lr)

    def _planned(self) -> PlannedSteps:
        """How many steps there will be. The pace is measured only where it can decide."""
        options, pace = self._options, None
        if options.steps is None:
            limit, batches = options.time or DEFAULT_TIME, self._batches(0)
            pace = measured_pace(self._trainer, batches, limit, self._began, self._after_short_step)
        return planned_steps(options, self._trainer.epoch, pace)

    def _ends_early(self) -> bool:
        return self._options.stops_early and self._state.has_stopped_falling

    def _step(self, batch: NDArray[np.int64]) -> None:
        state, steps = self._state, self._state.planned
        state.step += 1
        state.batches += 1
        lr = state.lr * schedule(state.step, steps)
        loss, endless = self._trainer.step(lr, batch, state.batches)
        due = state.step % -(-steps // looks_within(steps)) == 0 or state.step == steps
        held_out = self._trainer.held_out_loss() if due and math.isfinite(loss) else None
        left_out = str(endless) if endless is not None and math.isfinite(loss) else None
        state.history.append(FinetuneStep(step=state.step, loss=loss, lr=lr, held_out=held_out, left_out=left_out))
        self._progress(state.history[-1], steps)
        if self._has_diverged(state.history[-1]):
            self._go_back()
        elif held_out is not None and held_out < state.best:
            self._keep(held_out)

    def _has_diverged(self, step: FinetuneStep) -> bool:
        """Whether a loss says so, or gradients that aren't finite any more; FinetuneError if none ever was."""
        state = self._state
        if not math.isfinite(step.loss):
            return True
        if step.held_out is not None and not step.held_out <= _BLOWN_UP * state.before:
            return True
        left_out = [each.left_out for each in state.history]
        require_finite(left_out, state.planned)
        return in_vain(left_out, state.planned)

    def _keep(self, held_out: float) -> None:
        """The present values are the best so far; if some aren't finite, which no sample showed, it diverged."""
        values = self._trainer.values()
        if not all(bool(value.isfinite().all()) for value in values.values()):
            self._go_back()
            return
        self._state.best, self._state.best_step, self._state.best_values = held_out, self._state.step, values

    def _go_back(self) -> None:
        """Return to the best state at half the rate; or end, where that was tried often enough."""
        state = self._state
        _log.warning("finetuning diverged at step %d: going back to step %d", state.step, state.best_step)
        if state.halvings == MOST_HALVINGS:
            state.diverged = True
            return
        state.halvings += 1
        state.step = state.best_step
        del state.history[state.best_step :]
        self._trainer.restart(state.best_values)

    def _choose_rate(self) -> float:
        """Try each rate that wasn't tried before an interruption, and take the best."""
        for lr in rates_to_try(self._options):
            if str(lr) not in self._state.rate_losses:
                loss = short_run(self._trainer, self._batches(0), lr, self._state.planned, self._after_short_step)
                self._state.rate_losses[str(lr)] = loss
                self._saved.save(self._state)  # within a trial nothing is
        return best_rate(self._state.rate_losses)

    def _after_short_step(self, step: FinetuneStep) -> None:
        self._progress(step, self._state.planned)
        if self._is_to_stop():
            raise KeyboardInterrupt

    def _batches(self, taken: int) -> Iterator[NDArray[np.int64]]:
        batches = self._student.shuffled(self._run.batch_size, self._run.seed)
        return itertools.islice(batches, taken, None)

    def _is_to_stop(self) -> bool:
        """Whether any process was asked to stop: all of them do, at the same step."""
        return self._trainer.processes.sums([float(self._stopped())], self._student.device)[0] > 0


def _result(state: TrainingState, dtypes: Mapping[WeightKey, np.dtype[np.generic]]) -> Finetuned:
    return Finetuned(
        values={key: _to_numpy(value, dtypes[key]) for key, value in state.best_values.items()},
        before=state.before,
        after=state.best,
        lr=state.peak or 0.0,
        steps=len(state.history),
        planned=state.planned,
        decided_by="options" if state.plan is None else state.plan.decided_by,
        stopped_early=not state.diverged and state.step < state.planned,
        best_step=state.best_step,
        history=tuple(state.history),
        halvings=state.halvings,
        diverged=state.diverged,
        frozen=tuple(key for key, value in state.best_values.items() if not value.is_floating_point()),
    )


def _to_numpy(value: Tensor, dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
    """Exact: every stored dtype fits into float64, and the values are the parameter's own."""
    values: NDArray[np.generic] = value.double().numpy().astype(dtype)
    return np.where(values == 0, dtype.type(0), values)
