"""Hostile and broken files: one DominoError that says what is wrong, soon, and never anything else."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from domino_onnx.errors import DominoError, ModelError
from domino_onnx.graph import read_model
from domino_onnx.pipeline import convert, inspect

Make = Callable[..., onnx.ModelProto]
node = helper.make_node
SECONDS = 10.0


@pytest.fixture(autouse=True)
def _soon() -> Iterator[None]:
    start = time.perf_counter()
    yield
    assert time.perf_counter() - start < SECONDS


def refused(path: Path, says: str = "") -> str:
    """The message of the ModelError that `inspect` raises; it names the file."""
    with pytest.raises(ModelError) as error:
        inspect(path)
    message = str(error.value)
    assert str(path) in message
    assert says.lower() in message.lower()
    return message


@pytest.fixture
def good(make_model: Make) -> onnx.ModelProto:
    weight = np.random.default_rng(0).standard_normal((16, 8)).astype(np.float32)
    return make_model([node("MatMul", ["x", "w"], ["y"], name="n")], {"x": (1, 16)}, {"y": (1, 8)}, {"w": weight})


NOT_MODELS = {
    "empty": (b"", "empty"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n", "git lfs pull"),
    "gzip": (gzip.compress(b"model"), "gzip"),
    "html": (b"<!DOCTYPE html><html>404</html>", "HTML"),
    "ort": (b"ORTM" + bytes(50), "ORT"),
    "elf": (b"\x7fELF" + bytes(50), "program"),
    "text": (b"hello, world", "has another format, or was cut short"),
    "zeros": (bytes(1000), ""),
    "ones": (b"\xff" * 1000, ""),
    "ir only": (b"\x08\x08", ""),
}


@pytest.mark.parametrize("name", NOT_MODELS)
def test_files_that_are_no_models_say_what_they_look_like(name: str, tmp_path: Path) -> None:
    content, says = NOT_MODELS[name]
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    refused(path, says)


def test_an_archive_says_so(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.onnx", "w") as archive:
        archive.writestr("archive/data.pkl", b"x")
    refused(tmp_path / "model.onnx", "zip")


def test_paths_that_are_no_files_are_refused(tmp_path: Path) -> None:
    refused(tmp_path / "missing.onnx", "no file")
    refused(tmp_path, "is a folder")
    os.mkfifo(tmp_path / "pipe.onnx")
    refused(tmp_path / "pipe.onnx", "no regular file")
    (tmp_path / "loop.onnx").symlink_to(tmp_path / "loop.onnx")
    refused(tmp_path / "loop.onnx")


def test_every_truncation_is_refused_or_a_whole_smaller_model(good: onnx.ModelProto, tmp_path: Path) -> None:
    data = good.SerializeToString()
    path = tmp_path / "model.onnx"
    outcomes = {True: 0, False: 0}
    lengths = [*range(0, len(data), 3), len(data) - 1]
    for length in lengths:
        path.write_bytes(data[:length])
        try:
            inspect_without_shapes(path)
            outcomes[True] += 1
        except DominoError as error:
            outcomes[False] += str(path) in str(error)
    assert sum(outcomes.values()) == len(lengths) > 100
    assert outcomes[True] < 10


def inspect_without_shapes(path: Path) -> None:
    """What `inspect` does, less the child process that infers shapes, which would take most of the time."""
    from domino_onnx.graph import read_manifest, read_model, take_inventory
    from domino_onnx.scheme import SchemePool

    file = read_model(path)
    take_inventory(file, SchemePool.fixed_m(), {})
    read_manifest(file.proto)


def test_flipped_bytes_never_crash(good: onnx.ModelProto, tmp_path: Path) -> None:
    data = bytearray(good.SerializeToString())
    generator = np.random.default_rng(0)
    path = tmp_path / "model.onnx"
    for _ in range(1500):
        changed = bytearray(data)
        for place in generator.integers(0, len(data), generator.integers(1, 4)):
            changed[place] = generator.integers(0, 256)
        path.write_bytes(changed)
        with contextlib.suppress(DominoError):
            inspect_without_shapes(path)


class TestStructure:
    """Each model is impossible in one way."""

    def refuse(self, model: onnx.ModelProto, tmp_path: Path, says: str) -> str:
        path = tmp_path / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return refused(path, says)

    def test_undefined_inputs(self, good: onnx.ModelProto, tmp_path: Path) -> None:
        good.graph.node[0].input[0] = "nowhere"
        self.refuse(good, tmp_path, "'n' reads 'nowhere'")

    def test_outputs_that_nothing_produces(self, good: onnx.ModelProto, tmp_path: Path) -> None:
        good.graph.output[0].name = "nothing"
        self.refuse(good, tmp_path, "'nothing'")

    def test_no_outputs(self, good: onnx.ModelProto, tmp_path: Path) -> None:
        del good.graph.output[:]
        self.refuse(good, tmp_path, "no outputs")

    def test_cycles(self, good: onnx.ModelProto, tmp_path: Path) -> None:
        good.graph.node.append(node("Add", ["q", "x"], ["p"]))
        good.graph.node.append(node("Add", ["p", "x"], ["q"]))
        self.refuse(good, tmp_path, "cycle")

    def test_a_node_that_reads_itself(self, good: onnx.ModelProto, tmp_path: Path) -> None:
        good.graph.node.append(node("Add", ["q", "x"], ["q"], name="ouroboros"))
        self.refuse(good, tmp_path, "ouroboros")

    def test_cycles_through_a_subgraph(self, good: onnx.ModelProto, tmp_path: Path) -> None:
        branch = helper.make_graph([node("Neg", ["z"], ["o"])], "b", [], [helper.make_tensor_value_info("o", 1, None)])
        good.graph.input.append(helper.make_tensor_value_info("c", TensorProto.BOOL, []))
        good.graph.node.append(node("If", ["c"], ["z"], then_branch=branch, else_branch=branch))
        self.refuse(good, tmp_path, "cycle")

    def test_a_subgraph_may_use_the_name_of_a_later_tensor(
        self, good: onnx.ModelProto, run_ort: Any, tmp_path: Path
    ) -> None:
        """`h` of a branch is its own, so that the outer `h`, made of the branch's result, makes no cycle."""
        nodes = [node("Neg", ["x"], ["h"]), node("Abs", ["h"], ["o"])]
        branch = helper.make_graph(nodes, "b", [], [helper.make_tensor_value_info("o", 1, (1, 16))])
        good.graph.initializer.append(numpy_helper.from_array(np.array(True), "c"))
        good.graph.node.append(node("If", ["c"], ["z"], then_branch=branch, else_branch=branch))
        good.graph.node.append(node("Identity", ["z"], ["h"]))
        good.graph.output.append(helper.make_tensor_value_info("h", 1, (1, 16)))
        onnx.checker.check_model(good)
        path = tmp_path / "model.onnx"
        path.write_bytes(good.SerializeToString())
        x = np.full((1, 16), -2, np.float32)
        np.testing.assert_array_equal(run_ort(path, {"x": x})[-1], 2 * np.ones_like(x))
        assert read_model(path).proto == good

    def test_two_nodes_of_one_output(self, good: onnx.ModelProto, tmp_path: Path) -> None:
        good.graph.node.append(node("Neg", ["x"], ["y"]))
        self.refuse(good, tmp_path, "'y' is defined twice")

    def test_two_initializers_of_one_name(self, good: onnx.ModelProto, tmp_path: Path) -> None:
        good.graph.initializer.append(good.graph.initializer[0])
        self.refuse(good, tmp_path, "'w'")

    def test_two_inputs_of_one_name(self, good: onnx.ModelProto, tmp_path: Path) -> None:
        good.graph.input.append(good.graph.input[0])
        self.refuse(good, tmp_path, "'x'")

    def test_negative_dims(self, good: onnx.ModelProto, tmp_path: Path) -> None:
        good.graph.initializer[0].dims[:] = [-16, -8]
        self.refuse(good, tmp_path, "impossible shape")

    @pytest.mark.parametrize("dims", [[2**31, 2**31], [2**62], [2**40, 0], [1] * 1000, [65536] * 8])
    def test_shapes_without_data_for_them(self, dims: list[int], good: onnx.ModelProto, tmp_path: Path) -> None:
        good.graph.initializer[0].dims[:] = dims
        self.refuse(good, tmp_path, "'w'")

    def test_data_of_another_shape(self, good: onnx.ModelProto, tmp_path: Path) -> None:
        good.graph.initializer[0].dims[:] = [16, 9]
        self.refuse(good, tmp_path, "'w'")

    def test_data_in_two_fields(self, good: onnx.ModelProto, tmp_path: Path) -> None:
        good.graph.initializer[0].float_data.extend([1.0] * 128)
        self.refuse(good, tmp_path, "'w'")

    @pytest.mark.parametrize("kind", [0, 99, -1])
    def test_unknown_data_types(self, kind: int, good: onnx.ModelProto, tmp_path: Path) -> None:
        good.graph.initializer[0].data_type = kind
        self.refuse(good, tmp_path, "data type")

    @pytest.mark.parametrize("version", [-1, 0, 99, 10**12])
    def test_versions_that_nobody_knows(self, version: int, good: onnx.ModelProto, tmp_path: Path) -> None:
        good.ir_version = version
        self.refuse(good, tmp_path, "IR version")
        good.ir_version = 8
        good.opset_import[0].version = version
        self.refuse(good, tmp_path, "opset")

    def test_no_opset_and_two_opsets(self, good: onnx.ModelProto, tmp_path: Path) -> None:
        good.opset_import.append(helper.make_opsetid("ai.onnx", 13))
        self.refuse(good, tmp_path, "operator set")
        del good.opset_import[:]
        self.refuse(good, tmp_path, "operator set")

    def functions(self, good: onnx.ModelProto, bodies: dict[str, list[str]]) -> onnx.ModelProto:
        """Functions by name, each a chain of calls."""
        imports = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
        good.opset_import.append(helper.make_opsetid("local", 1))
        for name, calls in bodies.items():
            nodes = [
                node(call, [f"v{index}"], [f"v{index + 1}"], domain="" if call == "Neg" else "local")
                for index, call in enumerate(calls)
            ]
            good.functions.append(helper.make_function("local", name, ["v0"], [f"v{len(calls)}"], nodes, imports))
        good.graph.node.append(node(next(iter(bodies)), ["x"], ["extra"], domain="local"))
        return good

    def test_functions_that_call_themselves(self, good: onnx.ModelProto, tmp_path: Path) -> None:
        self.refuse(self.functions(good, {"A": ["B"], "B": ["C"], "C": ["A"]}), tmp_path, "calls itself")

    def test_a_billion_laughs(self, good: onnx.ModelProto, tmp_path: Path) -> None:
        bodies = {f"F{depth}": [f"F{depth + 1}"] * 10 for depth in range(9)}
        self.refuse(self.functions(good, {**bodies, "F9": ["Neg"] * 10}), tmp_path, "expand to")

    def test_functions_nested_very_deep(self, good: onnx.ModelProto, tmp_path: Path) -> None:
        bodies = {f"F{depth}": [f"F{depth + 1}"] for depth in range(3000)}
        self.refuse(self.functions(good, {**bodies, "F3000": ["Neg"]}), tmp_path, "deeper")

    def test_a_function_named_like_an_operator(self, good: onnx.ModelProto, tmp_path: Path) -> None:
        body = [node("Neg", ["a"], ["c"])]
        good.functions.append(
            helper.make_function("", "MatMul", ["a", "b"], ["c"], body, [helper.make_opsetid("", 17)])
        )
        self.refuse(good, tmp_path, "'MatMul'")


