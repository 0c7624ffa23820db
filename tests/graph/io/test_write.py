"""Writing changes the planned weights and our metadata, and nothing else; whole or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from domino_onnx.errors import OutputError
from domino_onnx.files import NOTHING, Replacing, check_output
from domino_onnx.graph import (
    infer_shapes,
    read_manifest,
    read_model,
    stored_tensors,
    take_inventory,
    write_model,
)
from domino_onnx.scheme import Manifest, ManifestEntry, NMScheme, SchemePool, WeightKey, mask_sha256
from domino_onnx.solve import PrunedWeights

Make = Callable[..., onnx.ModelProto]
node = helper.make_node
SCHEME = NMScheme(2, 4)


def values(*shape: int, dtype: Any = np.float32, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def prune(source: Path, output: Path, *, force: bool = False, scheme: NMScheme = SCHEME) -> dict[WeightKey, Any]:
    """Write `source` with every site at `scheme`; the new weights."""
    file = read_model(source)
    inventory = take_inventory(file, SchemePool.fixed_m(), infer_shapes(file.proto))
    tensors = stored_tensors(file.proto)
    weights = dict(
        PrunedWeights(
            {site.key: scheme for site in inventory.sites},
            inventory.sites,
            lambda key: file.array(tensors[key]),
        )
    )
    entries = tuple(
        ManifestEntry(
            key=site.key,
            layout=site.layout,
            scheme=scheme,
            zeros=int((weights[site.key] == 0).sum()),
            mask_sha256=mask_sha256(weights[site.key] != 0),
        )
        for site in inventory.sites
    )
    manifest = Manifest(
        tool="t", source_sha256=file.sha256, strategy="manual", budgets=(), target="generic", seed=0, entries=entries
    )
    write_model(file, weights, manifest, output, replacing=Replacing(force=force))
    return weights


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


class TestOutputNames:
    def simple(self, make_model: Make, save: Any, name: str = "model.onnx") -> Path:
        model = make_model([node("MatMul", ["x", "w"], ["y"])], {"x": (1, 16)}, {"y": None}, {"w": values(16, 4)})
        path: Path = save(model, name)
        return path

    def test_the_input_is_never_overwritten(
        self, make_model: Make, save: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = self.simple(make_model, save)
        before = source.read_bytes()
        monkeypatch.chdir(tmp_path)
        (tmp_path / "link.onnx").symlink_to(source)
        os.link(source, tmp_path / "hard.onnx")
        (tmp_path / "folder").mkdir()
        (tmp_path / "around").symlink_to(tmp_path)
        for spelling in (
            source,
            Path("model.onnx"),
            Path("folder/../model.onnx"),
            Path("link.onnx"),
            Path("hard.onnx"),
            Path("around/model.onnx"),
        ):
            for force in (False, True):
                with pytest.raises(OutputError, match="input itself"):
                    check_output(spelling, (source,), Replacing(force=force))
                with pytest.raises(OutputError):
                    prune(source, spelling, force=force)
        assert source.read_bytes() == before

    def test_what_exists_stays_without_force(self, make_model: Make, save: Any, tmp_path: Path) -> None:
        source = self.simple(make_model, save)
        output = tmp_path / "out.onnx"
        output.write_bytes(b"precious")
        with pytest.raises(OutputError, match="--force"):
            prune(source, output)
        assert output.read_bytes() == b"precious"
        prune(source, output, force=True)
        onnx.checker.check_model(onnx.load(output))

    def test_folders_and_missing_folders_are_refused(self, make_model: Make, save: Any, tmp_path: Path) -> None:
        source = self.simple(make_model, save)
        with pytest.raises(OutputError, match="is a folder"):
            prune(source, tmp_path, force=True)
        with pytest.raises(OutputError, match="doesn't exist"):
            prune(source, tmp_path / "no" / "out.onnx")

    @pytest.mark.parametrize(
        "name", ["[a-z]*?.onnx", "-o.onnx", "with space.onnx", "ünïcode.onnx", "x" * 240 + ".onnx", "out"]
    )
    def test_odd_names_work_and_leave_nothing_else(
        self, name: str, make_model: Make, save: Any, tmp_path: Path
    ) -> None:
        source = self.simple(make_model, save, "in/model.onnx")
        folder = tmp_path / "out"
        folder.mkdir()
        prune(source, folder / name)
        prune(source, folder / name, force=True)
        assert [path.name for path in folder.iterdir()] == [name]

    def test_the_written_file_has_ordinary_permissions(self, make_model: Make, save: Any, tmp_path: Path) -> None:
        source = self.simple(make_model, save)
        prune(source, tmp_path / "out.onnx")
        (tmp_path / "probe").write_bytes(b"")
        assert (tmp_path / "out.onnx").stat().st_mode == (tmp_path / "probe").stat().st_mode

    def test_leftovers_of_a_killed_run_are_swept_and_only_those(
        self, make_model: Make, save: Any, tmp_path: Path
    ) -> None:
        source = self.simple(make_model, save)
        (tmp_path / ".out.onnx.abcdef.domino-onnx.tmp").write_bytes(b"left by a killed run")
        (tmp_path / ".other.onnx.abcdef.domino-onnx.tmp").write_bytes(b"another output's")
        prune(source, tmp_path / "out.onnx")
        names = {path.name for path in tmp_path.iterdir()}
        assert names == {"model.onnx", "out.onnx", ".other.onnx.abcdef.domino-onnx.tmp"}


def external_model(
    make_model: Make,
    folder: Path,
    layout: Mapping[str, tuple[str, int]],
    arrays: Mapping[str, Any],
    name: str = "model.onnx",
) -> Path:
    """A chain of MatMuls whose weights lie at (file, offset); every byte that isn't a weight's is 0xEE."""
    folder.mkdir(parents=True, exist_ok=True)
    names = list(arrays)
    nodes = [
        node("MatMul", ["x" if index == 0 else f"t{index}", weight], [f"t{index + 1}"], name=f"n{index}")
        for index, weight in enumerate(names)
    ]
    files: dict[str, bytearray] = {}
    tensors = {}
    for weight, array in arrays.items():
        data = array.tobytes()
        where, offset = layout[weight]
        content = files.setdefault(where, bytearray())
        if len(content) < offset + len(data):
            content.extend(b"\xee" * (offset + len(data) - len(content)))
        content[offset : offset + len(data)] = data
        tensor = TensorProto(name=weight, data_type=1, dims=array.shape, data_location=TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value=where)
        tensor.external_data.add(key="offset", value=str(offset))
        tensor.external_data.add(key="length", value=str(len(data)))
        tensor.external_data.add(key="checksum", value=hashlib.sha1(data).hexdigest())
        tensors[weight] = tensor
    for where, content in files.items():
        (folder / where).parent.mkdir(parents=True, exist_ok=True)
        (folder / where).write_bytes(bytes(content) + b"\xee" * 7)
    model = make_model(nodes, {"x": (1, 16)}, {f"t{len(names)}": (1, 16)}, tensors)
    path = folder / name
    path.write_bytes(model.SerializeToString())
    return path


class TestExternalData:
    arrays = {name: values(16, 16, seed=index) for index, name in enumerate("abc")}  # noqa: RUF012
    places = {"a": ("one.bin", 0), "b": ("one.bin", 4096), "c": ("sub/two.bin", 101)}  # noqa: RUF012

    def check(self, source: Path, output: Path, weights: Mapping[WeightKey, Any], run_ort: Any) -> onnx.ModelProto:
        """The written model is external still, runs, and holds the pruned weights."""
        bare = onnx.load(output, load_external_data=False)
        assert all(tensor.data_location == TensorProto.EXTERNAL for tensor in bare.graph.initializer)
        full = onnx.load(output)
        for tensor in full.graph.initializer:
            np.testing.assert_array_equal(numpy_helper.to_array(tensor), weights[WeightKey(tensor.name)])
        assert run_ort(output, {"x": values(1, 16)})[0].shape == (1, 16)
        return bare

    @pytest.mark.parametrize("beside", [True, False])
    def test_it_stays_external_and_the_source_stays_as_it_is(
        self, beside: bool, make_model: Make, tmp_path: Path, run_ort: Any
    ) -> None:
        source = external_model(make_model, tmp_path / "in", self.places, self.arrays)
        before = {path: path.read_bytes() for path in (tmp_path / "in").rglob("*") if path.is_file()}
        folder = tmp_path / "in" if beside else tmp_path / "out"
        folder.mkdir(exist_ok=True)
        weights = prune(source, folder / "out.onnx")
        bare = self.check(source, folder / "out.onnx", weights, run_ort)
        assert all(path.read_bytes() == content for path, content in before.items())
        new = {path for path in tmp_path.rglob("*") if path.is_file()} - set(before)
        assert len(new) == 3  # the model and two data files
        for tensor in bare.graph.initializer:
            entries = {entry.key: entry.value for entry in tensor.external_data}
            data = (folder / entries["location"]).read_bytes()
            part = data[int(entries["offset"]) :][: int(entries["length"])]
            assert hashlib.sha1(part).hexdigest() == entries["checksum"]
            assert int(entries["offset"]) == self.places[tensor.name][1]

    def test_bytes_between_the_weights_are_kept(self, make_model: Make, tmp_path: Path) -> None:
        source = external_model(make_model, tmp_path, self.places, self.arrays)
        prune(source, tmp_path / "out.onnx")
        bare = onnx.load(tmp_path / "out.onnx", load_external_data=False)
        location = next(entry.value for entry in bare.graph.initializer[0].external_data if entry.key == "location")
        data = (tmp_path / location).read_bytes()
        assert len(data) == len((tmp_path / "one.bin").read_bytes())
        assert data[1024:4096] == b"\xee" * 3072
        assert data[-7:] == b"\xee" * 7

    def test_a_data_file_of_the_outputs_name_is_not_overwritten(
        self, make_model: Make, tmp_path: Path, run_ort: Any
    ) -> None:
        """out.onnx.data is what many tools would write, and here it is the source's own."""
        places = dict.fromkeys(self.arrays, ("out.onnx.data", 0))
        places = {name: ("out.onnx.data", 1024 * index) for index, name in enumerate(places)}
        source = external_model(make_model, tmp_path, places, self.arrays)
        before = (tmp_path / "out.onnx.data").read_bytes()
        weights = prune(source, tmp_path / "out.onnx")
        assert (tmp_path / "out.onnx.data").read_bytes() == before
        self.check(source, tmp_path / "out.onnx", weights, run_ort)

    def test_replacing_an_output_leaves_no_orphan_data(self, make_model: Make, tmp_path: Path, run_ort: Any) -> None:
        source = external_model(make_model, tmp_path / "in", self.places, self.arrays)
        folder = tmp_path / "out"
        folder.mkdir()
        prune(source, folder / "out.onnx")
        first = {path.name for path in folder.iterdir()}
        (folder / "out.onnx.data").write_bytes(b"not ours")
        weights = prune(source, folder / "out.onnx", force=True, scheme=NMScheme(1, 4))
        self.check(source, folder / "out.onnx", weights, run_ort)
        second = {path.name for path in folder.iterdir()}
        assert len(second) == len(first) + 1
        assert "out.onnx.data" in second

    def test_an_output_in_the_way_of_its_own_source_data_can_be_pruned_again(
        self, make_model: Make, tmp_path: Path, run_ort: Any
    ) -> None:
        source = external_model(make_model, tmp_path, self.places, self.arrays)
        prune(source, tmp_path / "first.onnx")
        weights = prune(tmp_path / "first.onnx", tmp_path / "second.onnx", scheme=NMScheme(1, 4))
        self.check(source, tmp_path / "second.onnx", weights, run_ort)
        onnx.load(tmp_path / "first.onnx")

    def test_overlapping_ranges_are_left_alone(self, make_model: Make, tmp_path: Path) -> None:
        whole = values(16, 32)
        source = external_model(
            make_model,
            tmp_path,
            {"a": ("one.bin", 0), "b": ("one.bin", 1020), "c": ("one.bin", 4096)},
            {"a": whole[:, :16].copy(), "b": whole[:, 16:].copy(), "c": values(16, 16)},
        )
        file = read_model(source)
        inventory = take_inventory(file, SchemePool.fixed_m(), {})
        assert [site.key.name for site in inventory.sites] == ["c"]
        assert all("shares its bytes" in skip.reason for skip in inventory.skips)

    def test_a_weight_that_two_names_share_is_left_alone(self, make_model: Make, tmp_path: Path) -> None:
        source = external_model(
            make_model, tmp_path, {"a": ("o", 0), "b": ("o", 0)}, {"a": values(16, 16), "b": values(16, 16)}
        )
        inventory = take_inventory(read_model(source), SchemePool.fixed_m(), {})
        assert not inventory.sites
        assert len(inventory.skips) == 2

    def test_a_tensor_without_offset_and_length_is_the_whole_file(
        self, make_model: Make, tmp_path: Path, run_ort: Any
    ) -> None:
        source = external_model(make_model, tmp_path, {"a": ("a.bin", 0)}, {"a": self.arrays["a"]})
        (tmp_path / "a.bin").write_bytes(self.arrays["a"].tobytes())
        model = onnx.load(source, load_external_data=False)
        del model.graph.initializer[0].external_data[1:]
        source.write_bytes(model.SerializeToString())
        weights = prune(source, tmp_path / "out.onnx")
        self.check(source, tmp_path / "out.onnx", weights, run_ort)


