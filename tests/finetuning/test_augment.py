"""Finetuning learns from varied images, and is judged by images as they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from domino_onnx.data import Dataset, Split, load_data  # noqa: E402
from domino_onnx.data.augment import Augmentation  # noqa: E402
from domino_onnx.finetuning import Distillation, finetune, open_distillation  # noqa: E402
from domino_onnx.graph import read_model  # noqa: E402
from domino_onnx.options import FinetuneOptions, RunOptions  # noqa: E402

Array = np.ndarray[Any, Any]


@pytest.fixture
def open_on(small_digits: Path, few: Path) -> Callable[..., Distillation]:
    """The sample network on its images, varied like this."""

    def call(augment: Augmentation | None) -> Distillation:
        model = small_digits
        file = read_model(model)
        data = load_data(few, file.proto)
        if augment is not None:
            data = dataclasses.replace(data, augment={"image": augment})
        split = Split.of(data, evaluation=None, judged=False, seed=0)
        return open_distillation(file, model, split, FinetuneOptions(mix=False), device="cpu", threads=1)

    return call


def test_images_are_varied_where_a_draw_is_given_and_where_they_judge(open_on: Callable[..., Distillation]) -> None:
    plain, varied = open_on(None), open_on(Augmentation(flip=True, crop_padding=2))
    chosen = plain.train[:8]
    with torch.no_grad():
        # The student is the teacher still: their outputs agree on any image, if both get the same one.
        losses = [float(varied.loss(chosen, draw=draw)) for draw in (None, 0, 1)]
        assert varied.held_out_loss(32) == varied.held_out_loss(32) != plain.held_out_loss(32)
        assert float(plain.loss(chosen)) == losses[0]
        assert float(plain.loss(chosen, draw=0)) == losses[0]
        assert losses[1] != losses[0] != losses[2]
        assert max(losses) < min(losses) * 1.5 + 1e-3


def test_finetuning_takes_new_variations_and_is_the_same_again(
    open_on: Callable[..., Distillation], bench: Callable[..., Any], small_digits: Path, few: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    weights = bench(small_digits, few).weights
    draws: list[int | None] = []
    train = set(open_on(None).train.tolist())
    take = Dataset.take

    def recorded(self: Dataset, indices: Array, *, draw: int | None = None) -> dict[str, Array]:
        if train.issuperset(indices.tolist()):
            draws.append(draw)
        return take(self, indices, draw=draw)

    monkeypatch.setattr(Dataset, "take", recorded)
    options, run = FinetuneOptions(steps=4, lr=1e-3), RunOptions(batch_size=16)
    runs = [finetune(open_on(Augmentation(flip=True)), weights, options, run) for _ in range(2)]
    assert [draw for draw in draws if draw is not None] == [1, 2, 3, 4] * 2
    assert None in draws
    plain = finetune(open_on(None), weights, options, run)
    assert [step.loss for step in runs[0].history] == [step.loss for step in runs[1].history]
    assert [step.loss for step in runs[0].history] != [step.loss for step in plain.history]
    for key, value in runs[0].values.items():
        np.testing.assert_array_equal(value, runs[1].values[key])