def test_a_chain_of_twenty_thousand_nodes_is_read(good: onnx.ModelProto, tmp_path: Path) -> None:
    good.graph.output[0].name = "c20000"
    good.graph.node.extend(
        node("Identity", ["y" if index == 0 else f"c{index}"], [f"c{index + 1}"]) for index in range(20_000)
    )
    path = tmp_path / "model.onnx"
    path.write_bytes(good.SerializeToString())
    assert len(inspect(path).inventory.sites) == 1


def test_a_weight_behind_twenty_thousand_copies_is_read(good: onnx.ModelProto, tmp_path: Path) -> None:
    good.graph.node[0].input[1] = "c20000"
    copies = [node("Identity", ["w" if i == 0 else f"c{i}"], [f"c{i + 1}"]) for i in range(20_000)]
    nodes = [*copies, *good.graph.node]
    del good.graph.node[:]
    good.graph.node.extend(nodes)
    path = tmp_path / "model.onnx"
    path.write_bytes(good.SerializeToString())
    (site,) = inspect(path).inventory.sites
    assert site.key.name == "w"


def test_subgraphs_nested_as_deep_as_protobuf_goes_are_read(good: onnx.ModelProto, tmp_path: Path) -> None:
    depth = 30  # protobuf itself refuses 34
    inner = helper.make_graph([node("Neg", ["x"], ["o0"])], "g0", [], [helper.make_tensor_value_info("o0", 1, None)])
    for level in range(1, depth):
        other = helper.make_graph(
            [node("Neg", ["x"], [f"e{level}"])], "e", [], [helper.make_tensor_value_info(f"e{level}", 1, None)]
        )
        call = node("If", ["c"], [f"o{level}"], then_branch=inner, else_branch=other)
        inner = helper.make_graph([call], f"g{level}", [], [helper.make_tensor_value_info(f"o{level}", 1, None)])
    good.graph.input.append(helper.make_tensor_value_info("c", TensorProto.BOOL, []))
    good.graph.node.append(node("If", ["c"], ["z"], then_branch=inner, else_branch=inner))
    path = tmp_path / "model.onnx"
    path.write_bytes(good.SerializeToString())
    assert len(inspect(path).inventory.sites) == 1


