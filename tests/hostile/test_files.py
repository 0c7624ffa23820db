"""Hostile and broken files: one DominoError that says what is wrong, soon, and never anything else."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from domino_onnx.errors import DominoError
from domino_onnx.graph import read_model
from domino_onnx.pipeline import convert, inspect

Make = Callable[..., onnx.ModelProto]
Refused = Callable[..., str]
node = helper.make_node
pytestmark = pytest.mark.usefixtures("soon")


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
def test_files_that_are_no_models_say_what_they_look_like(name: str, tmp_path: Path, refused: Refused) -> None:
    content, says = NOT_MODELS[name]
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    refused(path, says)


def test_an_archive_says_so(tmp_path: Path, refused: Refused) -> None:
    with zipfile.ZipFile(tmp_path / "model.onnx", "w") as archive:
        archive.writestr("archive/data.pkl", b"x")
    refused(tmp_path / "model.onnx", "zip")


def test_paths_that_are_no_files_are_refused(tmp_path: Path, refused: Refused) -> None:
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
    from domino_onnx.graph import read_manifest, take_inventory
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
def test_names_that_are_no_text_are_refused(
    field: str, rich: onnx.ModelProto, tmp_path: Path, refused: Refused
) -> None:
    put(rich, field, tmp_path / "model.onnx")
    refused(tmp_path / "model.onnx", "isn't UTF-8 text")


@pytest.mark.parametrize("field", ["doc_string", "producer_name", "metadata_props.0.value"])
def test_what_is_written_for_people_needs_be_no_text(field: str, good: onnx.ModelProto, tmp_path: Path) -> None:
    good.metadata_props.add(key="author", value="them")
    put(good, field, tmp_path / "model.onnx")
    convert(tmp_path / "model.onnx", tmp_path / "out.onnx", "packed")
    assert NO_TEXT in (tmp_path / "out.onnx").read_bytes()


def test_a_stream_of_zip_bombs_as_models_is_refused(tmp_path: Path, refused: Refused) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x", bytes(50_000_000))
    (tmp_path / "model.onnx").write_bytes(buffer.getvalue())
    refused(tmp_path / "model.onnx", "zip")
