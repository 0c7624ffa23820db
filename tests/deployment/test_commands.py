"""`deploy` and `benchmark`: what they write and say."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper

import domino_onnx
from domino_onnx import DominoWarning
from domino_onnx.errors import DataError, DependencyError, ModelError
from domino_onnx.pipeline import convert, evaluate, session
from domino_onnx.runtime import ChildSession, Session, child

from .test_rewrite import deployed, normal, sparse

Run = Callable[..., Any]
Make = Callable[..., ModelProto]


@pytest.fixture
def pruned(make_model: Make, tmp_path: Path) -> Path:
    """A layer large enough, and with few enough weights, to gain by itself on any machine."""
    model = make_model(
        [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])],
        {"x": (256, 512)},
        {"y": (256, 512)},
        {"w": sparse((512, 512), 0) * (np.arange(512) % 4 == 0)},
    )
    path = tmp_path / "pruned.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def wide(make_model: Make, tmp_path: Path) -> Path:
    """A dense layer."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    model = make_model(nodes, {"x": ("N", 256)}, {"y": ("N", 256)}, {"w": normal(256, 256)})
    path = tmp_path / "wide.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_deploy_says_what_it_did(domino: Run, pruned: Path) -> None:
    ran = domino("deploy", pruned, "--threads", "1", "--json")
    assert ran.code == 0, ran.err
    said = json.loads(ran.out)
    written = Path(said["output"])
    assert written == pruned.with_name("pruned.cpu.onnx")
    skips = said["layers"][0]["chosen"] == "float32"
    assert said["layers"][0]["zeros"] > 0.9
    assert said["largest_error"] < 1e-5
    x = normal(256, 512)
    assert session(written).run(None, {"x": x})[0].shape == (256, 512)
    assert domino("deploy", pruned).code == 1  # the output exists
    assert ("NmMatMul" in {node.op_type for node in onnx.load(written).graph.node}) == skips


def test_packed_files_are_deployed_too(domino: Run, pruned: Path, tmp_path: Path) -> None:
    packed, out = tmp_path / "packed.onnx", tmp_path / "out.onnx"
    convert(pruned, packed, "packed")
    assert domino("deploy", packed, "-o", out, "--threads", "1").code == 0
    assert {tensor.name for tensor in onnx.load(out).graph.initializer} & {"w", "domino_onnx.0"}


def test_deployed_files_are_evaluated(domino: Run, pruned: Path, tmp_path: Path) -> None:
    out, data = tmp_path / "out.onnx", tmp_path / "data.npz"
    np.savez(data, x=normal(256, 512))
    assert domino("deploy", pruned, "-o", out, "--threads", "1").code == 0
    evaluation = evaluate(pruned, out, data)
    assert evaluation.comparison.drop < 1e-4


def test_a_deployed_file_is_not_pruned(domino: Run, pruned: Path, tmp_path: Path) -> None:
    fast = tmp_path / "fast.onnx"
    assert domino("deploy", pruned, "--threads", "1", "-o", fast).code == 0
    half = ("--sparsity", "0.5")
    for words in (("compress", fast, *half), ("search", fast, *half), ("finetune", fast, "--teacher", pruned)):
        ran = domino(*words)
        assert ran.code == 1
        assert f"error: {fast} was deployed for the CPU" in " ".join(ran.err.split())
        assert "drawn" not in ran.err


def test_a_deployed_file_is_judged_and_converted_by_no_command(domino: Run, pruned: Path, tmp_path: Path) -> None:
    fast, out = tmp_path / "fast.onnx", tmp_path / "out.onnx"
    assert domino("deploy", pruned, "--threads", "1", "-o", fast).code == 0
    for words, why in (
        (("doctor", fast), "can't run in TensorRT"),
        (("convert", fast, "--precision", "fp16", "-o", out), "can't be stored in fewer bits"),
        (("convert", fast, "--weights", "int8", "-o", out), "can't be stored in fewer bits"),
        (("deploy", fast, "-o", out), "can't be deployed once more"),
    ):
        ran = domino(*words)
        said = f"error: {fast} was deployed for the CPU and {why}: give the file it was made from"
        assert (ran.code, said in " ".join(ran.err.split())) == (1, True), ran.err
    assert not out.exists()


def test_what_is_said_of_a_file_tells_that_it_was_deployed(domino: Run, pruned: Path, tmp_path: Path) -> None:
    fast = tmp_path / "fast.onnx"
    assert domino("deploy", pruned, "--threads", "1", "-o", fast).code == 0
    assert "deployed for the CPU" in domino("inspect", fast).out
    assert [json.loads(domino("inspect", path, "--json").out)["deployed"] for path in (pruned, fast)] == [False, True]
    ran = domino("verify", fast)
    assert (ran.code, "was deployed for the CPU" in ran.out, "the file it was made from" in ran.out) == (3, True, True)