class TestExternalPaths:
    """Data outside the model's folder is never touched; inside it, only plain files are."""

    def model(self, tmp_path: Path, **entries: str) -> Path:
        folder = tmp_path / "inner" / "model"
        folder.mkdir(parents=True)
        data = np.random.default_rng(0).standard_normal((16, 8)).astype(np.float32).tobytes()
        (tmp_path / "inner" / "secret.bin").write_bytes(data)
        (folder / "ok.bin").write_bytes(data)
        tensor = TensorProto(name="w", data_type=1, dims=[16, 8], data_location=TensorProto.EXTERNAL)
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=value)
        graph = helper.make_graph(
            [node("MatMul", ["x", "w"], ["y"])],
            "g",
            [helper.make_tensor_value_info("x", 1, [1, 16])],
            [helper.make_tensor_value_info("y", 1, [1, 8])],
            [tensor],
        )
        path = folder / "model.onnx"
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        path.write_bytes(model.SerializeToString())
        return path

    @pytest.mark.parametrize("location", ["ok.bin", "./ok.bin", "sub/../ok.bin"])
    def test_plain_files_inside_are_read(self, location: str, tmp_path: Path) -> None:
        assert inspect(self.model(tmp_path, location=location)).inventory.sites

    @pytest.mark.parametrize(
        "location",
        [
            "../secret.bin",
            "sub/../../secret.bin",
            "/etc/passwd",
            "/dev/zero",
            "/proc/self/environ",
            "..",
            ".",
            "",
            "missing.bin",
            "ok.bin/x",
            "ok.bin\0../secret.bin",
            "..\\secret.bin",
            "C:\\secret.bin",
            "http://127.0.0.1:9/x",
            "*/_ORT_MEM_ADDR_/*",
            "x" * 5000,
            "ok.bin/../../secret.bin",
        ],
    )
    def test_everything_else_is_refused(self, location: str, tmp_path: Path) -> None:
        refused(self.model(tmp_path, location=location), "'w'")

    def test_no_location_is_refused(self, tmp_path: Path) -> None:
        refused(self.model(tmp_path), "'w'")

    @pytest.mark.parametrize(
        "kind", ["symlink out", "symlink in", "symlinked folder", "hard link", "fifo", "folder", "device link"]
    )
    def test_special_files_are_refused(self, kind: str, tmp_path: Path) -> None:
        name = "ln/secret.bin" if kind == "symlinked folder" else "bait"
        path = self.model(tmp_path, location=name)
        bait = path.parent / "bait"
        match kind:
            case "symlink out":
                bait.symlink_to("../secret.bin")
            case "symlink in":
                bait.symlink_to("ok.bin")
            case "symlinked folder":
                (path.parent / "ln").symlink_to("..")
            case "hard link":
                os.link(tmp_path / "inner" / "secret.bin", bait)
            case "fifo":
                os.mkfifo(bait)
            case "folder":
                bait.mkdir()
            case "device link":
                bait.symlink_to("/dev/zero")
        refused(path, "'w'")

    @pytest.mark.parametrize(
        "entries",
        [
            {"offset": "-8"},
            {"offset": "0x10"},
            {"offset": "1e3"},
            {"offset": "4"},
            {"offset": "9" * 30},
            {"offset": "٣"},
            {"length": "8"},
            {"length": "513"},
            {"length": "9000000000000000"},
            {"length": "-1"},
            {"length": ""},
        ],
    )
    def test_ranges_that_do_not_fit_are_refused(self, entries: dict[str, str], tmp_path: Path) -> None:
        refused(self.model(tmp_path, location="ok.bin", **entries), "'w'")

    def test_keys_named_like_attributes_do_nothing(self, tmp_path: Path) -> None:
        path = self.model(tmp_path, location="ok.bin", __class__="x", __dict__="y", path="/etc/passwd")
        assert inspect(path).inventory.sites


