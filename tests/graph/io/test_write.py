"""Writing changes the planned weights and our metadata, and nothing else."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from domino_onnx.graph import (
    read_manifest,
    stored_tensors,
)
from domino_onnx.scheme import WeightKey

from .writing import Make, node, prune, values


def blanked(model: onnx.ModelProto) -> bytes:
    """The bytes of a model without the data of float tensors of two axes or more and without our metadata."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    drop_ours(copy.metadata_props)
    for tensor in copy.graph.initializer:
        blank(tensor)
    blank_nodes(copy.graph.node)
    for function in copy.functions:
        blank_nodes(function.node)
    return copy.SerializeToString(deterministic=True)


def blank(tensor: TensorProto) -> None:
    if len(tensor.dims) < 2:
        return
    if tensor.HasField("raw_data"):
        tensor.raw_data = bytes(len(tensor.raw_data))
    for field in ("float_data", "int32_data", "double_data"):
        data = getattr(tensor, field)
        data[:] = [0] * len(data)


def blank_nodes(nodes: Any) -> None:
    for inner in nodes:
        drop_ours(inner.metadata_props)
        for attribute in inner.attribute:
            if attribute.HasField("t"):
                blank(attribute.t)
            for tensor in attribute.g.initializer:
                blank(tensor)
            blank_nodes(attribute.g.node)


def drop_ours(field: Any) -> None:
    kept = [entry for entry in field if not entry.key.startswith("domino_onnx.")]
    del field[:]
    field.extend(kept)


def rich_model(make_model: Make, ir: int = 10) -> onnx.ModelProto:
    """A model that uses much of the format: metadata, documentation, subgraph, function, annotations, training."""
    branch = helper.make_graph(
        [node("MatMul", ["a", "sub"], ["o"])],
        "then",
        [],
        [helper.make_tensor_value_info("o", 1, None)],
        [numpy_helper.from_array(values(16, 16, seed=4), "sub")],
    )
    other = helper.make_graph(
        [node("Identity", ["a"], ["p"])], "else", [], [helper.make_tensor_value_info("p", 1, None)]
    )
    nodes = [
        node("Constant", [], ["k"], value=numpy_helper.from_array(values(16, 16, seed=2), "inner name")),
        node("MatMul", ["x", "k"], ["h"], name="first", doc_string="documented"),
        node("MatMul", ["h", "w"], ["a"], name="second"),
        node("Block", ["a"], ["b"], domain="local"),
        node("If", ["c"], ["d"], then_branch=branch, else_branch=other),
        node("Add", ["b", "d"], ["y"]),
    ]
    weight = numpy_helper.from_array(values(16, 16, seed=3), "w")
    weight.doc_string = "a weight"
    model = make_model(
        nodes,
        {"x": ["batch", 16]},
        {"y": ["batch", 16]},
        {"w": weight, "other": values(3, 3), "flag": np.array([True])},
        ir=ir,
        domains={"local": 1},
        doc_string="graph doc",
    )
    constant = node("Constant", [], ["fk"], value=numpy_helper.from_array(values(16, 16, seed=5), ""))
    model.functions.append(
        helper.make_function(
            "local",
            "Block",
            ["v"],
            ["r"],
            [constant, node("MatMul", ["v", "fk"], ["r"])],
            [helper.make_opsetid("", 17)],
        )
    )
    model.graph.input.append(helper.make_tensor_value_info("c", TensorProto.BOOL, []))
    for key in ("author", "author", "stamp"):
        model.metadata_props.add(key=key, value=f"value of {key}")
    annotation = model.graph.quantization_annotation.add(tensor_name="w")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="other")
    training = model.training_info.add()
    training.algorithm.name = "algorithm"
    training.algorithm.node.append(node("Identity", ["w"], ["new_w"]))
    training.algorithm.output.append(helper.make_tensor_value_info("new_w", 1, [16, 16]))
    training.update_binding.add(key="w", value="new_w")
    return model


@pytest.mark.parametrize("ir", [8, 10])
def test_nothing_but_weights_and_our_metadata_differs(ir: int, make_model: Make, save: Any, tmp_path: Path) -> None:
    source = save(rich_model(make_model, ir), check=False)
    before = source.read_bytes()
    output = tmp_path / "out.onnx"
    weights = prune(source, output)
    assert source.read_bytes() == before
    old, new = onnx.load(source), onnx.load(output)
    assert blanked(new) == blanked(old)
    assert len(weights) == 4
    assert {key.name for key in weights} == {"k", "w", "fk", "sub"}
    tensors = stored_tensors(new)
    for key, expected in weights.items():
        got = numpy_helper.to_array(tensors[key])
        np.testing.assert_array_equal(got, expected)
        assert np.count_nonzero(got) == 128
    np.testing.assert_array_equal(
        numpy_helper.to_array(next(t for t in new.graph.initializer if t.name == "other")), values(3, 3)
    )


