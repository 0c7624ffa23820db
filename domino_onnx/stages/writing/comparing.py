"""The stage that compares a written file with the dense model, in ONNX Runtime."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from domino_onnx.errors import DataError, DependencyError, DominoError, ModelError
from domino_onnx.graph import read_model
from domino_onnx.options import RunOptions
from domino_onnx.stages.journal import Journal
from domino_onnx.stages.laboratory import Laboratory

if TYPE_CHECKING:
    from domino_onnx.data import Dataset, InputSpec
    from domino_onnx.evaluate import Evaluation, Metric, SampledCheck
    from domino_onnx.outputs import Meanings, OutputKind

__all__ = ["Judge", "compare", "compare_if_possible", "judge_of", "sampled_if_possible"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """What two files of one model are compared on, and by. It holds nothing of the model itself.

    Attributes
    ----------
    data
        None: random inputs of the model's shapes.
    seen
        Whether the weights were fitted to these samples.
    drawn
        Whether the samples were drawn, which say little of real ones.
    specs
        The inputs, or why nothing can be given for them.
    shapes
        Of inputs with free axes.
    meanings
        What the outputs mean; None where no data could tell before.
    given
        Kinds of outputs that the user says.
    metric
        The user's own.
    """

    data: Dataset | None
    seen: bool
    drawn: bool
    specs: list[InputSpec] | DataError
    shapes: Mapping[str, tuple[int, ...]]
    meanings: Meanings | None
    given: Mapping[str, OutputKind]
    metric: Metric | None


def judge_of(lab: Laboratory, *, refitted: bool, finetuned: bool) -> Judge:
    """The judge of weights that a refit or finetuning may have fitted to the data."""
    from domino_onnx.data import input_specs

    source = lab.source
    data, seen = source.evaluation, False
    if source.split is not None:
        data, seen = source.split.judge(refitted=refitted, finetuned=finetuned)
    specs: list[InputSpec] | DataError
    try:
        specs = input_specs(source.file.proto)
    except DataError as error:
        specs = error
    return Judge(
        data=data,
        seen=seen,
        drawn=lab.judged_by_drawn,
        specs=specs,
        shapes=source.shapes,
        meanings=_meanings(lab),
        given=lab.options.data.output_kinds,
        metric=source.metric,
    )


def _meanings(lab: Laboratory) -> Meanings | None:
    """None without data, and for a model that can't be run, which the comparison is going to say."""
    if lab.source.split is None:
        return None
    try:
        return lab.meanings()
    except (DependencyError, ModelError):
        return None


def compare(reference: Path, candidate: Path, judge: Judge, run: RunOptions) -> Evaluation:
    """Run both files on the same inputs and compare their outputs.

    Raises
    ------
    ModelError
        If a file can't be run, or the two have different outputs.
    DependencyError
        If ONNX Runtime is missing.
    DataError
        If nothing can be given for an input.
    """
    from domino_onnx.evaluate import evaluate_models

    if isinstance(judge.specs, DataError):
        raise judge.specs
    evaluation = evaluate_models(
        reference,
        candidate,
        judge.data,
        specs=judge.specs,
        shapes=dict(judge.shapes),
        device=run.device,
        threads=run.threads,
        batch_size=run.batch_size,
        seed=run.seed,
        meanings=judge.meanings,
        given=judge.given,
        metric=judge.metric,
    )
    return dataclasses.replace(evaluation, inputs="drawn") if judge.drawn else evaluation


def sampled_if_possible(dense: Path, output: Path, seed: int, journal: Journal) -> SampledCheck | None:
    """Look at random groups of a written file instead of running it; a warning where they aren't as they should be."""
    from domino_onnx.evaluate import check_sample

    with journal.stage("evaluate"):
        try:
            return check_sample(read_model(dense), read_model(output), seed)
        except DominoError as error:
            journal.warn(f"the written file isn't what it should be, don't use it: {error}")
    return None


def compare_if_possible(
    reference: Path, candidate: Path, judge: Judge, run: RunOptions, journal: Journal
) -> Evaluation | None:
    """As `compare`; a warning instead of an error, because the file is written already."""
    with journal.stage("evaluate"):
        try:
            return compare(reference, candidate, judge, run)
        except DominoError as error:
            journal.warn("the written file was not compared with the dense one", f"{error}{_made_up(judge)}")
    return None


def _made_up(judge: Judge) -> str:
    """What to add to an error where the sizes of open axes were made up."""
    if judge.data is not None or isinstance(judge.specs, DataError):
        return ""
    from domino_onnx.data import with_shapes

    is_open = any(None in (spec.shape or ()) for spec in with_shapes(judge.specs, judge.shapes))
    return "; sizes of 1 were made up for open axes: give --data, or data.input_shapes in a recipe" if is_open else ""