class TestInterruptedWrites:
    """The write fails at every point of the way, in ways that test_durable.py doesn't try."""

    def test_bytes_reach_the_disk_before_they_get_their_name(
        self, make_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = external_model(make_model, tmp_path / "in", {"a": ("a", 0)}, {"a": values(16, 16)})
        (tmp_path / "out").mkdir()
        flushed: set[int] = set()
        renamed: list[bool] = []
        fsync, replace, path_replace = os.fsync, os.replace, Path.replace

        def noting(descriptor: int) -> None:
            flushed.add(os.fstat(descriptor).st_ino)
            fsync(descriptor)

        def moving(source: Any, target: Any) -> None:
            renamed.append(Path(source).stat().st_ino in flushed)
            replace(source, target)

        def path_moving(self: Path, target: Any) -> Path:
            renamed.append(self.stat().st_ino in flushed)
            return path_replace(self, target)

        monkeypatch.setattr(os, "fsync", noting)
        monkeypatch.setattr(os, "replace", moving)
        monkeypatch.setattr(Path, "replace", path_moving)
        prune(source, tmp_path / "out" / "out.onnx")
        assert len(renamed) >= 2
        assert all(renamed)

    def test_a_failed_write_leaves_no_orphan_data(
        self, make_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = external_model(make_model, tmp_path / "in", {"a": ("a", 0)}, {"a": values(16, 16)})
        (tmp_path / "out").mkdir()

        def broken(self: Path, target: Path) -> Path:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "replace", broken)
        with pytest.raises(OutputError, match="No space left"):
            prune(source, tmp_path / "out" / "out.onnx")
        assert not list((tmp_path / "out").iterdir())

    @pytest.mark.parametrize("stop", [KeyboardInterrupt, MemoryError])
    def test_an_interruption_leaves_no_debris(
        self, stop: type[BaseException], make_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = external_model(make_model, tmp_path / "in", {"a": ("a", 0)}, {"a": values(16, 16)})
        folder = tmp_path / "out"
        folder.mkdir()

        def interrupted(descriptor: int) -> None:
            raise stop

        monkeypatch.setattr(os, "fsync", interrupted)
        with pytest.raises((stop, OutputError)):
            prune(source, folder / "out.onnx")
        assert not list(folder.iterdir())

    def test_a_read_only_folder_is_refused_before_any_work(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "access", lambda *_: False)
        with pytest.raises(OutputError, match="can't be written to"):
            check_output(tmp_path / "out.onnx", (tmp_path / "in.onnx",), NOTHING)