def test_external_data_of_constants_and_sparse_tensors_is_guarded_too(tmp_path: Path) -> None:
    outside = TensorProto(name="v", data_type=1, dims=[4], data_location=TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value="../secret.bin")
    (tmp_path / "secret.bin").write_bytes(bytes(16))
    folder = tmp_path / "model"
    folder.mkdir()
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(np.zeros(4, np.float32), "v"), numpy_helper.from_array(np.arange(4), "i"), [64]
    )
    sparse.values.CopyFrom(outside)
    branch = helper.make_graph(
        [node("Constant", [], ["o"], value=outside)], "b", [], [helper.make_tensor_value_info("o", 1, None)]
    )
    for extra, sparse_tensors in (
        (node("Constant", [], ["k"], value=outside), []),
        (node("Constant", [], ["k"], sparse_value=sparse), []),
        (node("If", ["c"], ["k"], then_branch=branch, else_branch=branch), []),
        (node("Neg", ["x"], ["k"]), [sparse]),
    ):
        graph = helper.make_graph(
            [extra, node("Neg", ["x"], ["y"])],
            "g",
            [helper.make_tensor_value_info("x", 1, [1]), helper.make_tensor_value_info("c", TensorProto.BOOL, [])],
            [helper.make_tensor_value_info("y", 1, [1])],
            sparse_initializer=sparse_tensors,
        )
        (folder / "m.onnx").write_bytes(
            helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()
        )
        refused(folder / "m.onnx", "outside the model's folder")