def test_a_deployed_file_without_kernels_says_what_is_missing(
    make_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": (3, 64)}, {"y": (3, 32)}, {"w": sparse((64, 32), 0)}
    )
    changed, _, _ = deployed(model, {})
    Session(changed.SerializeToString())

    def missing() -> str:
        raise FileNotFoundError("no library")

    monkeypatch.setattr("domino_onnx_kernels.library_path", missing)
    with pytest.raises(DependencyError, match="CPU kernels are missing"):
        Session(changed.SerializeToString())
    Session(model.SerializeToString())


@pytest.fixture
def _own_children() -> Iterator[None]:
    """Children that start with the environment of this test, and end with it."""
    child._end_idle()
    yield
    child._end_idle()


@pytest.mark.usefixtures("_own_children")
@pytest.mark.parametrize(
    ("content", "said"), [(None, "DOMINO_ONNX_KERNELS is avx513"), (b"no library", "Failed to load library")]
)
def test_kernels_that_do_not_load_matter_to_deployed_files_alone(
    domino: Run, pruned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, said: str
) -> None:
    """The message is that of ONNX Runtime, in the command's own process and in its children."""
    dense, fast, none = onnx.load(pruned), tmp_path / "fast.onnx", tmp_path / "none.onnx"
    fast.write_bytes(deployed(dense, {})[0].SerializeToString())
    broken = tmp_path / "broken.so"
    if content is None:
        monkeypatch.setenv("DOMINO_ONNX_KERNELS", "avx513")
    else:
        broken.write_bytes(content)
        monkeypatch.setattr("domino_onnx_kernels.library_path", lambda: str(broken))
    with ChildSession(pruned, threads=1) as opened:
        assert opened.output_names == ("y",)
    assert session(pruned).get_outputs()[0].name == "y"
    assert domino("benchmark", pruned, "--seconds", "0.05", "--profile").code == 0
    for load in (session, Session):
        with pytest.raises(DependencyError, match=said):
            load(fast)
    ran = domino("deploy", pruned, "-o", none)
    assert (ran.code, said in " ".join(ran.err.split())) == (1, True)
    if content is None:  # a child finds the library by itself
        assert said in " ".join(domino("benchmark", fast, "--seconds", "0.05").err.split())


def test_benchmark_compares_with_the_first(domino: Run, pruned: Path) -> None:
    ran = domino("benchmark", pruned, pruned, "--seconds", "0.05", "--threads", "1", "--threads", "2", "--json")
    assert ran.code == 0, ran.err
    rows = json.loads(ran.out)["rows"]
    assert [(row["threads"], row["batch"]) for row in rows] == [(1, 256), (1, 256), (2, 256), (2, 256)]
    assert [rows[0]["speedup"], rows[2]["speedup"]] == [1, 1]
    assert all(0 < row["low"] <= row["median"] <= row["high"] and row["load"] > 0 for row in rows)


def test_benchmark_tells_what_operators_take(domino: Run, pruned: Path, tmp_path: Path) -> None:
    model, out = onnx.load(pruned), tmp_path / "out.onnx"
    changed, _, _ = deployed(model, {})
    out.write_bytes(changed.SerializeToString())
    ran = domino("benchmark", pruned, out, "--seconds", "0.05", "--profile", "--json")
    assert ran.code == 0, ran.err
    dense, sparse_one = (row["profile"] for row in json.loads(ran.out)["rows"])
    assert [(each["op"], each["nodes"]) for each in sparse_one["operators"]] == [("NmMatMul", 1)]
    assert {each["op"] for each in dense["operators"]} == {"MatMul", "Relu"}
    assert all(each["seconds"] > 0 for each in (*dense["operators"], *sparse_one["operators"]))
    assert dense["memory"] is None or dense["memory"] > 0
    assert "NmMatMul" in domino("benchmark", out, "--seconds", "0.05", "--profile").out


def test_a_model_with_other_inputs_is_refused(domino: Run, pruned: Path, make_model: Make, tmp_path: Path) -> None:
    other = make_model([helper.make_node("Relu", ["z"], ["y"])], {"z": (1, 4)}, {"y": (1, 4)}, {})
    (tmp_path / "other.onnx").write_bytes(other.SerializeToString())
    ran = domino("benchmark", pruned, tmp_path / "other.onnx", "--seconds", "0.05")
    assert ran.code == 1
    assert "must take the inputs of" in ran.err


