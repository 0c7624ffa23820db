"""Packed and sparse files that were tampered with: one ModelError that names the file and the weight."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import NodeProto, TensorProto, helper, numpy_helper

from domino_onnx.errors import DominoError, ModelError
from domino_onnx.pipeline import convert, inspect
from domino_onnx.storage import STORAGE_KEY

Make = Callable[..., onnx.ModelProto]
Tamper = Callable[[onnx.ModelProto], None]
node = helper.make_node


@pytest.fixture
def written(
    make_model: Make, make_sparse: Callable[[onnx.ModelProto], onnx.ModelProto], tmp_path: Path
) -> Callable[[str], onnx.ModelProto]:
    """A model with a weight by positions (`w`) and one by a bitmask (`v`), or both as sparse tensors."""
    generator = np.random.default_rng(0)
    w = np.zeros((64, 64), np.float32)
    np.put_along_axis(w.reshape(-1, 16), generator.random((256, 16)).argsort(axis=1)[:, :2], 1.5, axis=1)
    v = np.where(generator.random((64, 64)) < 0.3, 2.5, 0.0).astype(np.float32)
    model = make_model(
        [node("MatMul", ["x", "w"], ["h"]), node("MatMul", ["h", "v"], ["y"])],
        {"x": (1, 64)},
        {"y": (1, 64)},
        {"w": w, "v": v},
    )
    source = tmp_path / "source.onnx"
    source.write_bytes(model.SerializeToString())

    def write(form: str) -> onnx.ModelProto:
        if form == "sparse":
            (tmp_path / f"{form}.onnx").write_bytes(make_sparse(model).SerializeToString())
        else:
            assert {weight.kind for weight in convert(source, tmp_path / f"{form}.onnx", "packed").weight_forms} != {
                "dense"
            }
        return onnx.load(tmp_path / f"{form}.onnx")

    return write


def tensor(model: onnx.ModelProto, name: str) -> TensorProto:
    return next(each for each in model.graph.initializer if each.name == f"domino_onnx.{name}")


def replace(name: str, change: Callable[[Any], Any]) -> Tamper:
    def tamper(model: onnx.ModelProto) -> None:
        found = tensor(model, name)
        found.CopyFrom(numpy_helper.from_array(np.asarray(change(numpy_helper.to_array(found))), found.name))

    return tamper


def record(change: Callable[[Any], None]) -> Tamper:
    def tamper(model: onnx.ModelProto) -> None:
        entry = next(each for each in model.metadata_props if each.key == STORAGE_KEY)
        document = json.loads(entry.value)
        change(document)
        entry.value = json.dumps(document)

    return tamper


def operators(change: Callable[[NodeProto], None], op_type: str) -> Tamper:
    def tamper(model: onnx.ModelProto) -> None:
        change(next(each for each in model.graph.node if each.op_type == op_type))

    return tamper


def drop(name: str) -> Tamper:
    """Without the tensor, and with another of its name elsewhere, so that the graph is whole."""

    def tamper(model: onnx.ModelProto) -> None:
        found = tensor(model, name)
        made = node("Constant", [], [found.name], value=found)
        kept = [made, *model.graph.node]
        model.graph.initializer.remove(found)
        del model.graph.node[:]
        model.graph.node.extend(kept)

    return tamper


PACKED: dict[str, Tamper] = {
    "positions cut short": replace("0.codes", lambda codes: codes[:-1]),
    "positions that don't ascend": replace("0.codes", lambda codes: codes * 0),
    "positions of another type": replace("0.codes", lambda codes: codes.astype(np.int32)),
    "positions with two axes": replace("0.codes", lambda codes: codes[None]),
    "positions in a Constant": drop("0.codes"),
    "values cut short": replace("0.values", lambda values: values[:-1]),
    "values of another shape": replace("0.values", lambda values: values.reshape(-1)),
    "values of another type": replace("0.values", lambda values: values.astype(np.int64)),
    "bits that are more than the values": replace("1.codes", lambda codes: codes | 255),
    "bits cut short": replace("1.codes", lambda codes: codes[:-1]),
    "no zero before the values": replace("1.values", lambda values: values + 1),
    "a table of other positions": replace("digits2of16", lambda table: table[::-1]),
    "a table in a Constant": drop("digits2of16"),
    "another shape": replace("shape-1x1", lambda shape: shape * 2),
    "another operator": operators(lambda each: setattr(each, "op_type", "ScatterND"), "ScatterElements"),
    "another attribute": operators(lambda each: setattr(each.attribute[0], "i", 0), "ScatterElements"),
    "another input": operators(lambda each: each.input.__setitem__(1, each.input[0]), "Add"),
    "an attribute more": operators(
        lambda each: each.attribute.add(name="reduction", type=3, s=b"add"), "ScatterElements"
    ),
    "another domain": operators(lambda each: setattr(each, "domain", "com.example"), "CumSum"),
    "another axis in the record": record(lambda document: document["weights"][0].update(axis=0)),
    "another M": record(lambda document: document["weights"][0].update(m=8)),
    "an axis that isn't there": record(lambda document: document["weights"][0].update(axis=7)),
    "an M of nothing": record(lambda document: document["weights"][0].update(m=0)),
    "a million digits": record(lambda document: document["weights"][0].update(digits=10**6)),
    "a shape that fills the memory": record(lambda document: document["weights"][0].update(shape=[2**30, 2**30])),
    "a negative shape": record(lambda document: document["weights"][0].update(shape=[-64, -64])),
    "no shape": record(lambda document: document["weights"][0].pop("shape")),
    "another name": record(lambda document: document["weights"][0].update(name="h")),
    "a newer version": record(lambda document: document.update(version=2)),
    "an unknown form": record(lambda document: document.update(form="zipped")),
    "weights that are none": record(lambda document: document.update(weights=7)),
    "weights in another order": record(lambda document: document["weights"].reverse()),
}


def _sparse(change: Callable[[onnx.SparseTensorProto], None]) -> Tamper:
    return lambda model: change(model.graph.sparse_initializer[0])


def _indices(change: Callable[[Any], Any]) -> Tamper:
    def tamper(model: onnx.ModelProto) -> None:
        indices = model.graph.sparse_initializer[0].indices
        indices.CopyFrom(numpy_helper.from_array(np.asarray(change(numpy_helper.to_array(indices)))))

    return tamper


def nothing(sparse: onnx.SparseTensorProto) -> None:
    """No values and no indices for a shape that can't be."""
    sparse.values.CopyFrom(numpy_helper.from_array(np.zeros(0, np.float32), sparse.values.name))
    sparse.indices.CopyFrom(numpy_helper.from_array(np.zeros(0, np.int64)))
    sparse.dims[0] = -64


