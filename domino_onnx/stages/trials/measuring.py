"""What weights are worth before they are written, on samples that nothing learned from."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from onnx import ModelProto

from domino_onnx.errors import DeviceMemoryError, ModelError
from domino_onnx.graph import write_model
from domino_onnx.precision import converted
from domino_onnx.scheme import WeightArrays
from domino_onnx.stages.laboratory import Laboratory
from domino_onnx.stages.reading.read import conversion
from domino_onnx.stages.writing.comparing import compare, judge_of

if TYPE_CHECKING:
    from domino_onnx.data import Dataset
    from domino_onnx.outputs import Comparison

__all__ = ["is_better", "judges_apart", "measured", "measured_apart", "written_for_a_while"]

_MOST = 512
"""Samples that a measurement on the way takes, evenly from all that judge."""


def judges_apart(lab: Laboratory) -> Dataset | None:
    """The samples that judge weights on the way, of those that were set apart; None where none were.

    All of them where a largest loss is the goal, which is to hold on all. Else 512 at most.
    """
    apart = None if lab.source.split is None else lab.source.split.apart
    return apart if apart is None or lab.options.goal.max_drop is not None else apart.evenly(_MOST)


def measured(lab: Laboratory, path: Path, judges: Dataset | None = None) -> Comparison:
    """Of a file against the dense model, on all samples that judge, or on these.

    Raises
    ------
    ModelError
        If a file can't be run.
    MetricError
        If the user's metric fails.
    """
    judge = judge_of(lab, refitted=True, finetuned=False)
    if judges is not None:
        judge = dataclasses.replace(judge, data=judges)
    return compare(lab.dense, path, judge, lab.options.run).comparison


def measured_apart(lab: Laboratory, values: WeightArrays) -> Comparison | None:
    """Of these weights, on `judges_apart`; None where none were set apart, or a file can't be run."""
    judges = judges_apart(lab)
    if judges is None:
        return None
    with lab.journal.stage("measure"), written_for_a_while(lab, values) as path:
        try:
            return measured(lab, path, judges)
        except (DeviceMemoryError, ModelError) as error:
            lab.journal.warn("what the weights are worth was not measured", error)
    return None


@contextlib.contextmanager
def written_for_a_while(lab: Laboratory, values: WeightArrays) -> Iterator[Path]:
    """The model with these values, as the options want it written, in a folder of its own."""
    made = converted(lab.source.file, values, None, conversion(lab.options))
    copy = ModelProto()
    copy.CopyFrom(made.file.proto)
    with TemporaryDirectory(prefix="domino-onnx-") as folder:
        path = Path(folder) / lab.source.path.name
        write_model(dataclasses.replace(made.file, proto=copy), made.values, None, path)
        yield path


def is_better(after: Comparison, before: Comparison) -> bool:
    """Whether the metric that the report shows agrees that something was won.

    Shares of few samples move by chance. Where two differ by no more than that, the divergence of the same outputs
    decides, which every sample moves.
    """
    lost = after.drop - before.drop
    if not after.counts_samples or not before.counts_samples:
        return lost <= 0
    chance = float(np.sqrt(max(after.drop, 0.0) + max(before.drop, 0.0)) / np.sqrt(after.samples))
    if lost > chance:
        return False
    return lost < -chance or (after.kl or 0.0) <= (before.kl or 0.0)
