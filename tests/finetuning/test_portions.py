"""Batches that don't fit into a GPU's memory are run in parts, with the gradients of the whole. No GPU is needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from domino_onnx.errors import DeviceMemoryError, ModelError  # noqa: E402
from domino_onnx.finetuning import finetune  # noqa: E402
from domino_onnx.finetuning.portions import Portions  # noqa: E402
from domino_onnx.options import FinetuneOptions, RunOptions  # noqa: E402


def at_most(limit: int, error: Exception | None = None) -> Callable[[int], int]:
    """Work that fits with up to `limit` samples."""

    def work(size: int) -> int:
        if size > limit:
            raise error or torch.OutOfMemoryError("CUDA out of memory")
        return size

    return work


def test_a_size_that_fits_stays() -> None:
    assert Portions(1).fitted(at_most(32), 32) == 32


def test_sizes_are_halved_until_they_fit_and_stay_so() -> None:
    portions, undone, tried = Portions(1), [], []

    def work(size: int) -> int:
        tried.append(size)
        return at_most(5)(size)

    assert portions.fitted(work, 32, lambda: undone.append(len(tried))) == 4
    assert tried == [32, 16, 8, 4]
    assert undone == [1, 2, 3]
    assert portions.fitted(work, 32) == 4
    assert tried[4:] == [4]
    assert portions.fitted(work, 3) == 3


def test_a_full_gpu_of_onnx_runtime_halves_too() -> None:
    assert Portions(1).fitted(at_most(10, DeviceMemoryError("full")), 32) == 8


def test_the_fewest_samples_that_do_not_fit_are_an_error() -> None:
    with pytest.raises(DeviceMemoryError, match="even with 1 sample"):
        Portions(1).fitted(at_most(0), 8)
    with pytest.raises(DeviceMemoryError, match="even with 4 sample"):
        Portions(4).fitted(at_most(3), 8)


def test_other_errors_are_not_tried_again() -> None:
    with pytest.raises(ModelError):
        Portions(1).fitted(at_most(1, ModelError("no")), 8)
    with pytest.raises(RuntimeError, match="shapes"):
        Portions(1).fitted(at_most(1, RuntimeError("shapes")), 8)


class Small:
    """A student's forward pass on a device that holds so many samples at once."""

    def __init__(self, answers: Callable[..., Any], most: int) -> None:
        self._answers, self._most = answers, most
        self.largest = 0

    def __call__(self, inputs: Any) -> Any:
        count = len(next(iter(inputs.values())))
        if count > self._most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.largest = max(self.largest, count)
        return self._answers(inputs)


def gradients(distillation: Any, weights: Any) -> tuple[float, dict[Any, Any]]:
    parameters = distillation.trainable(weights)
    loss = distillation.backward(distillation.train[:16], 16)
    return loss, {key: parameter.grad.clone() for key, parameter in parameters.items()}


def test_a_batch_in_parts_has_the_gradients_of_the_whole(
    bench: Any, small_digits: Path, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = bench(small_digits, few)
    loss, wanted = gradients(given.distillation, given.weights)
    small = Small(given.distillation._answers, 5)
    monkeypatch.setattr(given.distillation, "_answers", small)
    again, got = gradients(given.distillation, given.weights)
    assert small.largest == 4
    assert again == pytest.approx(loss, rel=1e-5, abs=1e-6)
    for key, gradient in wanted.items():
        np.testing.assert_allclose(got[key].numpy(), gradient.numpy(), rtol=1e-3, atol=1e-6)


def test_a_gradient_of_a_part_is_not_counted_twice(
    bench: Any, small_digits: Path, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory that runs out at the second part of a batch leaves nothing of the first."""
    given = bench(small_digits, few)
    _, wanted = gradients(given.distillation, given.weights)
    answers, calls = given.distillation._answers, []

    def full_once(inputs: Any) -> Any:
        calls.append(len(inputs["image"]))
        if len(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return answers(inputs)

    monkeypatch.setattr(given.distillation, "_answers", full_once)
    given.distillation._portions._most = 8
    _, got = gradients(given.distillation, given.weights)
    assert calls == [8, 8, 4, 4, 4, 4]
    for key, gradient in wanted.items():
        np.testing.assert_allclose(got[key].numpy(), gradient.numpy(), rtol=1e-3, atol=1e-6)


def test_finetuning_goes_on_in_parts(
    bench: Any, small_digits: Path, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = bench(small_digits, few)
    monkeypatch.setattr(given.distillation, "_answers", Small(given.distillation._answers, 4))
    finetuned = finetune(
        given.distillation, given.weights, FinetuneOptions(steps=6, lr=3e-3), RunOptions(batch_size=16)
    )
    assert finetuned.after < finetuned.before


def test_finetuning_that_fits_nowhere_says_what_to_do(
    bench: Any, small_digits: Path, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = bench(small_digits, few)
    monkeypatch.setattr(given.distillation, "_answers", Small(given.distillation._answers, 0))
    with pytest.raises(DeviceMemoryError, match="--batch-size"):
        finetune(given.distillation, given.weights, FinetuneOptions(steps=2, lr=3e-3), RunOptions(batch_size=16))
