"""What a budget of memory doesn't hold of a training batch goes to the disk, and no bit of what comes out changes."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from domino_onnx.data import Split, load_data  # noqa: E402
from domino_onnx.finetuning import finetune, finetune_blocks, open_distillation  # noqa: E402
from domino_onnx.finetuning.saved_tensors import SavedTensors  # noqa: E402
from domino_onnx.graph import read_model  # noqa: E402
from domino_onnx.options import FinetuneOptions, RunOptions  # noqa: E402
from domino_onnx.runtime import Room, Scratch, room, scratch  # noqa: E402

OPTIONS, RUN = FinetuneOptions(steps=3, lr=1e-3), RunOptions(batch_size=16, threads=1)
CPU = torch.device("cpu")


@pytest.fixture
def tight(monkeypatch: pytest.MonkeyPatch) -> list[Scratch]:
    """No byte is allowed in memory; every place for activations that was made."""
    made: list[Scratch] = []

    def noted(self: Room, *given: Any, **named: Any) -> Scratch:
        made.append(real(self, *given, **named))
        return made[-1]

    real = Room.scratch
    monkeypatch.setattr(Room, "scratch", noted)
    monkeypatch.setattr(room, "LEAST", 0)
    monkeypatch.setattr(scratch, "_SMALL", 0)
    return made


def test_a_model_learns_the_same_bits_from_the_disk(
    bench: Callable[..., Any], small_digits: Path, few: Path, tight: list[Scratch]
) -> None:
    given = bench(small_digits, few)
    wanted = finetune(given.distillation, given.weights, OPTIONS, RUN)
    assert not sum(each.written for each in tight)
    file = read_model(small_digits)
    split = Split.of(load_data(few, file.proto), evaluation=None, judged=False, seed=0)
    student = open_distillation(file, small_digits, split, device="cpu", threads=1, room=Room(memory=1))
    found = finetune(student, given.weights, OPTIONS, RUN)
    assert sum(each.written for each in tight[2:]) > 1 << 19
    assert [step.loss for step in found.history] == [step.loss for step in wanted.history]
    for key, value in wanted.values.items():
        np.testing.assert_array_equal(found.values[key], value)
    gc.collect()
    _, _, *steps = tight  # the first two hold what two teachers answered
    assert all(each.disk == 0 for each in steps), "a step takes no room on the disk when it is over"


def test_blocks_learn_the_same_bits_from_the_disk(
    bench: Callable[..., Any], small_digits: Path, few: Path, tight: list[Scratch]
) -> None:
    file, weights = read_model(small_digits), bench(small_digits, few).weights
    split = Split.of(load_data(few, file.proto), evaluation=None, judged=False, seed=0)
    wanted = finetune_blocks(file, split, weights, OPTIONS, RUN)
    found = finetune_blocks(file, split, weights, OPTIONS, RUN, room=Room(memory=1))
    assert len([each for each in tight if each.written]) > 3
    for key, value in wanted.values.items():
        np.testing.assert_array_equal(found.values[key], value)


class TestOnePass:
    """Two layers on 64 samples, whose saved tensors take 64 x (256 + 256) x 4 bytes."""

    inputs = np.random.default_rng(0).standard_normal((64, 256)).astype(np.float32)
    saved = 2 * inputs.nbytes

    @pytest.fixture
    def module(self) -> Any:
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.ReLU(), torch.nn.Linear(256, 4))

    def trained(self, module: Any, tensors: SavedTensors, inputs: np.ndarray[Any, Any]) -> list[Any]:
        module.zero_grad()
        with tensors.kept({"x": inputs}):
            loss = module(torch.from_numpy(inputs)).square().mean()
        loss.backward()
        return [parameter.grad.clone() for parameter in module.parameters()]

    def test_each_storage_is_written_once(self, module: Any, tight: list[Scratch]) -> None:
        wanted = self.trained(module, SavedTensors(module, Room(), CPU), self.inputs)
        found = self.trained(module, SavedTensors(module, Room(memory=1), CPU), self.inputs)
        assert all(map(torch.equal, wanted, found))
        assert self.saved <= tight[0].written < self.saved + 4096, "the last outputs are saved too, for the square"

    def test_what_fits_is_left_alone_after_the_first_batch(
        self, module: Any, tight: list[Scratch], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        left = [1 << 30]
        monkeypatch.setattr(room, "resident_memory", lambda: 0)
        tensors = SavedTensors(module, Room(memory=left[0]), CPU)
        for _ in range(3):
            self.trained(module, tensors, self.inputs)
        assert [each.written for each in tight] == [0]
        monkeypatch.setattr(room, "resident_memory", lambda: left[0] - self.saved)  # gradients don't fit besides
        self.trained(module, tensors, self.inputs)
        assert [each.written > 0 for each in tight] == [False, True]

    def test_a_batch_larger_than_all_before_is_measured(
        self, module: Any, tight: list[Scratch], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(room, "resident_memory", lambda: 0)
        tensors = SavedTensors(module, Room(memory=1 << 30), CPU)
        for count in (8, 8, 64, 8, 64):
            self.trained(module, tensors, self.inputs[:count])
        assert len(tight) == 2
