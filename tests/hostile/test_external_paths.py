"""Data outside the model's folder is never touched; inside it, only plain files are."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from domino_onnx.pipeline import inspect

Refused = Callable[..., str]
node = helper.make_node
pytestmark = pytest.mark.usefixtures("soon")


def external(tmp_path: Path, **entries: str) -> Path:
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
def test_plain_files_inside_are_read(location: str, tmp_path: Path) -> None:
    assert inspect(external(tmp_path, location=location)).inventory.sites


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
def test_everything_else_is_refused(location: str, tmp_path: Path, refused: Refused) -> None:
    refused(external(tmp_path, location=location), "'w'")


def test_no_location_is_refused(tmp_path: Path, refused: Refused) -> None:
    refused(external(tmp_path), "'w'")


@pytest.mark.parametrize(
    "kind", ["symlink out", "symlink in", "symlinked folder", "hard link", "fifo", "folder", "device link"]
)
def test_special_files_are_refused(kind: str, tmp_path: Path, refused: Refused) -> None:
    name = "ln/secret.bin" if kind == "symlinked folder" else "bait"
    path = external(tmp_path, location=name)
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
def test_ranges_that_do_not_fit_are_refused(entries: dict[str, str], tmp_path: Path, refused: Refused) -> None:
    refused(external(tmp_path, location="ok.bin", **entries), "'w'")


def test_keys_named_like_attributes_do_nothing(tmp_path: Path) -> None:
    path = external(tmp_path, location="ok.bin", __class__="x", __dict__="y", path="/etc/passwd")
    assert inspect(path).inventory.sites


def test_external_data_of_constants_and_sparse_tensors_is_guarded_too(tmp_path: Path, refused: Refused) -> None:
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