SPARSE: dict[str, Tamper] = {
    "an index out of range": _indices(lambda indices: np.append(indices[:-1], 4096)),
    "a negative index": _indices(lambda indices: np.append(-1, indices[1:])),
    "an index that comes twice": _indices(lambda indices: np.append(indices[0], indices[:-1])),
    "too few indices": _indices(lambda indices: indices[:-1]),
    "indices of another type": _indices(lambda indices: indices.astype(np.int32)),
    "indices of another rank": _indices(lambda indices: np.stack([indices] * 3, axis=1)),
    "a shape that fills the memory": _sparse(lambda sparse: sparse.dims.__setitem__(0, 2**40)),
    "a negative shape": _sparse(lambda sparse: sparse.dims.__setitem__(0, -64)),
    "a negative shape of nothing": lambda model: nothing(model.graph.sparse_initializer[0]),
    "values with two axes": _sparse(lambda sparse: sparse.values.dims.append(1)),
    "a dense tensor of the same name": lambda model: model.graph.initializer.append(
        numpy_helper.from_array(np.zeros((64, 64), np.float32), model.graph.sparse_initializer[0].values.name)
    ),
}


TAMPERED = [
    pytest.param(form, tamper, id=f"{form}: {name}")
    for form, changes in (("packed", PACKED), ("sparse", SPARSE))
    for name, tamper in changes.items()
]


@pytest.mark.parametrize(("form", "tamper"), TAMPERED)
def test_a_file_that_was_changed_is_refused(form: str, tamper: Tamper, written: Any, tmp_path: Path) -> None:
    model = written(form)
    tamper(model)
    path = tmp_path / "hostile.onnx"
    path.write_bytes(model.SerializeToString())
    for read in (inspect, lambda path: convert(path, tmp_path / "out.onnx", "dense")):
        with pytest.raises(ModelError, match=r"hostile\.onnx"):
            read(path)
    assert not (tmp_path / "out.onnx").exists()


def test_what_another_tool_has_made_dense_is_read_as_it_is(written: Any, tmp_path: Path) -> None:
    """Constants folded, our record left behind."""
    model = written("packed")
    dense = onnx.load(tmp_path / "source.onnx")
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(dense.graph.node)
    model.graph.initializer.extend(dense.graph.initializer)
    path = tmp_path / "folded.onnx"
    path.write_bytes(model.SerializeToString())
    assert [site.zeros for site in inspect(path).inventory.sites] == [
        site.zeros for site in inspect(tmp_path / "source.onnx").inventory.sites
    ]
    convert(path, tmp_path / "back.onnx", "dense")
    assert (tmp_path / "back.onnx").read_bytes() == (tmp_path / "source.onnx").read_bytes()


def test_names_and_remarks_of_nodes_may_change(written: Any, tmp_path: Path) -> None:
    model = written("packed")
    for number, each in enumerate(model.graph.node):
        each.name, each.doc_string = f"renamed{number}", "seen"
    path = tmp_path / "renamed.onnx"
    path.write_bytes(model.SerializeToString())
    assert [site.zeros for site in inspect(path).inventory.sites] == [
        site.zeros for site in inspect(tmp_path / "source.onnx").inventory.sites
    ]


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.sampled_from(["packed", "sparse"]),
    st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1, max_size=4),
)
def test_flipped_bytes_are_read_or_refused(
    written: Any, tmp_path: Path, form: str, flips: list[tuple[float, int]]
) -> None:
    if not (tmp_path / f"{form}.onnx").exists():
        written(form)
    data = bytearray((tmp_path / f"{form}.onnx").read_bytes())
    for where, mask in flips:
        data[int(where * (len(data) - 1))] ^= mask
    path = tmp_path / "flipped.onnx"
    path.write_bytes(data)
    try:
        convert(path, tmp_path / "flipped.dense.onnx", "dense", force=True)
    except DominoError as error:
        assert "flipped" in str(error)  # noqa: PT017  # either outcome is right