def test_int8_convolutions_are_calibrated_on_the_data(domino: Run, make_model: Make, tmp_path: Path) -> None:
    """With data both kinds of int8 are timed; without, convolutions stay in float32, and that is said."""
    model = make_model(
        [helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]), helper.make_node("Relu", ["c"], ["y"])],
        {"x": ("N", 64, 14, 14)},
        {"y": ("N", 64, 14, 14)},
        {"w": sparse((64, 64, 3, 3), 1)},
    )
    path, data, out = tmp_path / "conv.onnx", tmp_path / "data.npz", tmp_path / "out.onnx"
    path.write_bytes(model.SerializeToString())
    np.savez(data, x=normal(8, 64, 14, 14))
    ran = domino("deploy", path, "-o", out, "--precision", "int8", "--data", data, "--threads", "1", "--json")
    assert ran.code == 0, ran.err
    said = json.loads(ran.out)
    assert set(said["layers"][0]["seconds"]) == {"dense", "float32", "int8"}
    assert said["largest_error"] < 0.05
    assert evaluate(path, out, data).comparison.finite
    ran = domino("deploy", path, "-o", out, "--precision", "int8", "--threads", "1", "--json", "--force")
    assert set(json.loads(ran.out)["layers"][0]["seconds"]) == {"dense", "float32"}
    assert "convolutions stay in float32" in ran.err


def test_compress_writes_a_second_file_too(domino: Run, wide: Path, tmp_path: Path) -> None:
    """Both files are there, the normal one as without the option, and the report tells of the second."""
    for name, more in (("alone", ()), ("both", ("--deploy", "cpu"))):
        ran = domino("compress", wide, "--sparsity", "0.8", "-o", tmp_path / f"{name}.onnx", *more, "--json")
        assert ran.code == 0, ran.err
    assert (tmp_path / "both.onnx").read_bytes() == (tmp_path / "alone.onnx").read_bytes()
    told = json.loads(ran.out)["deployed"]
    assert told["output"] == str(tmp_path / "both.cpu.onnx")
    assert not (tmp_path / "alone.cpu.onnx").exists()
    x = normal(2, 256)
    one, two = (session(tmp_path / f"both{end}.onnx").run(None, {"x": x})[0] for end in ("", ".cpu"))
    np.testing.assert_allclose(one, two, rtol=0, atol=1e-4 * np.abs(one).max())


def test_a_second_file_that_exists_is_refused_before_the_work(domino: Run, wide: Path, tmp_path: Path) -> None:
    (tmp_path / "out.cpu.onnx").write_bytes(b"mine")
    ran = domino("compress", wide, "--sparsity", "0.8", "-o", tmp_path / "out.onnx", "--deploy", "cpu")
    assert (ran.code, "out.cpu.onnx" in ran.err) == (1, True)
    assert not (tmp_path / "out.onnx").exists()
    assert (tmp_path / "out.cpu.onnx").read_bytes() == b"mine"


