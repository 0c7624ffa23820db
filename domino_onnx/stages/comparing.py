"""The stage that compares a written file with the dense model, in ONNX Runtime."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from domino_onnx.errors import DominoError
from domino_onnx.options import RunOptions
from domino_onnx.stages.journal import Journal
from domino_onnx.stages.source import Source

if TYPE_CHECKING:
    from domino_onnx.data import Dataset, InputSpec
    from domino_onnx.evaluate import Evaluation

__all__ = ["Judge", "compare", "compare_if_possible", "judge_of"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """What two files of one model are compared on.

    Attributes
    ----------
    data
        None: random inputs of the model's shapes.
    seen
        Whether a refit learns from these samples.
    trained
        Whether finetuning learns from them, because there are too few to hold any out.
    shapes
        Of inputs with free axes.
    """

    data: Dataset | None
    seen: bool
    trained: bool
    specs: list[InputSpec]
    shapes: Mapping[str, tuple[int, ...]]


def judge_of(source: Source) -> Judge:
    """The judge that belongs to a model and its data; it holds nothing of the model itself."""
    from domino_onnx.data import input_specs

    return Judge(
        data=source.judge,
        seen=source.judge_seen,
        trained=source.judge_seen and source.split is not None and not source.split.holds_out,
        specs=input_specs(source.file.proto),
        shapes=source.shapes,
    )


def compare(reference: Path, candidate: Path, judge: Judge, run: RunOptions) -> Evaluation:
    """Run both files on the same inputs and compare their outputs.

    Raises
    ------
    ModelError
        If a file can't be run, or the two have different outputs.
    DependencyError
        If ONNX Runtime is missing.
    """
    from domino_onnx.evaluate import evaluate_models

    return evaluate_models(
        reference,
        candidate,
        judge.data,
        specs=judge.specs,
        shapes=dict(judge.shapes),
        device=run.device,
        threads=run.threads,
        batch_size=run.batch_size,
        seed=run.seed,
    )


def compare_if_possible(
    reference: Path, candidate: Path, judge: Judge, run: RunOptions, journal: Journal
) -> Evaluation | None:
    """As `compare`; a warning instead of an error, because the file is written already."""
    with journal.stage("evaluate"):
        try:
            return compare(reference, candidate, judge, run)
        except DominoError as error:
            journal.warn(f"the written file was not compared with the dense one: {error}")
    return None