def test_pruned_weights_are_the_dense_ones_where_they_are_kept(make_model: Make, save: Any, tmp_path: Path) -> None:
    dense = values(16, 8)
    source = save(make_model([node("MatMul", ["x", "w"], ["y"])], {"x": (1, 16)}, {"y": None}, {"w": dense}))
    prune(source, tmp_path / "out.onnx")
    got = numpy_helper.to_array(onnx.load(tmp_path / "out.onnx").graph.initializer[0])
    for column in range(8):
        for start in range(0, 16, 4):
            group = dense[start : start + 4, column]
            smallest = sorted(range(4), key=lambda i: abs(group[i]))[:2]
            expected = [0.0 if i in smallest else group[i] for i in range(4)]
            assert got[start : start + 4, column].tolist() == expected


def test_unknown_fields_of_newer_formats_survive(make_model: Make, save: Any, tmp_path: Path) -> None:
    model = make_model([node("MatMul", ["x", "w"], ["y"])], {"x": (1, 16)}, {"y": None}, {"w": values(16, 4)})
    unknown = b"\xa2\x1f\x0bfrom 2031!!"  # field 500, eleven bytes
    # Appended to a message, a field belongs to it: once to the model, once to the graph inside it.
    graph = model.graph.SerializeToString() + unknown
    model.ClearField("graph")
    data = model.SerializeToString() + bytes([7 << 3 | 2]) + varint(len(graph)) + graph + unknown
    source = tmp_path / "new.onnx"
    source.write_bytes(data)
    assert data.count(unknown) == 2
    prune(source, tmp_path / "out.onnx")
    written = (tmp_path / "out.onnx").read_bytes()
    assert written.count(unknown) == 2
    weight = numpy_helper.to_array(onnx.load(tmp_path / "out.onnx").graph.initializer[0])
    assert np.count_nonzero(weight) == 32


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes([*out, value])


@pytest.mark.parametrize(
    ("field", "dtype"),
    [
        ("float_data", np.float32),
        ("int32_data", np.float16),
        ("int32_data", ml_dtypes.bfloat16),
        ("double_data", np.float64),
        ("raw_data", np.float32),
        ("raw_data", np.float16),
        ("raw_data", ml_dtypes.bfloat16),
        ("raw_data", np.float64),
    ],
)
def test_values_stay_in_the_field_they_came_in(
    field: str, dtype: Any, make_model: Make, save: Any, tmp_path: Path
) -> None:
    dense = values(16, 4, dtype=dtype)
    tensor = numpy_helper.from_array(dense, "w")
    if field != "raw_data":
        tensor.ClearField("raw_data")
        flat = dense.reshape(-1)
        stored = flat.view(np.uint16).tolist() if field == "int32_data" else flat.tolist()
        getattr(tensor, field).extend(stored)
    model = make_model(
        [node("MatMul", ["x", "w"], ["y"])], {"x": (1, 16)}, {"y": None}, {"w": tensor}, dtype=tensor.data_type
    )
    source = save(model)
    weights = prune(source, tmp_path / "out.onnx")
    new = onnx.load(tmp_path / "out.onnx")
    written = new.graph.initializer[0]
    filled = {
        name
        for name in ("raw_data", "float_data", "int32_data", "double_data")
        if (written.HasField(name) if name == "raw_data" else len(getattr(written, name)))
    }
    assert filled == {field}
    got = numpy_helper.to_array(written)
    assert got.dtype == dense.dtype
    assert got.tobytes() == weights[WeightKey("w")].tobytes()
    assert blanked(new) == blanked(onnx.load(source))


@pytest.mark.parametrize(("ir", "expected"), [(3, 0), (8, 0), (9, 0), (10, 1), (11, 1)])
def test_nodes_carry_their_scheme_only_where_the_format_has_room(
    ir: int, expected: int, make_model: Make, save: Any, tmp_path: Path
) -> None:
    inputs = {"x": (1, 16), **({"w": (16, 4)} if ir == 3 else {})}
    model = make_model([node("MatMul", ["x", "w"], ["y"])], inputs, {"y": None}, {"w": values(16, 4)}, ir=ir)
    prune(save(model), tmp_path / "out.onnx")
    new = onnx.load(tmp_path / "out.onnx")
    assert new.ir_version == ir
    assert len(new.graph.node[0].metadata_props) == expected
    if expected:
        assert "2:4" in new.graph.node[0].metadata_props[0].value
    onnx.checker.check_model(new)
    manifest = read_manifest(new)
    assert manifest is not None
    assert [entry.key.name for entry in manifest.entries] == ["w"]


def test_writing_again_replaces_our_metadata_and_keeps_others(make_model: Make, save: Any, tmp_path: Path) -> None:
    source = save(rich_model(make_model), check=False)
    first, second = tmp_path / "first.onnx", tmp_path / "second.onnx"
    prune(source, first)
    prune(first, second)
    model = onnx.load(second)
    assert [entry.key for entry in model.metadata_props] == ["author", "author", "stamp", "domino_onnx.manifest"]
    assert all(len(inner.metadata_props) <= 1 for inner in model.graph.node)
    manifest = read_manifest(model)
    assert manifest is not None
    assert manifest.source_sha256 == hashlib.sha256(first.read_bytes()).hexdigest()


def test_the_same_input_gives_the_same_bytes(make_model: Make, save: Any, tmp_path: Path) -> None:
    source = save(rich_model(make_model), check=False)
    prune(source, tmp_path / "a.onnx")
    prune(source, tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
