"""The last stage: files are compared, and everything is put together that a report tells."""

from __future__ import annotations

import dataclasses
import gc
from typing import TYPE_CHECKING

from domino_onnx.report.results import CompressResult, FileSizes, Prediction, SearchResult
from domino_onnx.report.text import lost_in_words, samples_in_words
from domino_onnx.stages.choosing import Found
from domino_onnx.stages.journal import Journal
from domino_onnx.stages.laboratory import Laboratory
from domino_onnx.stages.trials.goals import advice
from domino_onnx.stages.writing.comparing import compare_if_possible, sampled_if_possible
from domino_onnx.stages.writing.sizing import sizes_of
from domino_onnx.stages.writing.write import Made

if TYPE_CHECKING:
    from domino_onnx.evaluate import Evaluation, SampledCheck

__all__ = ["compared", "search_result"]


def compared(made: Made, journal: Journal) -> CompressResult:
    """Compare what was written with the dense model, and put everything together that a report tells.

    What the first import of torch leaves to the garbage collector holds the model, and ONNX Runtime needs the room.
    """
    gc.collect()
    run, comparison, sampled = made.options.run, None, None
    if made.is_sampled:
        sampled = sampled_if_possible(made.dense, made.output, run.seed, journal)
    else:
        comparison = compare_if_possible(made.dense, made.output, made.judge, run, journal)
    sizes = sizes_of(made.dense, made.output, made.options.output.format)
    result = _result(made, comparison, sampled, sizes, journal)
    if comparison is None or not result.loses_much or _is_known(made):
        return result
    journal.warn(_loss_in_words(made, comparison))
    return dataclasses.replace(result, warnings=journal.warnings)


def _is_known(made: Made) -> bool:
    """Whether the loss was warned of before finetuning, and nothing was changed since."""
    before = None if made.options.goal.max_drop is not None else made.found.comparison
    return before is not None and before.loses_much and (made.finetuned is None or not made.finetuned.best_step)


def _loss_in_words(made: Made, evaluation: Evaluation) -> str:
    """What the written file lost, on which samples, and what to do."""
    comparison, seen = evaluation.comparison, made.judge.seen
    on = samples_in_words(comparison.samples, drawn=evaluation.inputs == "drawn")
    told = " that the weights were fitted to" if seen else ""
    is_new = not seen and (made.finetuned is None or not made.finetuned.best_step)
    lost = lost_in_words(comparison.metric, comparison.drop)
    fitted = made.found.solved.divergence if is_new else None
    return f"the written file lost much: {lost}, on {on}{told}. " + advice(comparison, fitted)


def search_result(lab: Laboratory, found: Found) -> SearchResult:
    """What a search found."""
    return SearchResult(
        plan=found.planned.plan,
        inventory=lab.aim.inventory,
        decisions=found.planned.decisions,
        prediction=None if lab.judged_by_drawn else Prediction.of(found.comparison),
        drawn=lab.source.drawn,
        options=lab.options,
        seconds=lab.journal.seconds,
        peaks=lab.journal.peaks,
        warnings=lab.journal.warnings,
        forecast=lab.journal.forecast,
    )


def _result(
    made: Made,
    comparison: Evaluation | None,
    sampled: SampledCheck | None,
    sizes: FileSizes | None,
    journal: Journal,
) -> CompressResult:
    from domino_onnx.runtime import peak_memory

    site_zeros, site_params = sum(r.zeros for r in made.records), sum(r.params for r in made.records)
    planned, solved, inventory = made.found.planned, made.found.solved, made.inventory
    return CompressResult(
        model=made.model,
        output=made.output,
        plan=planned.plan,
        inventory=inventory,
        weights=made.records,
        sparsity=inventory.share_of_zeros(made.zeros),
        sparsity_sites=site_zeros / site_params if site_params else 0.0,
        flops_saved=inventory.share_of_macs(made.zeros),
        planned_sparsity=inventory.sparsity(planned.plan.schemes),
        planned_flops_saved=inventory.flops_saved(planned.plan.schemes),
        solver=solved.solver,
        divergence=solved.divergence,
        prediction=None if made.judge.drawn else Prediction.of(made.found.comparison),
        drawn=made.drawn,
        decisions=planned.decisions,
        finetuned=made.finetuned,
        parity=comparison,
        sampled=sampled,
        sizes=sizes,
        judge_seen=made.judge.seen,
        two_four=made.two_four,
        seconds=journal.seconds,
        took=journal.whole,
        peaks=journal.peaks,
        warnings=journal.warnings,
        peak_rss_bytes=peak_memory(),
        nbytes=made.nbytes,
        losses=made.losses,
        trials=made.found.trials,
        options=made.options,
        forecast=journal.forecast,
    )
