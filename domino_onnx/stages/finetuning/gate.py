"""The gate behind finetuning: what it gave is kept only if the metric that the report shows agrees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domino_onnx.report.text import lost_in_words
from domino_onnx.stages.choosing import Found
from domino_onnx.stages.laboratory import Laboratory
from domino_onnx.stages.solving import overlaid
from domino_onnx.stages.trials.measuring import is_better, measured_apart

if TYPE_CHECKING:
    from domino_onnx.finetuning import Finetuned
    from domino_onnx.outputs import Comparison

__all__ = ["passed"]


def passed(lab: Laboratory, found: Found, finetuned: Finetuned | None) -> Finetuned | None:
    """What finetuning gave; undone, with a warning, if it lost on samples that nothing learned from.

    It is undone as well where a largest loss is the goal, and what it lost can't be measured.
    Without samples that were set apart, the samples that finetuning held out have decided already.
    """
    if finetuned is None or not finetuned.best_step:
        return finetuned
    given = overlaid(found.solved.weights, found.solved.biases)
    before = found.comparison or measured_apart(lab, given)
    after = measured_apart(lab, {key: finetuned.values[key] for key in given})
    objection = _objection(lab, before, after)
    if objection is None:
        return finetuned
    lab.journal.warn(objection)
    return finetuned.undone({key: given[key] for key in finetuned.values})


def _objection(lab: Laboratory, before: Comparison | None, after: Comparison | None) -> str | None:
    """Why the weights from before are kept; None if the finetuned ones are."""
    max_drop = lab.options.goal.max_drop
    if after is None:
        unknown = "what finetuned weights lose was not measured: the weights from before are kept"
        return None if max_drop is None else unknown
    if before is not None and not is_better(after, before):
        judged = f"{after.samples} {lab.judges_in_words}"
        return f"no gain from finetuning, the weights from before are kept: {_change(before, after, judged)}"
    if max_drop is not None and not after.is_within(max_drop):
        return f"after finetuning {lost_in_words(after.metric, after.drop)}: the weights from before are kept"
    return None


def _change(before: Comparison, after: Comparison, judged: str) -> str:
    """The metric before and after. Where that is as good as the same, the divergence has decided."""
    moved = f"{after.metric} was {_value(before):.4g} and became {_value(after):.4g}, on {judged}"
    if after.drop > before.drop or after.kl is None or before.kl is None:
        return moved
    return f"{moved}; that may be chance, and its divergence is {after.kl:.3g} instead of {before.kl:.3g}"


def _value(comparison: Comparison) -> float:
    """The metric itself: an error as it is, and of others what the dense model has, less what is lost."""
    is_error = comparison.metric.startswith("relative error")
    return comparison.drop if is_error else comparison.dense_score - comparison.drop
