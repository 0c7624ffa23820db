"""Weights in other forms: ONNX Runtime computes the same bits from them, and dense files come back byte for byte."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from domino_onnx.errors import OutputError
from domino_onnx.graph import read_model, stored_tensors
from domino_onnx.pipeline import convert
from domino_onnx.storage import STORAGE_KEY, Form

Make = Callable[..., onnx.ModelProto]
Array = np.ndarray[Any, Any]
node = helper.make_node
DTYPES = {
    "float32": np.float32,
    "float16": np.float16,
    "float64": np.float64,
    "int8": np.int8,
    "uint8": np.uint8,
    "bfloat16": ml_dtypes.bfloat16,
}


def sparse_array(shape: tuple[int, ...], n: int, m: int, axis: int, dtype: Any = np.float32, seed: int = 0) -> Array:
    """Random values, N of every M along an axis; one of them is -0.0 where the type has it."""
    generator = np.random.default_rng(seed)
    moved = [size for position, size in enumerate(shape) if position != axis] + [shape[axis]]
    groups = generator.integers(1, 100, moved).astype(dtype).reshape(-1, m)
    order = generator.random(groups.shape).argsort(axis=1)
    np.put_along_axis(groups, order[:, n:], 0, axis=1)
    groups[0, order[0, 0]] = -0.0
    return np.ascontiguousarray(np.moveaxis(groups.reshape(moved), -1, axis))


def showing(arrays: dict[str, Array], opset: int, ir: int, **more: Any) -> onnx.ModelProto:
    """A model whose outputs are its weights, through a node each; bfloat16 ones as float32, which loses nothing."""
    nodes, outputs = [], []
    for name, array in arrays.items():
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        last = name
        if kind == TensorProto.BFLOAT16:
            nodes.append(node("Cast", [name], [f"{name}_cast"], to=TensorProto.FLOAT))
            kind, last = TensorProto.FLOAT, f"{name}_cast"
        nodes.append(node("Transpose", [last], [f"{name}_out"]))
        outputs.append(helper.make_tensor_value_info(f"{name}_out", kind, array.shape[::-1]))
    stored = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "g", [], outputs, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir, **more)


def outputs(path: Path, *, optimised: bool) -> list[Array]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return list(ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(None, {}))


def kinds(path: Path, output: Path, form: Form) -> dict[str, str]:
    return {weight.name: weight.kind for weight in convert(path, output, form, force=True).weight_forms}


def test_every_opset_and_type_gives_the_same_bits(tmp_path: Path) -> None:
    """Those that the installed checker and ONNX Runtime both know."""
    tried = 0
    for opset, (name, dtype) in itertools.product(range(11, 25), DTYPES.items()):
        if name == "bfloat16" and opset < 13:
            continue  # no operator at all takes it
        arrays = {
            "along_last": sparse_array((64, 32), 2, 16, 1, dtype),
            "along_first": sparse_array((32, 8, 3, 3), 1, 4, 0, dtype),
            "bits": sparse_array((64, 32), 8, 16, 1, dtype),
        }
        source, packed = tmp_path / "dense.onnx", tmp_path / "packed.onnx"
        source.write_bytes(showing(arrays, opset, 4 if opset < 13 else 8).SerializeToString())
        found = kinds(source, packed, "packed")
        onnx.checker.check_model(onnx.load(packed), full_check=True)
        written = onnx.load(packed)
        assert (written.ir_version, written.opset_import[0].version) == (4 if opset < 13 else 8, opset)
        for optimised in (True, False):
            for array, output in zip(arrays.values(), outputs(packed, optimised=optimised), strict=True):
                wanted = array.astype(np.float32) if name == "bfloat16" else array
                assert output.T.tobytes("C") == np.ascontiguousarray(wanted).tobytes(), (opset, name)
        assert found["along_last"] == "positions" or name.endswith("int8")
        tried += 1
    assert tried == 14 * 6 - 2


@pytest.mark.parametrize(("n", "m"), [(1, 4), (2, 4), (2, 16), (4, 16), (8, 16), (1, 32), (1, 2), (3, 6), (1, 17)])
def test_all_of_it_is_folded_while_the_session_is_made(n: int, m: int, tmp_path: Path) -> None:
    source, packed, folded = (tmp_path / f"{name}.onnx" for name in ("dense", "packed", "folded"))
    array = sparse_array((8, 6 * m, 8, 4), n, m, 1)
    source.write_bytes(showing({"w": array}, 17, 8).SerializeToString())
    assert kinds(source, packed, "packed") != {"w": "dense"}
    assert packed.stat().st_size < source.stat().st_size
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folded)
    options.log_severity_level = 4
    ort.InferenceSession(str(packed), options, providers=["CPUExecutionProvider"])
    assert not {each.op_type for each in onnx.load(folded).graph.node} & {"Gather", "ScatterElements", "CumSum"}


def test_the_operators_are_those_that_the_format_lists(root: Path, tmp_path: Path) -> None:
    page = (root / "docs" / "format.md").read_text(encoding="utf-8")
    for title, array in (
        ("by positions", sparse_array((64, 8, 8), 2, 16, 0)),
        ("by a bitmask", sparse_array((5, 91 * 16, 3), 8, 16, 1)[:, :-3]),  # of a size that 8 doesn't divide
    ):
        source, packed = tmp_path / "dense.onnx", tmp_path / "packed.onnx"
        source.write_bytes(showing({"w": array}, 17, 8).SerializeToString())
        assert kinds(source, packed, "packed") == {"w": title.split()[-1]}
        rows = page.split(f"| {title} | |\n|---|---|\n")[1].split("\n\n")[0].splitlines()
        listed = [name for row in rows for name in re.findall(r"`([A-Z]\w+)`", row.split("|")[1])]
        assert [each.op_type for each in onnx.load(packed).graph.node[:-1]] == listed


def test_an_old_opset_is_told(tmp_path: Path) -> None:
    array = sparse_array((64, 64), 2, 16, 1)
    for opset, ir, dtype, says in (
        (10, 4, np.float32, "opset 10"),
        (12, 7, ml_dtypes.bfloat16, "opset 12"),
        (17, 8, np.int32, "none of a fitting type"),
    ):
        path = tmp_path / "model.onnx"
        path.write_bytes(showing({"w": array.astype(dtype)}, opset, ir).SerializeToString())
        result = convert(path, tmp_path / "out.onnx", "packed", force=True)
        assert all(says in (weight.reason or "") for weight in result.weight_forms)
        assert says in result.warnings[0]
        assert (tmp_path / "out.onnx").read_bytes() == path.read_bytes()


# From one form to the other, and back


@st.composite
def models(draw: st.DrawFn) -> onnx.ModelProto:
    """Weights in initializers and Constant nodes, in raw data and typed fields, among other things of the graph."""
    generator = np.random.default_rng(draw(st.integers(0, 99)))
    count = draw(st.integers(1, 4))
    nodes, stored, results = [], [], []
    for index in range(count):
        dtype = draw(st.sampled_from([np.float32, np.float16, np.float64, np.int8]))
        n, m = draw(st.sampled_from([(1, 16), (2, 4), (2, 16), (8, 16), (16, 16), (3, 6)]))
        axis = draw(st.integers(0, 2))
        shape = tuple(m * 4 if position == axis else 5 for position in range(3))
        array = sparse_array(shape, n, m, axis, dtype, int(generator.integers(99)))
        name = draw(st.sampled_from(["w", "domino_onnx.0.values", "ä b", "layer/weight"])) + str(index)
        tensor = numpy_helper.from_array(array, name)
        if draw(st.booleans()):
            values = array.reshape(-1)
            values = values.view(np.uint16) if array.dtype == np.float16 else values
            tensor = helper.make_tensor(name, tensor.data_type, shape, values)
        if draw(st.booleans()):
            tensor.doc_string = "remarks stay"
        nodes.append(node("Neg", [f"before{index - 1}" if index else "x"], [f"before{index}"], name=f"n{index}"))
        if draw(st.booleans()):
            nodes.append(node("Constant", [], [name], name=f"c{index}", doc_string="so", value=tensor))
        else:
            stored.append(tensor)
        if draw(st.booleans()):
            stored.append(numpy_helper.from_array(np.arange(3), f"other{index}"))
        nodes.append(node("Transpose", [name], [f"y{index}"]))
        results.append(helper.make_tensor_value_info(f"y{index}", tensor.data_type, shape[::-1]))
    info = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    last = helper.make_tensor_value_info(f"before{count - 1}", TensorProto.FLOAT, [1])
    graph = helper.make_graph(nodes, "g", [info], [*results, last], stored, value_info=results[:1])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", draw(st.sampled_from([11, 13, 17, 21])))])
    model.ir_version = draw(st.sampled_from([4, 8, 10]))
    helper.set_model_props(model, {"author": "somebody", "domino_onnx.manifest": "{}"})
    return model


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(models(), st.lists(st.sampled_from(["packed", "dense"]), min_size=1, max_size=4))
def test_a_dense_file_comes_back_byte_for_byte(tmp_path: Path, model: onnx.ModelProto, way: list[Form]) -> None:
    source = tmp_path / "0.onnx"
    source.write_bytes(model.SerializeToString())
    wanted = {key: numpy_helper.to_array(tensor).tobytes() for key, tensor in stored_tensors(model).items()}
    shown = ort.InferenceSession(str(source)).run(None, {"x": np.ones(1, np.float32)})
    last = source
    for step, form in enumerate([*way, "dense"]):
        output = tmp_path / f"{step + 1}.onnx"
        convert(last, output, form, force=True)
        file = read_model(output)
        assert {key: file.array(t).tobytes() for key, t in stored_tensors(file.proto).items()} == wanted
        for ours, theirs in zip(
            ort.InferenceSession(str(output)).run(None, {"x": np.ones(1, np.float32)}), shown, strict=True
        ):
            assert ours.tobytes() == theirs.tobytes()
        onnx.checker.check_model(onnx.load(output), full_check=True)
        last = output
    assert last.read_bytes() == source.read_bytes()


def test_all_nodes_and_names_of_the_model_stay(tmp_path: Path) -> None:
    """What is added stands before the rest, or right behind the Constant node that it belongs to."""
    constant = numpy_helper.from_array(sparse_array((64, 64), 2, 16, 0, seed=1))
    model = showing({"w": sparse_array((64, 64), 2, 16, 1)}, 17, 8)
    nodes = [*model.graph.node, node("Constant", [], ["k"], value=constant), node("Identity", ["k"], ["z"])]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.output.add().CopyFrom(helper.make_tensor_value_info("z", 1, (64, 64)))
    source, packed = tmp_path / "dense.onnx", tmp_path / "packed.onnx"
    source.write_bytes(model.SerializeToString())
    convert(source, packed, "packed")
    written = onnx.load(packed).graph.node
    old = [each for each in written if each in nodes]
    assert old == [nodes[0], nodes[2]]
    assert written[-1] == nodes[2]
    assert [each.output[0] for each in written].index("w") < [each.output[0] for each in written].index("w_out")
    assert [each.op_type for each in written].count("Constant") == 1


def test_what_may_be_replaced_or_is_nested_stays_dense(make_model: Make, tmp_path: Path) -> None:
    array = sparse_array((64, 64), 2, 16, 1)
    branch = helper.make_graph(
        [node("MatMul", ["x", "inner"], ["b"])],
        "branch",
        [],
        [helper.make_tensor_value_info("b", 1, None)],
        [numpy_helper.from_array(array, "inner")],
    )
    model = make_model(
        [
            node("MatMul", ["x", "given"], ["h"]),
            node("MatMul", ["h", "plain"], ["x2"]),
            node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch),
        ],
        {"x": (1, 64), "given": (64, 64)},
        {"x2": (1, 64)},
        {"given": array, "plain": array, "yes": np.array(True)},
    )
    source = tmp_path / "model.onnx"
    source.write_bytes(model.SerializeToString())
    weights = convert(source, tmp_path / "out.onnx", "packed").weight_forms
    told = [(weight.name, weight.kind, (weight.reason or "")[:9]) for weight in weights]
    inner = ("inner", "dense", "is in a s")
    assert told == [("given", "dense", "a graph i"), ("plain", "positions", ""), inner, inner]
    file = read_model(tmp_path / "out.onnx")
    assert {str(key) for key in stored_tensors(file.proto)} == {str(key) for key in stored_tensors(model)}


def test_names_of_ours_that_are_taken_are_avoided(tmp_path: Path) -> None:
    names = ("domino_onnx.0.values", "domino_onnx.0.codes", "domino_onnx_.bits")
    source, packed = tmp_path / "dense.onnx", tmp_path / "packed.onnx"
    arrays = {name: sparse_array((64, 64), 2, 16, 1, seed=seed) for seed, name in enumerate(names)}
    source.write_bytes(showing(arrays, 17, 8).SerializeToString())
    assert set(kinds(source, packed, "packed").values()) == {"positions"}
    record = next(entry.value for entry in onnx.load(packed).metadata_props if entry.key == STORAGE_KEY)
    assert json.loads(record)["prefix"] == "domino_onnx__."
    for array, output in zip(arrays.values(), outputs(packed, optimised=True), strict=True):
        np.testing.assert_array_equal(output.T, array)


def test_a_weight_of_zeros_alone_is_stored_too(tmp_path: Path) -> None:
    source, output, back = (tmp_path / f"{name}.onnx" for name in ("dense", "other", "back"))
    source.write_bytes(showing({"w": np.zeros((64, 64), np.float32)}, 17, 8).SerializeToString())
    assert kinds(source, output, "packed")["w"] != "dense"
    assert not outputs(output, optimised=False)[0].any()
    convert(output, back, "dense")
    assert back.read_bytes() == source.read_bytes()


# Sparse tensors are read


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES.keys())
@pytest.mark.parametrize("form", ["dense", "packed"])
def test_sparse_tensors_are_read_and_written_dense_or_packed(
    dtype: Any, form: Form, make_sparse: Callable[[onnx.ModelProto], onnx.ModelProto], tmp_path: Path
) -> None:
    arrays = {"w": sparse_array((64, 32), 2, 16, 1, dtype), "v": sparse_array((32, 64), 1, 4, 0, dtype)}
    dense = showing(arrays, 21, 8)
    constant = node("Constant", [], ["v"], value=dense.graph.initializer.pop())
    dense.graph.node.insert(0, constant)
    source, output = tmp_path / "sparse.onnx", tmp_path / "out.onnx"
    source.write_bytes(make_sparse(dense).SerializeToString())
    file = read_model(source)
    assert file.form == "sparse"
    assert {key.name: file.array(each).tobytes() for key, each in stored_tensors(file.proto).items()} == {
        name: array.tobytes() for name, array in arrays.items()
    }
    result = convert(source, output, form)
    assert (result.before, result.form) == ("sparse", form)
    written = onnx.load(output)
    assert not written.graph.sparse_initializer
    onnx.checker.check_model(written, full_check=True)
    for array, shown in zip(arrays.values(), outputs(output, optimised=False), strict=True):
        wanted = array.astype(np.float32) if dtype == ml_dtypes.bfloat16 else array
        assert shown.T.tobytes("C") == np.ascontiguousarray(wanted).tobytes()
    if form == "dense":
        assert output.read_bytes() == dense.SerializeToString()


def test_sparse_tensors_may_have_an_index_for_each_axis(tmp_path: Path) -> None:
    array = sparse_array((64, 64), 1, 16, 1)
    places = np.stack(np.nonzero(array), axis=1)
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(array[array != 0], "w"), numpy_helper.from_array(places, "i"), array.shape
    )
    model = showing({"w": array}, 17, 8)
    del model.graph.initializer[:]
    model.graph.sparse_initializer.append(sparse)
    source = tmp_path / "sparse.onnx"
    source.write_bytes(model.SerializeToString())
    file = read_model(source)
    np.testing.assert_array_equal(file.array(file.proto.graph.initializer[0]), np.where(array != 0, array, 0))


def test_sparse_tensors_of_other_types_stay(make_sparse: Callable[..., onnx.ModelProto], tmp_path: Path) -> None:
    source, output = tmp_path / "sparse.onnx", tmp_path / "out.onnx"
    model = make_sparse(showing({"w": sparse_array((64, 32), 2, 16, 1, np.int64)}, 17, 8))
    source.write_bytes(model.SerializeToString())
    assert convert(source, output, "dense").before == "dense"
    assert output.read_bytes() == source.read_bytes()


def test_external_values_of_sparse_tensors_stay_external(
    make_sparse: Callable[[onnx.ModelProto], onnx.ModelProto], tmp_path: Path
) -> None:
    array = sparse_array((64, 64), 2, 16, 1)
    model = make_sparse(showing({"w": array}, 17, 8))
    (tmp_path / "in").mkdir()
    values = model.graph.sparse_initializer[0].values
    (tmp_path / "in" / "w.data").write_bytes(values.raw_data)
    values.ClearField("raw_data")
    values.data_location = TensorProto.EXTERNAL
    values.external_data.add(key="location", value="w.data")
    (tmp_path / "in" / "sparse.onnx").write_bytes(model.SerializeToString())
    convert(tmp_path / "in" / "sparse.onnx", tmp_path / "out.onnx", "dense")
    (data,) = tmp_path.glob("out.onnx.*.data")
    assert data.read_bytes() == array.tobytes()
    np.testing.assert_array_equal(outputs(tmp_path / "out.onnx", optimised=False)[0].T, array)


# External data


def external(folder: Path) -> tuple[Path, dict[str, Array]]:
    """Three weights outside, one of them without zeros, and a small tensor inside."""
    arrays = {
        "a": sparse_array((64, 64), 2, 16, 1),
        "b": np.random.default_rng(1).standard_normal((64, 64)).astype(np.float32),
        "c": sparse_array((64, 64), 8, 16, 0, np.float16),
    }
    model = showing({**arrays, "small": np.ones((2, 2), np.float32)}, 17, 8)
    folder.mkdir()
    onnx.save(model, folder / "dense.onnx", save_as_external_data=True, location="dense.data", size_threshold=1000)
    return folder / "dense.onnx", {**arrays, "small": np.ones((2, 2), np.float32)}


def test_external_data_stay_external_in_every_form(tmp_path: Path) -> None:
    source, arrays = external(tmp_path / "in")
    last, folder = source, tmp_path / "in"
    for step, form in enumerate(("packed", "dense", "packed", "packed", "dense", "dense")):
        folder = tmp_path / str(step)
        folder.mkdir()
        convert(last, folder / "model.onnx", form)
        assert len(list(folder.iterdir())) == 2
        assert (folder / "model.onnx").stat().st_size < 10_000
        for optimised in (True, False):
            for array, output in zip(arrays.values(), outputs(folder / "model.onnx", optimised=optimised), strict=True):
                assert np.ascontiguousarray(output.T).tobytes() == array.tobytes()
        file = read_model(folder / "model.onnx")
        found = {key.name: file.array(tensor).tobytes() for key, tensor in stored_tensors(file.proto).items()}
        assert found == {name: array.tobytes() for name, array in arrays.items()}
        last = folder / "model.onnx"
    external_now = {t.name for t in onnx.load(last, load_external_data=False).graph.initializer if t.external_data}
    assert external_now == {"a", "b", "c"}
    np.testing.assert_array_equal(numpy_helper.to_array(onnx.load(last).graph.initializer[0]), arrays["a"])


def test_the_source_of_external_data_is_never_overwritten(tmp_path: Path) -> None:
    source, _ = external(tmp_path / "in")
    packed = tmp_path / "in" / "packed.onnx"
    convert(source, packed, "packed")
    data = next(path for path in packed.parent.iterdir() if path.name.startswith("packed.onnx."))
    with pytest.raises(OutputError, match="input itself"):
        convert(packed, data, "dense", force=True)
    with pytest.raises(OutputError, match="input itself"):
        convert(packed, packed, "dense", force=True)


def test_replacing_an_output_leaves_no_orphan_data(tmp_path: Path) -> None:
    source, _ = external(tmp_path / "in")
    output = tmp_path / "out.onnx"
    for form in ("packed", "dense"):
        convert(source, output, form, force=True)
        assert len(list(tmp_path.glob("out.onnx*"))) == 2


@pytest.mark.parametrize("name", ["out.onnx.bak", "out.ONNX", "backup", "old.model"])
def test_a_copy_of_a_replaced_output_keeps_its_data(name: str, tmp_path: Path) -> None:
    source, arrays = external(tmp_path / "in")
    output, copy = tmp_path / "out.onnx", tmp_path / name
    convert(source, output, "packed")
    (data,) = tmp_path.glob("out.onnx.*.data")
    shutil.copy(output, copy)
    os.mkfifo(tmp_path / "pipe")  # which would wait for a writer
    convert(source, output, "dense", force=True)
    assert data.exists()
    back = tmp_path / "back.onnx"
    convert(copy, back, "dense")
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(back).graph.initializer}
    assert all(np.array_equal(stored[key], array) for key, array in arrays.items())
    copy.unlink()
    convert(source, output, "packed", force=True)
    convert(source, output, "dense", force=True)
    assert not data.exists()  # nothing needs it any more


def test_a_failing_disk_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever flush or renaming fails: the old output and its data stay, and nothing else."""
    source, _ = external(tmp_path / "in")
    output = tmp_path / "out.onnx"
    convert(source, output, "dense")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    failed = 0
    for name, owner in (("fsync", os), ("replace", os), ("replace", Path)):
        for call in range(4):
            with monkeypatch.context() as patch:
                patch.setattr(owner, name, failing(getattr(owner, name), call))
                try:
                    convert(source, output, "packed", force=True)
                except OutputError:
                    failed += 1
                    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
            convert(source, output, "dense", force=True)
            assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert failed >= 4


def failing(function: Callable[..., Any], at: int) -> Callable[..., Any]:
    calls = itertools.count()

    def call(*arguments: Any, **named: Any) -> Any:
        if next(calls) == at:
            raise OSError(28, "no space left on device")
        return function(*arguments, **named)

    return call