def test_a_second_file_that_fails_costs_a_warning(
    domino: Run, wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The normal file is written by then, and its report must not be lost."""

    def fail(*_: object, **__: object) -> None:
        raise ModelError("too large to be timed")

    monkeypatch.setattr("domino_onnx.stages.deploying.second_file.deployed", fail)
    out = tmp_path / "out.onnx"
    ran = domino("compress", wide, "--sparsity", "0.8", "-o", out, "--deploy", "cpu", "--json")
    assert ran.code == 0
    assert "out.cpu.onnx was not written: too large to be timed" in ran.err
    assert (json.loads(ran.out)["deployed"], out.exists()) == (None, True)


def test_what_is_added_to_each_sample_of_a_batch_is_no_residual(
    domino: Run, make_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Computed positions are of the layer's shape where the batch is 1, and broadcast where it is not."""
    monkeypatch.setattr("domino_onnx.stages.deploying.choice._best", lambda choices, *_, **__: len(choices) - 1)
    model = make_model(
        [
            helper.make_node("MatMul", ["x", "w"], ["m"]),
            helper.make_node("Sin", ["place"], ["p"]),
            helper.make_node("Add", ["m", "p"], ["y"]),
        ],
        {"x": ("N", "T", 512), "place": (1, "T", 512)},
        {"y": ("N", "T", 512)},
        {"w": sparse((512, 512), 0) * (np.arange(512) % 4 == 0)},
    )
    path, out = tmp_path / "model.onnx", tmp_path / "out.onnx"
    path.write_bytes(model.SerializeToString())
    sizes = ("--input-shape", "x:1,256,512", "--input-shape", "place:1,256,512")
    ran = domino("deploy", path, "-o", out, *sizes, "--precision", "float32", "--threads", "1", "--json")
    assert ran.code == 0, ran.err
    assert "NmMatMul" in {node.op_type for node in onnx.load(out).graph.node}
    inputs = {"x": normal(3, 5, 512), "place": normal(1, 5, 512)}
    wanted, found = (session(file).run(None, inputs)[0] for file in (path, out))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_half_precision_is_told_to_gain_nothing(domino: Run, pruned: Path, tmp_path: Path) -> None:
    """Before the work, and of the file that was written."""
    words = ("--sparsity", "0.9", "--data", "none", "--no-finetune", "--threads", "1", "--json")
    ran = domino("compress", pruned, *words, "--deploy", "cpu", "--precision", "fp16")
    assert ran.code == 0, ran.err
    said = json.loads(ran.out)
    assert said["warnings"][0].startswith("--deploy cpu has no effect with --precision fp16")
    why = "its weight is stored as float16, not as float32"
    assert said["warnings"][-1] == f"no layer can be replaced ({why}): the file that was written is the dense one"
    assert said["deployed"]["int8"] == "8 bits: not tried, since no layer in floats can be replaced"
    second = onnx.load(said["deployed"]["output"])
    assert {node.domain for node in second.graph.node} == {""}


def test_a_model_without_layers_is_told_of(domino: Run, make_model: Make, tmp_path: Path) -> None:
    model = make_model([helper.make_node("Relu", ["x"], ["y"])], {"x": (1, 4)}, {"y": (1, 4)}, {})
    (tmp_path / "relu.onnx").write_bytes(model.SerializeToString())
    ran = domino("deploy", tmp_path / "relu.onnx", "--threads", "1", "--json")
    assert ran.code == 0, ran.err
    told = "the model has no layer to replace: the file that was written is the dense one"
    assert json.loads(ran.out)["warnings"] == [told]


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A model of samples `x` and a table `s`; data.npz has forty samples and the table."""
    text = """<ir_version: 8, opset_import: ["" : 17]> m (float[n, 16] x, float[16, 4] s) => (float[n, 4] y) {
        y = MatMul (x, s) }"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "two.onnx")
    rng = np.random.default_rng(0)
    x, s = (rng.standard_normal(shape).astype(np.float32) for shape in ((40, 16), (16, 4)))
    np.savez(tmp_path / "data.npz", x=x, s=s)
    return tmp_path / "two.onnx"


@pytest.mark.parametrize("command", ["benchmark", "deploy"])
def test_timing_takes_what_it_advises(command: str, two: Path, domino: Run) -> None:
    """Of an input that all samples share, and whose first axis may be their number or not."""
    words = [two, "--data", two.with_name("data.npz"), "--json"]
    words += ["--seconds", "0.01", "--batch-size", "4"] if command == "benchmark" else ["--threads", "1"]
    ran = domino(command, *words)
    assert ran.code == 1
    assert "if all samples share it, say --batch-axis s=none" in ran.err
    ran = domino(command, *words, "--batch-axis", "s=none")
    assert ran.code == 0, ran.err
    if command == "benchmark":
        assert [row["batch"] for row in json.loads(ran.out)["rows"]] == [4]
    two.with_name("two.cpu.onnx").unlink(missing_ok=True)
    ran = domino(command, two, *words[3:], "--batch-axis", "s=none")
    assert ran.code == 0, ran.err
    assert ("--batch-axis has no effect without --data" in ran.err) == (command == "deploy")
    two.with_name("two.cpu.onnx").unlink(missing_ok=True)
    ran = domino(command, two, *words[3:], "--batch-axis", "t=none")
    assert ran.code == 1
    assert "--batch-axis names 't'" in ran.err


def test_functions_take_what_they_advise(two: Path) -> None:
    with np.load(two.with_name("data.npz")) as arrays:
        data = dict(arrays)
    with pytest.raises(DataError, match=re.escape('if all samples share it, say batch_axes={"s": "none"}')):
        domino_onnx.deploy(two, data=data)
    axes: dict[str, Literal["none"]] = {"s": "none"}
    with pytest.warns(DominoWarning, match="no layer can be replaced"):
        domino_onnx.deploy(two, data=data, batch_axes=axes, threads=1)
    with pytest.warns(DominoWarning, match="has 40 samples in place of 64, as the model, data or input_shapes says"):
        timed = domino_onnx.benchmark(two, data=data, batch_axes=axes, batch_sizes=[4, 64], seconds=0.01)
    assert [row.batch for row in timed.rows] == [4, 40]


def test_a_newer_ir_version_is_told(domino: Run, pruned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domino_onnx.stages.deploying.choice._best", lambda choices, *_, **__: len(choices) - 1)
    model, out = onnx.load(pruned), tmp_path / "out.onnx"
    model.ir_version = 3
    model.graph.input.append(helper.make_tensor_value_info("w", 1, (512, 512)))
    model.opset_import[0].version = 8
    pruned.write_bytes(model.SerializeToString())
    ran = domino("deploy", pruned, "-o", out, "--threads", "1", "--json")
    assert ran.code == 0, ran.err
    assert any("written as IR version 4" in each for each in json.loads(ran.out)["warnings"])
    onnx.checker.check_model(model)
    assert [value.name for value in onnx.load(out).graph.input] == ["x"]
