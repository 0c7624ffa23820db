"""What finetuning gave."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from domino_onnx.options import Decider, FinetuneOptions
from domino_onnx.scheme import WeightKey

__all__ = ["FinetuneStep", "Finetuned", "joined"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneStep:
    """Loss on the training batch of an optimizer step; `held_out` where the held-out samples were looked at.

    Steps count from 1. Those that only try a learning rate have the number 0. Where `left_out` names a weight, its
    gradient wasn't finite, and the step left all weights as they were.
    """

    step: int
    loss: float
    lr: float
    held_out: float | None = None
    left_out: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finetuned:
    """The best state by the held-out samples, which may be the one that finetuning was given.

    Attributes
    ----------
    values
        Of all weights and biases that were given.
    before, after
        Held-out loss of the given weights, and of these.
    lr
        The peak learning rate that was used first.
    steps
        How many led to where it ended; those that it went back from don't count.
    planned, decided_by
        How many were planned before the first one, and what decided it. Of blocks, how many of each.
    stopped_early
        Whether it ended before that, because the held-out loss had stopped falling.
    best_step
        The step these weights are from; 0 if finetuning never improved on what it was given, or was undone.
    was_undone
        Whether it improved on the held-out samples, and a later measurement objected.
    halvings
        How often it diverged, went back to the best state and on at half the rate.
    diverged
        Whether it diverged once more after that, which ended it.
    blocks
        How many blocks of the model were trained one by one; 0 if the model was trained as a whole.
    frozen
        Weights that were left as they were given: integers, and what no block could train.
    """

    values: Mapping[WeightKey, NDArray[np.generic]]
    before: float
    after: float
    lr: float
    steps: int
    planned: int
    decided_by: Decider
    best_step: int
    history: tuple[FinetuneStep, ...]
    stopped_early: bool = False
    halvings: int = 0
    diverged: bool = False
    blocks: int = 0
    frozen: tuple[WeightKey, ...] = ()
    was_undone: bool = False

    def undone(self, values: Mapping[WeightKey, NDArray[np.generic]]) -> Finetuned:
        """The same with the values that finetuning was given: a measurement objected to what it made of them."""
        return dataclasses.replace(self, values=values, after=self.before, best_step=0, was_undone=True)

    def repeated(self, options: FinetuneOptions) -> FinetuneOptions:
        """The options that lead to the same again, whatever the pace: with the steps that were planned."""
        if options.steps is not None:
            return options
        return dataclasses.replace(options, steps=self.planned, time=None, early_stop=options.stops_early)


def joined(
    blocks: Sequence[Finetuned], values: Mapping[WeightKey, NDArray[np.generic]], frozen: tuple[WeightKey, ...]
) -> Finetuned:
    """One result of the blocks, which were trained one after another: losses and steps are added up.

    Parameters
    ----------
    blocks
        At least one.
    values
        Of the whole model, in the end.
    """
    history: list[FinetuneStep] = []
    for block in blocks:
        first = len(history)
        history += [dataclasses.replace(step, step=first + step.step) for step in block.history]
    return Finetuned(
        values=values,
        before=sum(block.before for block in blocks),
        after=sum(block.after for block in blocks),
        lr=max(block.lr for block in blocks),
        steps=len(history),
        planned=blocks[0].planned,
        decided_by=blocks[0].decided_by,
        stopped_early=any(block.stopped_early for block in blocks),
        best_step=sum(block.best_step for block in blocks),
        history=tuple(history),
        halvings=sum(block.halvings for block in blocks),
        diverged=any(block.diverged for block in blocks),
        blocks=len(blocks),
        frozen=frozen,
    )
