"""Finetuning keeps zeros, never makes things worse, and repeats itself exactly."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

torch = pytest.importorskip("torch")

from domino_onnx.errors import FinetuneError, ModelError, UnsupportedOperatorError  # noqa: E402
from domino_onnx.finetuning import DistillationGradients, finetune  # noqa: E402
from domino_onnx.finetuning.rate import best_rate  # noqa: E402
from domino_onnx.options import FinetuneOptions, RunOptions  # noqa: E402
from domino_onnx.scheme import WeightKey  # noqa: E402

node = helper.make_node
EIGHT, SIXTEEN = RunOptions(batch_size=8), RunOptions(batch_size=16)


@pytest.mark.parametrize("name", ["digits_resnet.onnx", "digits_transformer.onnx"])
def test_sample_models_learn_and_their_zeros_stay(name: str, bench: Any, samples: Path, few: Path) -> None:
    given = bench(samples / name, few)
    finetuned = finetune(given.distillation, given.weights, FinetuneOptions(steps=24, lr=3e-3), SIXTEEN)
    assert finetuned.after < 0.98 * finetuned.before
    assert finetuned.steps == 24
    assert 0 < finetuned.best_step <= 24
    assert not finetuned.diverged
    assert set(finetuned.values) == set(given.weights)
    changed = 0
    for key, before in given.weights.items():
        after = finetuned.values[key]
        assert (after.dtype, after.shape) == (before.dtype, before.shape)
        assert not after[before == 0].any()
        assert not np.signbit(after[before == 0]).any()
        assert np.isfinite(after).all()
        changed += (after != before).any()
    assert changed == len(given.weights)


def test_the_same_seed_gives_the_same_weights(bench: Any, small_digits: Path, few: Path) -> None:
    runs = []
    for seed in (3, 3, 4):
        given = bench(small_digits, few, seed=seed)
        runs.append(
            finetune(
                given.distillation,
                given.weights,
                FinetuneOptions(steps=4, lr=3e-3),
                RunOptions(batch_size=16, seed=seed),
            )
        )
    first, second, other = runs
    assert all(first.values[key].tobytes() == second.values[key].tobytes() for key in first.values)
    assert first.history == second.history
    assert any(first.values[key].tobytes() != other.values[key].tobytes() for key in first.values)


@pytest.mark.parametrize("lr", [1e6, 1e30])
def test_an_absurd_learning_rate_falls_back_to_the_best_state(
    lr: float, bench: Any, small_digits: Path, few: Path
) -> None:
    given = bench(small_digits, few)
    finetuned = finetune(given.distillation, given.weights, FinetuneOptions(steps=6, lr=lr), SIXTEEN)
    assert finetuned.after <= finetuned.before
    assert math.isfinite(finetuned.after)
    if finetuned.best_step == 0:
        for key, before in given.weights.items():
            np.testing.assert_array_equal(finetuned.values[key], before)


def test_the_loss_reported_is_that_of_the_weights_returned(bench: Any, small_digits: Path, few: Path) -> None:
    given = bench(small_digits, few)
    finetuned = finetune(given.distillation, given.weights, FinetuneOptions(steps=6, lr=3e-3), SIXTEEN)
    again = bench(small_digits, few)
    proof = finetune(again.distillation, finetuned.values, FinetuneOptions(steps=1, lr=1e-12), SIXTEEN)
    assert proof.before == pytest.approx(finetuned.after, rel=1e-5)


@pytest.mark.parametrize(
    ("losses", "best"),
    [
        ({"0.0001": 1.0, "0.001": 1.2, "0.01": 1.3}, 0.001),
        ({"0.0001": 1.0, "0.001": math.inf, "0.01": math.inf}, 0.0001),
        ({"0.001": math.inf, "0.0001": math.inf, "0.01": math.inf}, 0.0001),  # the one least far from the given weights
    ],
)
def test_the_rate_that_is_chosen(losses: dict[str, float], best: float) -> None:
    assert best_rate(losses) == best


def test_probing_the_learning_rate_leaves_no_trace(bench: Any, small_digits: Path, few: Path) -> None:
    given = bench(small_digits, few)
    probed = finetune(given.distillation, given.weights, FinetuneOptions(steps=20), SIXTEEN)
    again = bench(small_digits, few)
    told = finetune(again.distillation, again.weights, FinetuneOptions(steps=20, lr=probed.lr), SIXTEEN)
    assert probed.history == told.history
    assert all(probed.values[key].tobytes() == told.values[key].tobytes() for key in told.values)
    assert probed.before == told.before


def test_a_search_with_gradients_leaves_no_trace_in_the_student(bench: Any, small_digits: Path, few: Path) -> None:
    runs = []
    for searched in (False, True):
        given = bench(small_digits, few)
        if searched:
            gradients = DistillationGradients(given.distillation, list(given.weights), batch_size=16, seed=0)
            for _ in range(2):
                loss, slopes = gradients({key: value * 0 for key, value in given.weights.items()})
                assert math.isfinite(loss)
                assert set(slopes) == set(given.weights)
        runs.append(finetune(given.distillation, given.weights, FinetuneOptions(steps=3, lr=3e-3), SIXTEEN))
    assert runs[0].history == runs[1].history
    assert all(runs[0].values[key].tobytes() == runs[1].values[key].tobytes() for key in runs[0].values)


def test_dense_weights_have_nothing_to_learn(bench: Any, small_digits: Path, few: Path) -> None:
    from domino_onnx.scheme import NMScheme

    given = bench(small_digits, few, scheme=NMScheme(4, 4))
    assert not given.weights


def test_progress_is_told_step_by_step(bench: Any, small_digits: Path, few: Path) -> None:
    given = bench(small_digits, few)
    told: list[Any] = []
    finetuned = finetune(
        given.distillation,
        given.weights,
        FinetuneOptions(steps=5, lr=3e-3),
        SIXTEEN,
        progress=lambda step, planned: told.append((step, planned)),
    )
    assert [(step.step, planned) for step, planned in told] == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]
    assert tuple(step for step, _ in told) == finetuned.history
    assert told[-1][0].held_out is not None


def small_model(make_model: Callable[..., onnx.ModelProto], dtype: Any, batch: int | str) -> onnx.ModelProto:
    generator = np.random.default_rng(0)
    nodes = [
        node("Conv", ["x", "k"], ["a"], name="conv"),
        node("Relu", ["a"], ["b"]),
        node("Flatten", ["b"], ["c"]),
        node("Gemm", ["c", "w", "bias"], ["y"], transB=1, name="gemm"),
    ]
    arrays = {
        "k": (generator.standard_normal((16, 8, 3, 3)) / 8).astype(dtype),
        "w": (generator.standard_normal((4, 16)) / 4).astype(dtype),
        "bias": np.zeros(4, dtype),
    }
    kind = {np.float16: TensorProto.FLOAT16, np.float64: TensorProto.DOUBLE}.get(dtype, TensorProto.FLOAT)
    return make_model(nodes, {"x": [batch, 8, 3, 3]}, {"y": None}, arrays, dtype=kind)


@pytest.mark.parametrize(("dtype", "batch"), [(np.float16, "b"), (np.float64, "b"), (np.float32, 4), (np.float32, 1)])
def test_half_and_double_precision_and_fixed_batches_are_finetuned(
    dtype: Any, batch: int | str, make_model: Any, save: Any, bench: Any, tmp_path: Path
) -> None:
    path = save(small_model(make_model, dtype, batch))
    x = np.random.default_rng(1).standard_normal((42, 8, 3, 3)).astype(dtype)
    np.savez(tmp_path / "data.npz", x=x)
    try:
        given = bench(path, tmp_path / "data.npz")
    except ModelError as error:
        if dtype == np.float64 and "NOT_IMPLEMENTED" in str(error):
            pytest.skip("this ONNX Runtime has no Conv in double precision")
        raise
    finetuned = finetune(given.distillation, given.weights, FinetuneOptions(steps=40, lr=1e-3), EIGHT)
    assert finetuned.after < finetuned.before
    for key, before in given.weights.items():
        assert finetuned.values[key].dtype == dtype
        assert not finetuned.values[key][before == 0].any()


def test_bfloat16_weights_come_back_as_bfloat16(make_model: Any, save: Any, bench: Any, tmp_path: Path) -> None:
    """Stored in bfloat16, computed in float32 behind a Cast."""
    weight = numpy_helper.from_array(np.random.default_rng(0).standard_normal((16, 4)).astype(ml_dtypes.bfloat16), "w")
    nodes = [node("Cast", ["w"], ["v"], to=1), node("MatMul", ["x", "v"], ["y"])]
    path = save(make_model(nodes, {"x": ["b", 16]}, {"y": None}, {"w": weight}))
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(1).standard_normal((40, 16)).astype(np.float32))
    given = bench(path, tmp_path / "data.npz")
    finetuned = finetune(given.distillation, given.weights, FinetuneOptions(steps=20, lr=3e-2), EIGHT)
    (key,) = finetuned.values
    assert finetuned.values[key].dtype == ml_dtypes.bfloat16
    assert finetuned.after < finetuned.before
    assert np.count_nonzero(finetuned.values[key]) <= 16


def test_operators_without_a_torch_counterpart_are_all_named(
    make_model: Any, save: Any, bench: Any, tmp_path: Path
) -> None:
    nodes = [
        node("MatMul", ["x", "w"], ["a"]),
        node("NoSuch", ["a"], ["b"], domain="my.domain"),
        node("NorThis", ["b"], ["y"], domain="my.domain"),
    ]
    path = save(
        make_model(nodes, {"x": ["b", 16]}, {"y": None}, {"w": np.ones((16, 4), np.float32)}, domains={"my.domain": 1})
    )
    np.savez(tmp_path / "data.npz", x=np.zeros((4, 16), np.float32))
    with pytest.raises(UnsupportedOperatorError) as refused:
        bench(path, tmp_path / "data.npz")
    assert "NoSuch" in str(refused.value)
    assert "NorThis" in str(refused.value)


def test_a_model_of_integer_outputs_has_nothing_to_learn_from(
    make_model: Any, save: Any, bench: Any, tmp_path: Path
) -> None:
    nodes = [node("MatMul", ["x", "w"], ["a"]), node("ArgMax", ["a"], ["y"])]
    model = make_model(nodes, {"x": ["b", 16]}, {"y": None}, {"w": np.ones((16, 4), np.float32)})
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(0).standard_normal((8, 16)).astype(np.float32))
    with pytest.raises(FinetuneError, match="no floating-point output"):
        bench(save(model), tmp_path / "data.npz")


def test_biases_are_trained_whole_zeros_and_all(bench: Any, small_digits: Path, few: Path) -> None:
    given = bench(small_digits, few)
    parameters = given.distillation.module.weights
    key = next(key for key in parameters if parameters[key].ndim == 1)
    zeros = np.zeros(parameters[key].shape, np.float32)
    settings = FinetuneOptions(steps=24, lr=3e-3)
    finetuned = finetune(given.distillation, given.weights, settings, SIXTEEN, biases={key: zeros})
    assert set(finetuned.values) == {*given.weights, key}
    assert finetuned.best_step > 0
    assert np.count_nonzero(finetuned.values[key]) > zeros.size // 2


def test_a_student_that_differs_is_refused_with_the_tensor_where_it_begins(
    bench: Any, small_digits: Path, few: Path, wrong_operator: Callable[..., None]
) -> None:
    wrong_operator("Relu")
    first = next(node for node in onnx.load(small_digits).graph.node if node.op_type == "Relu")
    with pytest.raises(ModelError, match=rf"first tensor that differs is {first.output[0]!r} of node .*\(Relu\)"):
        bench(small_digits, few)


@pytest.mark.parametrize(("name", "seed"), [("digits_resnet", 0), ("digits_transformer", 2)])
def test_the_dense_model_itself_is_never_better_than_equal(
    name: str, seed: int, samples: Path, few: Path, bench: Callable[..., Any]
) -> None:
    """Float noise below 0 left no learning rate within a quarter of the lowest loss."""
    distillation = bench(samples / f"{name}.onnx", few, seed=seed).distillation
    assert 0 <= distillation.held_out_loss(32) < 1e-9


def test_an_embedding_keeps_its_directions(
    save: Callable[..., Path], make_model: Callable[..., Any], bench: Callable[..., Any], tmp_path: Path
) -> None:
    """Of samples that nothing learned from: not one step back from what was given, whatever the rate."""
    rng = np.random.default_rng(0)
    arrays = {
        name: (rng.standard_normal(shape) * np.sqrt(2 / shape[0])).astype(np.float32)
        for name, shape in {"w0": (16, 64), "w1": (64, 32)}.items()
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w1"], ["c"]),
        helper.make_node("LpNormalization", ["c"], ["y"], axis=-1, p=2),
    ]
    model = save(make_model(nodes, {"x": ["n", 16]}, {"y": ["n", 32]}, arrays))
    x = rng.standard_normal((256, 4)) @ rng.standard_normal((4, 16)) + 0.3 * rng.standard_normal((256, 16))
    np.savez(tmp_path / "data.npz", x=x.astype(np.float32))
    given = bench(model, tmp_path / "data.npz")
    distillation = given.distillation

    def cosine(values: Any) -> float:
        """Along the module's own outputs."""
        seen = torch.from_numpy(x[distillation.held_out].astype(np.float32))
        with torch.no_grad():
            dense = torch.relu(seen @ torch.from_numpy(arrays["w0"])) @ torch.from_numpy(arrays["w1"])
            w0, w1 = (torch.from_numpy(values[WeightKey(name)]) for name in ("w0", "w1"))
            return float(torch.cosine_similarity(torch.relu(seen @ w0) @ w1, dense).mean())

    finetuned = finetune(distillation, given.weights, FinetuneOptions(steps=60))
    assert finetuned.after < finetuned.before
    assert cosine(finetuned.values) > cosine(given.weights)
    assert finetuned.before == pytest.approx(2 * (1 - cosine(given.weights)), rel=0.5), "of mixtures, not of classes"
