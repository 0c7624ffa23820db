"""Finetuning on samples that never end: what is learned from never judges, and nothing is kept of what is over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from domino_onnx.data import Dataset, Split, Stream, input_specs  # noqa: E402
from domino_onnx.finetuning import Distillation, finetune, open_distillation  # noqa: E402
from domino_onnx.graph import read_model, stored_tensors, take_inventory  # noqa: E402
from domino_onnx.options import FinetuneOptions, RunOptions  # noqa: E402
from domino_onnx.scheme import NMScheme, SchemePool  # noqa: E402
from domino_onnx.solve import PrunedWeights  # noqa: E402
from domino_onnx.synthesis import Synthesis, open_synthesis  # noqa: E402


@pytest.fixture(scope="module")
def synthesis(small_digits: Path) -> Synthesis:
    file = read_model(small_digits)
    return open_synthesis(file, input_specs(file.proto), seed=0)


def opened(small_digits: Path, synthesis: Synthesis, stream: Stream) -> Distillation:
    model = small_digits
    split = Split.of(synthesis.dataset(32), evaluation=None, seed=0, stream=stream)
    return open_distillation(read_model(model), model, split, device="cpu", threads=1)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    numbers: set[int] = set()
    take = Dataset.take

    def recorded(self: Dataset, indices: np.ndarray[Any, Any], *, draw: int | None = None) -> dict[str, Any]:
        numbers.update(indices.tolist())
        return take(self, indices, draw=draw)

    monkeypatch.setattr(Dataset, "take", recorded)
    return numbers


def test_what_judges_is_never_learned_from(small_digits: Path, synthesis: Synthesis, taken: set[int]) -> None:
    student = opened(small_digits, synthesis, synthesis.stream(32, 16, window=32, fresh=4))
    taken.clear()
    student.held_out_loss(8)
    assert taken == set(range(16))
    taken.clear()
    batches = student.shuffled(8, 0)
    with torch.no_grad():
        for number in range(1, 13):
            student.loss(next(batches), draw=number)
    assert taken.isdisjoint(range(16))
    assert max(taken) == 16 + 4 * (4 + 11) - 1
    assert student.epoch(8) == 4


def test_the_same_seed_gives_the_same_bits_and_the_loss_falls(small_digits: Path, synthesis: Synthesis) -> None:
    file = read_model(small_digits)
    tensors, inventory = stored_tensors(file.proto), take_inventory(file, SchemePool.fixed_m(), {})
    schemes = {site.key: NMScheme(1, 4) for site in inventory.sites}
    weights = dict(PrunedWeights(schemes, inventory.sites, lambda key: file.array(tensors[key])))
    options, run = FinetuneOptions(steps=24, lr=1e-3), RunOptions(batch_size=16, threads=1)

    def result(processes: int) -> Any:
        stream = synthesis.stream(32, 16, window=64, fresh=4, processes=processes)
        return finetune(opened(small_digits, synthesis, stream), weights, options, run)

    alone, helped = result(0), result(1)
    assert alone.after < alone.before
    for key, value in alone.values.items():
        np.testing.assert_array_equal(value, helped.values[key])
