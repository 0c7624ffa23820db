"""Finetuning from the pruned weights to the best state on the way, whatever happens on it."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domino_onnx.errors import CheckpointError, FinetuneError
from domino_onnx.finetuning.masks import Grouping
from domino_onnx.finetuning.options import PROBED_RATES, Finetuned, FinetuneOptions, FinetuneStep
from domino_onnx.finetuning.trainer import State, Student, Trainer
from domino_onnx.finetuning.world import World
from domino_onnx.scheme import WeightKey

__all__ = ["Store", "finetune"]

_log = logging.getLogger(__name__)
_PROBE_SHARE, _PROBE_STEPS = 25, 20
"""A probe takes a 25th of the steps, but no fewer than 20."""
_PROBE_TOLERANCE = 0.25
_PROBE_HELD_OUT = 256
_MOST_HALVINGS = 2
_BLOWN_UP = 10.0
"""A held-out loss that many times the given weights' counts as divergence."""

Arrays = Mapping[str, NDArray[np.generic]]


class Store(Protocol):
    """Where a finetuning that may be interrupted keeps what it needs to go on."""

    def load(self) -> tuple[dict[str, Any], Arrays] | None:
        """What was saved last; None if nothing was."""

    def save(self, document: Mapping[str, Any], arrays: Arrays) -> None:
        """Keep this instead of what was saved before, wholly or not at all."""


@dataclasses.dataclass(slots=True, kw_only=True)
class _Course:
    """How far it has come; with the trainer's arrays and the best state, all that going on depends on."""

    before: float
    best: float
    best_step: int = 0
    probed: dict[str, float] = dataclasses.field(default_factory=dict)
    peak: float | None = None
    step: int = 0
    batches: int = 0
    halvings: int = 0
    diverged: bool = False
    history: list[FinetuneStep] = dataclasses.field(default_factory=list)

    @property
    def lr(self) -> float:
        """The peak rate as it is now."""
        return (self.peak or 0.0) * 0.5**self.halvings


def finetune(
    student: Student,
    weights: Mapping[WeightKey, NDArray[np.generic]],
    options: FinetuneOptions | None = None,
    progress: Callable[[FinetuneStep], None] | None = None,
    *,
    biases: Mapping[WeightKey, NDArray[np.generic]] | None = None,
    groupings: Mapping[WeightKey, Grouping] | None = None,
    store: Store | None = None,
    stopped: Callable[[], bool] | None = None,
    world: World | None = None,
) -> Finetuned:
    """Train the non-zero entries of `weights`, and `biases`, towards the dense model's outputs.

    Parameters
    ----------
    weights
        The pruned weights in their stored dtype and shape; zeros are pruned and stay zero. Integers stay as they are.
    progress
        Called after each step.
    biases
        Tensors that are trained as a whole, the same way.
    groupings
        Of the weights, for `sr-ste`; other methods don't look at it.
    store
        Where to go on from, and to save to every `checkpoint_every` steps.
    stopped
        Asked after each step; if it says yes, the state is saved and KeyboardInterrupt raised.
    world
        The processes that do this together, each with the same arguments; by default this one alone.

    Returns
    -------
    The best weights by the held-out loss, never worse than those given. If the loss stops being a number, or blows up,
    it goes back to the best state and on from there at half the rate, twice at most. Stopped and gone on with, it gives
    the same bits on a CPU as if nothing had happened.

    Raises
    ------
    FinetuneError
        If the given weights themselves have no finite loss.
    CheckpointError
        If what `store` has is of another finetuning.
    KeyboardInterrupt
        If `stopped` said so.
    """
    settings = options or FinetuneOptions()
    moving = (groupings or {}) if settings.method == "sr-ste" else {}
    trainer = Trainer(student, weights, biases or {}, moving, settings, world)
    dtypes = {key: values[key].dtype for values in (weights, biases or {}) for key in values}
    return _Finetuning(student, trainer, settings, dtypes, store, stopped or (lambda: False)).run(progress)


