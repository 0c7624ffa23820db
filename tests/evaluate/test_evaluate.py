"""Two models in ONNX Runtime: what is compared, and on what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from domino_onnx.data import InputSpec, input_specs, load_data
from domino_onnx.errors import DataError, DependencyError, ModelError
from domino_onnx.evaluate import evaluate_models, random_inputs
from domino_onnx.options import CompressOptions, RunOptions
from domino_onnx.pipeline import evaluate
from domino_onnx.runtime import Session, require_onnxruntime

node = helper.make_node


@pytest.fixture
def linear(make_model: Callable[..., onnx.ModelProto], save: Callable[..., Path]) -> Callable[..., Path]:
    """`linear("name", weight)`: x (batch, 3) times a weight."""

    def write(name: str, weight: Any, batch: str | int = "batch", source: str = "x", output: str = "y") -> Path:
        product = node("MatMul", [source, "w"], [output])
        weights = {"w": np.asarray(weight, np.float32)}
        return save(make_model([product], {source: [batch, 3]}, {output: None}, weights), name)

    return write


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.npz"
    x = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    np.savez(path, x=x, labels=x.argmax(axis=1))
    return path


def test_a_model_agrees_with_itself(linear: Callable[..., Path], data: Path) -> None:
    model = linear("a.onnx", np.eye(3))
    evaluation = evaluate(model, model, data)
    comparison = evaluation.comparison
    assert (comparison.agreement, comparison.cosine, comparison.max_abs) == (1.0, None, 0.0)
    assert comparison.kl == pytest.approx(0, abs=1e-12)
    assert (comparison.samples, comparison.top1_reference) == (50, 1.0)
    assert (evaluation.inputs, evaluation.provider) == ("data", "CPUExecutionProvider")


def batches_of(size: int) -> CompressOptions:
    return CompressOptions(run=RunOptions(batch_size=size))


class Recorder:
    """An observer that keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    def stage(self, name: str) -> None:
        self.heard.append((name,))

    def progress(self, done: float, total: float, text: str) -> None:
        self.heard.append((done, total, text))

    def warn(self, message: str) -> None:
        self.heard.append((message,))


def test_progress_is_a_running_total(linear: Callable[..., Path], data: Path) -> None:
    model, observer = linear("a.onnx", np.eye(3)), Recorder()
    evaluate(model, model, data, batches_of(20), observer)
    told = [(done, 50, f"{done} of 50 samples") for done in (20, 40, 50)]
    assert observer.heard == [("evaluate",), *told]


@pytest.mark.parametrize("batch_size", [1, 7, 32, 1000])
def test_results_do_not_depend_on_the_batch_size(batch_size: int, linear: Callable[..., Path], data: Path) -> None:
    left, right = np.eye(3), np.array([[1, 0, 0.9], [0, 1, 0], [0.2, 0, 1]])
    evaluation = evaluate(linear("a.onnx", left), linear("b.onnx", right), data, batches_of(batch_size))
    with np.load(data) as arrays:
        x, labels = arrays["x"].astype(np.float64), arrays["labels"]
    a, b = x @ left, x @ right
    comparison = evaluation.comparison
    assert comparison.agreement == np.mean(a.argmax(1) == b.argmax(1))
    assert comparison.top1_candidate == np.mean(b.argmax(1) == labels)
    p, q = (np.exp(s) / np.exp(s).sum(1, keepdims=True) for s in (a, b))
    assert comparison.kl == pytest.approx(np.mean(np.sum(p * np.log(p / q), 1)), rel=1e-4)
    assert comparison.max_abs == pytest.approx(np.abs(a - b).max(), rel=1e-5)
    assert comparison.samples == 50


@pytest.fixture
def heads(make_model: Callable[..., onnx.ModelProto], save: Callable[..., Path]) -> Callable[..., Path]:
    """`heads("name", change)`: 32 numbers of large scale, and the same at length 1."""

    def write(name: str, change: float) -> Path:
        rng = np.random.default_rng(0)
        weight = 4 * rng.standard_normal((3, 32)) + change * np.random.default_rng(1).standard_normal((3, 32))
        nodes = [node("MatMul", ["x", "w"], ["values"]), node("LpNormalization", ["values"], ["e"], axis=-1, p=2)]
        arrays = {"w": weight.astype(np.float32)}
        return save(make_model(nodes, {"x": ["b", 3]}, {"values": None, "e": None}, arrays), name)

    return write


@pytest.mark.parametrize("batch_size", [1, 7, 32])
def test_numbers_and_embeddings_have_no_classes(batch_size: int, heads: Callable[..., Path], tmp_path: Path) -> None:
    """Their largest value is the same one in most samples, which says nothing of what is lost."""
    x = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x)
    left, right = heads("a.onnx", 0), heads("b.onnx", 1)
    comparison = evaluate(left, right, tmp_path / "data.npz", batches_of(batch_size)).comparison
    assert [each.kind for each in comparison.outputs] == ["values", "embedding"]
    assert (comparison.agreement, comparison.kl) == (None, None)
    (a, u), (b, v) = (Session(path).run({"x": x}).values() for path in (left, right))
    assert comparison.cosine == pytest.approx(np.mean(np.sum(u * v, axis=1)), rel=1e-5)
    errors = np.mean((a - b) ** 2, axis=0) / a.var(axis=0)
    assert comparison.relative_error == pytest.approx(np.minimum(errors, 1).mean(), rel=1e-4)


