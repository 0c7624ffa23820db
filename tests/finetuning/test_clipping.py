"""A gradient that isn't finite reaches no weight, and what causes it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

torch = pytest.importorskip("torch")

from domino_onnx.errors import FinetuneError  # noqa: E402
from domino_onnx.finetuning import finetune  # noqa: E402
from domino_onnx.finetuning.clipping import clip, in_vain, require_finite  # noqa: E402
from domino_onnx.options import FinetuneOptions, RunOptions  # noqa: E402
from domino_onnx.scheme import WeightKey  # noqa: E402

node = helper.make_node
A, B = WeightKey("a"), WeightKey("b")


def test_gradients_are_clipped_as_torch_does() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = {A: torch.randn(5, 3, generator=generator), B: torch.randn(7, generator=generator)}
    for scale in (0.01, 10.0):
        gradients = {key: value * scale for key, value in drawn.items()}
        parameters = [torch.nn.Parameter(torch.zeros_like(value)) for value in drawn.values()]
        for parameter, value in zip(parameters, gradients.values(), strict=True):
            parameter.grad = value.clone()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        assert clip(gradients) is None
        for parameter, value in zip(parameters, gradients.values(), strict=True):
            assert torch.equal(parameter.grad, value)


@pytest.mark.parametrize(
    ("a", "b", "blamed"),
    [(1, np.nan, B), (np.inf, np.nan, A), (1, 1e20, B), (1.5e19, 1.6e19, B), (1, -np.inf, B)],
)
def test_what_is_not_finite_is_named_and_left_alone(a: float, b: float, blamed: WeightKey) -> None:
    gradients = {A: torch.tensor([a, 1.0]), B: torch.tensor([b, 1.0])}
    assert clip(gradients) == blamed
    assert gradients[A].tolist() == torch.tensor([a, 1.0]).tolist()


def test_no_gradients_at_all_are_fine() -> None:
    assert clip({}) is None


def test_many_in_a_row_are_no_accident() -> None:
    assert not in_vain(["w"] * 9, 100)
    assert in_vain([None, *["w"] * 10], 100)
    assert in_vain(["w"] * 3, 3)
    assert not in_vain(["w"] * 9 + [None], 100)
    require_finite([None, *["w"] * 10], 100)
    with pytest.raises(FinetuneError, match="weight 'w' isn't finite, in the first 10 steps"):
        require_finite(["w"] * 10, 100)


@pytest.fixture
def rooted(make_model: Any, save: Any, bench: Any, tmp_path: Path) -> Any:
    """A model whose root has no finite derivative where a sample says so; its output is finite."""

    def build(bad: int) -> Any:
        rng = np.random.default_rng(0)
        nodes = [
            node("MatMul", ["x", "w"], ["a"]),
            node("Mul", ["a", "used"], ["b"]),
            node("Abs", ["b"], ["c"]),
            node("Sqrt", ["c"], ["d"]),
            node("Add", ["a", "d"], ["y"]),
        ]
        weight = rng.standard_normal((16, 8)).astype(np.float32)
        model = make_model(nodes, {"x": ["n", 16], "used": ["n", 1]}, {"y": None}, {"w": weight})
        used = np.ones((64, 1), np.float32)
        used[rng.permutation(64)[:bad]] = 0
        np.savez(tmp_path / "data.npz", x=rng.standard_normal((64, 16)).astype(np.float32), used=used)
        return bench(save(model), tmp_path / "data.npz")

    return build


@pytest.mark.parametrize("lr", [1e-3, None])
def test_a_gradient_that_is_never_finite_stops_it_and_names_the_weight(lr: float | None, rooted: Any) -> None:
    given = rooted(64)
    with pytest.raises(FinetuneError, match="gradient of weight 'w' isn't finite"):
        finetune(given.distillation, given.weights, FinetuneOptions(steps=200, lr=lr), RunOptions(batch_size=8))


def test_a_gradient_that_is_not_finite_now_and_then_stops_nothing(rooted: Any) -> None:
    given = rooted(20)
    finetuned = finetune(
        given.distillation, given.weights, FinetuneOptions(steps=40, lr=1e-3), RunOptions(batch_size=4)
    )
    left_out = [step.left_out for step in finetuned.history]
    assert 0 < left_out.count("w") < 30
    assert (finetuned.halvings, finetuned.steps) == (0, 40)
    looks = [step.held_out for step in finetuned.history if step.held_out is not None]
    assert len(set(looks)) == len(looks) > 1
    assert np.isfinite(looks).all()