class _Finetuning:
    def __init__(
        self,
        student: Student,
        trainer: Trainer,
        options: FinetuneOptions,
        dtypes: Mapping[WeightKey, np.dtype[np.generic]],
        store: Store | None,
        stopped: Callable[[], bool],
    ) -> None:
        self._student = student
        self._trainer = trainer
        self._options = options
        self._dtypes = dtypes
        self._store = store
        self._stopped = stopped
        self._best_state: State = trainer.given

    def run(self, progress: Callable[[FinetuneStep], None] | None) -> Finetuned:
        tell = progress or _nobody
        self._course = course = self._resumed() or self._begun()
        if course.peak is None:
            course.peak = self._probe(tell)
            self._save()
        batches = self._batches(course.batches)
        while course.step < self._options.steps and not course.diverged:
            self._step(batches, tell)
            if self._is_to_stop():
                self._save()
                raise KeyboardInterrupt
            if course.step % self._options.checkpoint_every == 0:
                self._save()
        self._save()
        return Finetuned(
            values={key: _to_numpy(state, self._dtypes[key]) for key, state in self._best_state.items()},
            before=course.before,
            after=course.best,
            lr=course.peak,
            steps=len(course.history),
            best_step=course.best_step,
            history=tuple(course.history),
            halvings=course.halvings,
            diverged=course.diverged,
            frozen=tuple(key for key, state in self._best_state.items() if not state.is_floating_point()),
        )

    def _begun(self) -> _Course:
        before = self._trainer.held_out_loss()
        if not math.isfinite(before):
            raise FinetuneError("the pruned model gives outputs that aren't finite, so there is nothing to start from")
        return _Course(before=before, best=before, peak=self._options.lr)

    def _step(self, batches: Iterator[NDArray[np.int64]], tell: Callable[[FinetuneStep], None]) -> None:
        course, steps = self._course, self._options.steps
        course.step += 1
        course.batches += 1
        lr = course.lr * _schedule(course.step, steps)
        loss = self._trainer.step(lr, next(batches), course.batches)
        due = course.step % max(steps // self._options.checks, 1) == 0 or course.step == steps
        held_out = self._trainer.held_out_loss() if due and math.isfinite(loss) else None
        course.history.append(FinetuneStep(step=course.step, loss=loss, lr=lr, held_out=held_out))
        tell(course.history[-1])
        if not math.isfinite(loss) or (held_out is not None and not held_out <= _BLOWN_UP * course.before):
            self._step_back()
        elif held_out is not None and held_out < course.best:
            course.best, course.best_step = held_out, course.step
            self._best_state = self._trainer.state()

    def _step_back(self) -> None:
        """To the best state, to go on at half the rate; or to stop, where that was tried often enough."""
        course = self._course
        _log.warning("finetuning diverged at step %d: going back to step %d", course.step, course.best_step)
        if course.halvings == _MOST_HALVINGS:
            course.diverged = True
            return
        course.halvings += 1
        course.step = course.best_step
        del course.history[course.best_step :]
        self._trainer.restart(self._best_state)

    def _probe(self, tell: Callable[[FinetuneStep], None]) -> float:
        """The largest rate with which a short course from the given weights ends almost as well as with the best.

        Refitted weights lie where any step leads up at first: the best after a few steps is always the smallest rate,
        while in the long run a larger one leads further.
        """
        course = self._course
        steps = min(max(self._options.steps // _PROBE_SHARE, _PROBE_STEPS), self._options.steps)
        for lr in PROBED_RATES[self._options.optimizer_name]:
            if str(lr) in course.probed:
                continue
            batches = self._batches(0)
            for step in range(1, steps + 1):
                loss = self._trainer.step(lr * _schedule(step, steps), next(batches), step)
                tell(FinetuneStep(step=0, loss=loss, lr=lr))
                if self._is_to_stop():
                    raise KeyboardInterrupt
                if not math.isfinite(loss):
                    break
            held_out = self._trainer.held_out_loss(_PROBE_HELD_OUT)
            course.probed[str(lr)] = held_out if math.isfinite(held_out) else math.inf
            _log.info("learning rate %g: held-out loss %.5g", lr, course.probed[str(lr)])
            self._trainer.restart(self._trainer.given)
            self._save()
        enough = min(course.probed.values()) * (1 + _PROBE_TOLERANCE)
        return max(float(lr) for lr, loss in course.probed.items() if loss <= enough)

    def _batches(self, taken: int) -> Iterator[NDArray[np.int64]]:
        batches = self._student.shuffled(self._options.batch_size, self._options.seed)
        return itertools.islice(batches, taken, None)

    def _is_to_stop(self) -> bool:
        """Whether any process was asked to stop: all of them do, at the same step."""
        return self._trainer.world.sums([float(self._stopped())], self._student.device)[0] > 0

    def _save(self) -> None:
        if self._store is None or self._trainer.world.rank > 0:
            return
        best = {f"best.{i}": _exact(state) for i, state in enumerate(self._best_state.values())}
        self._store.save(self._document(), {**self._trainer.arrays(), **best})

    def _resumed(self) -> _Course | None:
        """The course that was saved, with the trainer and the best state brought to it; None if none was."""
        world = self._trainer.world
        saved = world.from_first(self._store.load() if self._store is not None and world.rank == 0 else None)
        if saved is None:
            return None
        document, arrays = saved
        if document["weights"] != self._document_of_weights() or document["options"] != self._document_of_options():
            raise CheckpointError("the checkpoint is of another finetuning: other weights, or other options")
        course = _Course(**document["course"])
        course.history = [FinetuneStep(**step) for step in document["course"]["history"]]
        self._best_state = {
            key: torch.from_numpy(arrays[f"best.{i}"].copy()).to(given.dtype)
            for i, (key, given) in enumerate(self._trainer.given.items())
        }
        self._trainer.load(arrays)
        return course

    def _document(self) -> dict[str, Any]:
        return {
            "course": dataclasses.asdict(self._course),
            "weights": self._document_of_weights(),
            "options": self._document_of_options(),
        }

    def _document_of_weights(self) -> list[list[Any]]:
        return [[str(key), str(self._dtypes[key]), list(state.shape)] for key, state in self._trainer.given.items()]

    def _document_of_options(self) -> dict[str, Any]:
        return {k: v for k, v in dataclasses.asdict(self._options).items() if k != "checkpoint_every"}


def _nobody(_: FinetuneStep) -> None:
    """Who listens where nobody was named."""


def _schedule(step: int, steps: int) -> float:
    """Linear warm-up over a twentieth of the steps, then a cosine to zero."""
    warm_up = max(steps // 20, 1)
    if step <= warm_up:
        return step / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(steps - warm_up, 1)))


def _exact(state: Tensor) -> NDArray[np.generic]:
    """In a dtype that numpy has and nothing is lost in."""
    return (state.float() if state.dtype == torch.bfloat16 else state).numpy()


def _to_numpy(state: Tensor, dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
    """Exact: every stored dtype fits into float64, and the values are the parameter's own."""
    values: NDArray[np.generic] = state.double().numpy().astype(dtype)
    return np.where(values == 0, dtype.type(0), values)
