"""What a user should know of a finetuning: few samples, weights that were left alone, rates that were too high."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from domino_onnx.plurals import quantity
from domino_onnx.stages.journal import Journal

if TYPE_CHECKING:
    from domino_onnx.data import Split
    from domino_onnx.finetuning import Finetuned

__all__ = ["warn_of_divergence", "warn_of_few_samples", "warn_of_frozen", "warn_of_integers"]


def warn_of_few_samples(journal: Journal, split: Split) -> None:
    """A warning where the samples that are learned from judge, too."""
    if not split.holds_out:
        journal.warn("too few samples to hold any out: finetuning is judged by the samples that it learns from")


def warn_of_integers(journal: Journal, finetuned: Finetuned) -> None:
    """A warning that names the weights that stayed, of a model that was trained as a whole."""
    if finetuned.frozen:
        named = ", ".join(map(str, finetuned.frozen))
        journal.warn(f"left as they were, because no gradient moves integers: {named}")


def warn_of_frozen(journal: Journal, missing: Sequence[str], pruned: int, finetuned: Finetuned) -> None:
    """A warning that names the weights that stayed, of a model that was trained block by block.

    Parameters
    ----------
    missing
        Operators without a torch counterpart.
    pruned
        Number of weights that were pruned.
    """
    if finetuned.frozen or missing:
        why = f"no torch counterpart for {', '.join(missing)}: " if missing else ""
        named = ", ".join(map(str, finetuned.frozen)) or "none"
        count = f"{pruned - len(finetuned.frozen)} of {quantity(pruned, 'weight')}"
        journal.warn(f"{why}finetuned block by block: {count}; left as they were: {named}")


def warn_of_divergence(journal: Journal, finetuned: Finetuned) -> None:
    """Warnings where the rate had to be halved, no rate was low enough, or gradients weren't finite."""
    left_out = [step.left_out for step in finetuned.history if step.left_out is not None]
    if left_out:
        journal.warn(
            f"{len(left_out)} of {quantity(finetuned.steps, 'step')} of finetuning left the weights as they were: "
            f"the gradient of {left_out[0]!r} wasn't finite, though the loss was"
        )
    if finetuned.diverged:
        journal.warn(
            f"finetuning diverged at {finetuned.lr:g} and at half and a quarter of that rate. The best state before, "
            f"of step {finetuned.best_step}, is used: a lower finetune.lr in a recipe may do better"
        )
    elif finetuned.halvings:
        share = 0.5**finetuned.halvings
        journal.warn(f"finetuning diverged and went on from its best state at {share:g} of the rate")
