"""Steps without a finite gradient are told, with a weight to look at."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from domino_onnx.finetuning import Finetuned, FinetuneStep
from domino_onnx.stages.finetuning.notes import warn_of_divergence
from domino_onnx.stages.journal import Journal


def test_a_warning_counts_the_steps_and_names_the_weight() -> None:
    journal = Journal()
    steps = [FinetuneStep(step=n, loss=1.0, lr=0.1, left_out="conv.weight" if n % 2 else None) for n in range(1, 6)]
    finetuned = Finetuned(
        values={}, before=1.0, after=1.0, lr=0.1, steps=5, planned=5, decided_by="options", best_step=0,
        history=tuple(steps),
    )  # fmt: skip
    warn_of_divergence(journal, finetuned)
    assert len(journal.warnings) == 1
    assert "3 of 5 steps of finetuning left the weights as they were" in journal.warnings[0]
    assert "'conv.weight'" in journal.warnings[0]
