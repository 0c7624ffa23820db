"""Mixtures of samples to learn from, and what they are judged by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from domino_onnx.data import Dataset, Split, load_data  # noqa: E402
from domino_onnx.finetuning import Distillation, open_distillation  # noqa: E402
from domino_onnx.finetuning.mixing import can_mix, mixture  # noqa: E402
from domino_onnx.graph import read_model  # noqa: E402
from domino_onnx.options import FinetuneOptions  # noqa: E402


def opened(small_digits: Path, data: Path, options: FinetuneOptions | None = None) -> Distillation:
    model = small_digits
    file = read_model(model)
    split = Split.of(load_data(data, file.proto), evaluation=None, judged=False, seed=0)
    return open_distillation(file, model, split, options, device="cpu", threads=1)


def test_a_mixture_is_the_same_whatever_batch_a_sample_is_in() -> None:
    among = np.arange(100, 200)
    whole = mixture(np.arange(8), among, draw=3)
    half = mixture(np.arange(4, 8), among, draw=3)
    np.testing.assert_array_equal(whole.others[4:], half.others)
    np.testing.assert_array_equal(whole.shares[4:], half.shares)
    assert set(whole.others) <= set(among)
    assert len(set(mixture(np.arange(8), among, draw=4).shares) | set(whole.shares)) == 16


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_each_sample_lies_between_the_two_it_is_of(dtype: str) -> None:
    mixing = mixture(np.arange(1000), np.arange(2000), draw=0)
    first, second = np.zeros((1000, 2, 3), dtype), np.ones((1000, 2, 3), dtype)
    mixed = mixing({"x": first}, {"x": second})["x"]
    assert mixed.dtype == dtype
    np.testing.assert_allclose(mixed[:, 1, 2], 1 - mixing.shares, atol=1e-3)
    assert np.histogram(mixing.shares, 10, (0, 1))[0].min() > 60


def test_samples_along_another_axis_are_mixed_alike() -> None:
    mixing, generator = mixture(np.arange(6), np.arange(20), draw=0), np.random.default_rng(0)
    first, second = (generator.standard_normal((6, 2, 3)).astype(np.float32) for _ in range(2))
    plain = mixing({"h": first}, {"h": second})["h"]
    moved = mixing({"h": np.moveaxis(first, 0, 1)}, {"h": np.moveaxis(second, 0, 1)}, {"h": 1})["h"]
    np.testing.assert_array_equal(np.moveaxis(moved, 1, 0), plain)


def test_the_dense_model_answers_for_mixtures_too(small_digits: Path, few: Path) -> None:
    mixed, plain = (opened(small_digits, few, FinetuneOptions(mix=mix, temperature=1.0)) for mix in (True, False))
    chosen = plain.train[:8]
    with torch.no_grad():  # the student is the teacher still: only answers for other inputs would tell them apart
        assert abs(float(mixed.loss(chosen, draw=1))) < 1e-5
        for module in (mixed.module, plain.module):
            for parameter in module.parameters():
                parameter.mul_(1.1)
        assert float(mixed.loss(chosen, draw=1)) != float(plain.loss(chosen, draw=1))
        assert float(mixed.loss(chosen)) == float(plain.loss(chosen, draw=1)) == float(plain.loss(chosen))


def test_held_out_samples_are_mixed_among_themselves_and_alike_each_time(
    small_digits: Path, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distillation = opened(small_digits, few)
    taken: set[int] = set()
    take = Dataset.take

    def recorded(self: Dataset, indices: np.ndarray[Any, Any], *, draw: int | None = None) -> dict[str, Any]:
        taken.update(indices.tolist())
        return take(self, indices, draw=draw)

    with torch.no_grad():
        for parameter in distillation.module.parameters():
            parameter.mul_(1.1)
    monkeypatch.setattr(Dataset, "take", recorded)
    first = distillation.held_out_loss(32)
    assert taken == set(distillation.held_out.tolist())
    assert first == distillation.held_out_loss(32)
    with torch.no_grad():
        unmixed = float(distillation.loss(distillation.held_out))
    assert first != pytest.approx(unmixed, rel=1e-3)


def test_token_numbers_are_not_mixed(save: Callable[..., Path], make_model: Callable[..., Any], tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    node = helper.make_node("Gather", ["table", "tokens"], ["y"])
    model = make_model([node], {}, {"y": ["n", 4]}, {"table": np.ones((9, 4), np.float32)}, opset=17)
    model.graph.input.append(helper.make_tensor_value_info("tokens", TensorProto.INT64, ["n"]))
    np.savez(tmp_path / "tokens.npz", tokens=np.arange(8))
    assert not can_mix(load_data(tmp_path / "tokens.npz", model))


def test_labels_are_mixed_as_their_samples_are(samples: Path, small_digits: Path, tmp_path: Path) -> None:
    with np.load(samples / "digits_calibration.npz") as arrays:
        np.savez(tmp_path / "few.npz", image=arrays["image"][:64], labels=np.arange(64) % 10)
    data = load_data(tmp_path / "few.npz", read_model(small_digits).proto)
    distillation = opened(small_digits, tmp_path / "few.npz", FinetuneOptions(label_weight=1.0))
    chosen = distillation.train[:8]
    mixing = mixture(chosen, distillation.train, draw=5)
    images = data.take(chosen)["image"], data.take(mixing.others)["image"]
    shares = torch.from_numpy(mixing.shares)
    with torch.no_grad():
        first, second = map(torch.from_numpy, images)
        mixed = shares.reshape(-1, 1, 1, 1) * first + (1 - shares.reshape(-1, 1, 1, 1)) * second
        (scores,) = distillation.module({"image": mixed}).values()
        wanted = torch.tensor(0.0)
        for row, (index, other, share) in enumerate(zip(chosen, mixing.others, shares, strict=True)):
            log_p = torch.log_softmax(scores[row], dim=0)
            wanted -= (share * log_p[int(index) % 10] + (1 - share) * log_p[int(other) % 10]) / len(chosen)
        assert float(distillation.loss(chosen, draw=5)) == pytest.approx(float(wanted), rel=1e-4)