def test_kinds_may_be_given(heads: Callable[..., Path], data: Path) -> None:
    model = heads("a.onnx", 0)
    specs = input_specs(onnx.load(model))
    dataset = load_data(data, onnx.load(model))
    evaluation = evaluate_models(model, heads("b.onnx", 1), dataset, specs=specs, given={"values": "scores"})
    assert [each.kind for each in evaluation.comparison.outputs] == ["scores", "embedding"]
    assert evaluation.comparison.agreement is not None


def test_a_fixed_batch_leaves_the_remainder_out(linear: Callable[..., Path], data: Path) -> None:
    model = linear("a.onnx", np.eye(3), batch=8)
    assert evaluate(model, model, data).comparison.samples == 48


def test_models_of_other_outputs_or_inputs_are_refused(linear: Callable[..., Path], data: Path) -> None:
    model = linear("a.onnx", np.eye(3))
    with pytest.raises(ModelError, match="different outputs"):
        evaluate(model, linear("b.onnx", np.eye(3), output="z"), data)
    with pytest.raises(ModelError, match=r"take other inputs, x \(float32: \?,3\) and q"):
        evaluate(model, linear("c.onnx", np.eye(3), source="q"), data)
    with pytest.raises(ModelError):
        evaluate(model, model.with_name("missing.onnx"), data)


def test_models_whose_output_shapes_differ_are_refused(linear: Callable[..., Path], data: Path) -> None:
    with pytest.raises(ModelError):
        evaluate(linear("a.onnx", np.eye(3)), linear("b.onnx", np.ones((3, 2))), data)


def test_models_that_onnxruntime_refuses_are_model_errors(
    make_model: Callable[..., onnx.ModelProto], save: Callable[..., Path], data: Path
) -> None:
    model = make_model(
        [node("Nonsense", ["x"], ["y"], domain="my")], {"x": ["b", 3]}, {"y": None}, {}, domains={"my": 1}
    )
    path = save(model)
    with pytest.raises(ModelError, match="can't load"):
        evaluate(path, path, data)


def test_random_inputs_are_repeatable_and_of_the_right_kind() -> None:
    specs = [
        InputSpec(name="f", dtype=np.dtype(np.float32), axes=(None, 3)),
        InputSpec(name="i", dtype=np.dtype(np.int64), axes=(2,)),
        InputSpec(name="s", dtype=np.dtype(np.float16), axes=()),
    ]
    first, second, other = random_inputs(specs, {}, 0), random_inputs(specs, {}, 0), random_inputs(specs, {}, 1)
    assert first["f"].shape == (1, 3)
    assert first["s"].dtype == np.float16
    assert first["i"].tolist() == [0, 0]
    np.testing.assert_array_equal(first["f"], second["f"])
    assert (first["f"] != other["f"]).any()
    assert random_inputs(specs, {"f": (4, 3)}, 0)["f"].shape == (4, 3)
    wider = random_inputs([*specs, InputSpec(name="m", dtype=np.dtype(bool), axes=(99,))], {}, 0, integers=2, free=5)
    assert wider["f"].shape == (5, 3)
    assert set(wider["m"].tolist()) == {False, True}


def test_random_inputs_without_a_rank_or_of_absurd_size_ask_for_help() -> None:
    with pytest.raises(DataError, match="--data"):
        random_inputs([InputSpec(name="f", dtype=np.dtype(np.float32), axes=None)], {}, 0)
    with pytest.raises(DataError, match="too large"):
        random_inputs([InputSpec(name="f", dtype=np.dtype(np.float32), axes=(1 << 20, 1 << 20))], {}, 0)


def test_a_model_that_never_ends_is_stopped(tmp_path: Path) -> None:
    """A Loop of 2^62 turns."""
    body = helper.make_graph(
        [node("Identity", ["c"], ["c2"]), node("Add", ["v", "v"], ["v2"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("c2", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v2", TensorProto.FLOAT, [1]),
        ],
    )
    graph = helper.make_graph(
        [node("Loop", ["n", "t", "x"], ["y"], body=body)],
        "g",
        [helper.make_tensor_value_info("x", 1, [1])],
        [helper.make_tensor_value_info("y", 1, [1])],
        [numpy_helper.from_array(np.array(1 << 62), "n"), numpy_helper.from_array(np.array(True), "t")],
    )
    path = tmp_path / "loop.onnx"
    path.write_bytes(
        helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()
    )
    with pytest.raises(ModelError, match="a loop in it may never end"):
        Session(path).run({"x": np.ones(1, np.float32)}, seconds=0.5)


def test_evaluation_without_data_says_that_inputs_were_random(linear: Callable[..., Path]) -> None:
    model = linear("a.onnx", np.eye(3))
    evaluation = evaluate_models(model, model, None, specs=input_specs(onnx.load(model)))
    assert evaluation.inputs == "random"
    assert evaluation.comparison.max_abs == 0


def test_two_packages_of_onnxruntime_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from domino_onnx.runtime import providers

    monkeypatch.setattr(providers, "_is_installed", lambda name: name in ("onnxruntime", "onnxruntime-gpu"))
    with pytest.raises(DependencyError, match="pip uninstall -y onnxruntime onnxruntime-gpu"):
        require_onnxruntime()


def test_cuda_that_is_not_there_is_refused(linear: Callable[..., Path]) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(DependencyError, match="onnxruntime-gpu"):
        Session(linear("a.onnx", np.eye(3)), device="cuda")