def test_garbage_in_the_manifest_is_a_domino_error(good: onnx.ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    for text in ("", "{", "[]", '{"version": 1}', '{"version": 1, "weights": [[]]}', "[" * 100_000):
        del good.metadata_props[:]
        good.metadata_props.add(key="domino_onnx.manifest", value=text)
        path.write_bytes(good.SerializeToString())
        with pytest.raises(DominoError, match="manifest"):
            inspect_without_shapes(path)


MARK = "MARK"
NO_TEXT = b"\xffARK"


def put(model: onnx.ModelProto, field: str, path: Path) -> None:
    """Write the model with a text in this field that isn't UTF-8."""
    *way, name = field.split(".")
    holder: Any = model
    for step in way:
        holder = holder[int(step)] if step.isdecimal() else getattr(holder, step)
    holder.__setitem__(int(name), MARK) if name.isdecimal() else setattr(holder, name, MARK)
    data = model.SerializeToString()
    assert data.count(MARK.encode()) == 1
    path.write_bytes(data.replace(MARK.encode(), NO_TEXT))


@pytest.fixture
def rich(good: onnx.ModelProto) -> onnx.ModelProto:
    """A model with everything that has a name."""
    good.graph.node[0].attribute.add(name="more", type=onnx.AttributeProto.INT, i=1)
    good.metadata_props.add(key="author", value="them")
    good.graph.node[0].metadata_props.add(key="from", value="there")
    good.functions.add(name="f", domain="local").input.append("x")
    good.graph.quantization_annotation.add(tensor_name="w")
    good.graph.value_info.add(name="h").type.tensor_type.shape.dim.add(dim_param="n")
    good.graph.initializer[0].external_data.add(key="location", value="w.bin")
    return good


@pytest.mark.parametrize(
    "field",
    [
        "graph.name", "graph.node.0.name", "graph.node.0.op_type", "graph.node.0.domain", "graph.node.0.input.0",
        "graph.node.0.output.0", "graph.node.0.attribute.0.name", "graph.node.0.metadata_props.0.key",
        "graph.initializer.0.name", "graph.initializer.0.external_data.0.value", "graph.input.0.name",
        "graph.value_info.0.type.tensor_type.shape.dim.0.dim_param", "graph.quantization_annotation.0.tensor_name",
        "functions.0.name", "functions.0.input.0", "opset_import.0.domain", "metadata_props.0.key",
    ],
)  # fmt: skip
def test_names_that_are_no_text_are_refused(field: str, rich: onnx.ModelProto, tmp_path: Path) -> None:
    put(rich, field, tmp_path / "model.onnx")
    refused(tmp_path / "model.onnx", "isn't UTF-8 text")


@pytest.mark.parametrize("field", ["doc_string", "producer_name", "metadata_props.0.value"])
def test_what_is_written_for_people_needs_be_no_text(field: str, good: onnx.ModelProto, tmp_path: Path) -> None:
    good.metadata_props.add(key="author", value="them")
    put(good, field, tmp_path / "model.onnx")
    convert(tmp_path / "model.onnx", tmp_path / "out.onnx", "packed")
    assert NO_TEXT in (tmp_path / "out.onnx").read_bytes()


def test_a_stream_of_zip_bombs_as_models_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x", bytes(50_000_000))
    (tmp_path / "model.onnx").write_bytes(buffer.getvalue())
    refused(tmp_path / "model.onnx", "zip")
