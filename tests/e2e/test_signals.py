"""Real processes that strace sends a signal at each system call that changes the disk."""

from __future__ import annotations

import collections
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

STRACE = shutil.which("strace")
pytestmark = pytest.mark.skipif(STRACE is None, reason="strace is not installed")


def model(folder: Path, seed: int) -> Path:
    """A MatMul whose weight lies outside the file."""
    weight = np.random.default_rng(seed).standard_normal((16, 16)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 16])],
        [numpy_helper.from_array(weight, "w")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / f"{seed}.onnx"
    onnx.save(made, path, save_as_external_data=True, location=f"{seed}.data", size_threshold=0)
    return path


def convert(source: Path, output: Path, tracing: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Write the model again, under strace if there is something to trace."""
    words = ["convert", str(source), "--format", "dense", "-o", str(output), "--quiet", "--force"]
    traced = [str(STRACE), "-f", "-qq", "-y", "-e", "trace=fsync,/rename,/unlink", *tracing] if tracing else []
    return subprocess.run(
        [*traced, sys.executable, "-m", "domino_onnx", *words], check=False, capture_output=True, text=True
    )


def digest(output: Path) -> str:
    tensors = onnx.load(output).graph.initializer
    return hashlib.sha256(b"".join(numpy_helper.to_array(tensor).tobytes() for tensor in tensors)).hexdigest()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def calls(log: Path, folder: Path) -> list[tuple[str, int]]:
    """The calls on files of the folder: each by its name, and how many of that name came before it and with it."""
    seen: collections.Counter[str] = collections.Counter()
    found = []
    for line in log.read_text().splitlines():
        name = re.sub(r"^\d+\s+", "", line).partition("(")[0]
        seen[name] += 1
        if str(folder) in line:
            found.append((name, seen[name]))
    return found


def refill(folder: Path, files: Mapping[str, bytes]) -> None:
    shutil.rmtree(folder)
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)


@pytest.mark.usefixtures("hears_ctrl_c")
def test_the_output_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    first, second = model(tmp_path, 1), model(tmp_path, 2)
    folder, log = tmp_path / "out", tmp_path / "log"
    output = folder / "out.onnx"
    folder.mkdir()
    assert convert(first, output).returncode == 0
    before, was = contents(folder), digest(output)
    if convert(second, output, ("-o", str(log))).returncode:
        pytest.skip("strace may not trace here")
    after, new = contents(folder), digest(output)
    points = calls(log, folder)
    assert {"fsync", "rename", "unlink"} <= {name for name, _ in points}
    for blow, ended in (("INT", 130), ("KILL", -signal.SIGKILL)):
        ends = set()
        for name, number in points if blow == "INT" else [point for point in points if point[0] != "fsync"]:
            refill(folder, before)
            ran = convert(second, output, ("-o", os.devnull, "-e", f"inject={name}:signal={blow}:when={number}"))
            now = digest(output)
            assert now in (was, new), (name, number)
            assert (ran.returncode, "Traceback" in ran.stderr) == (ended, False)
            ends.add(now)
        assert ends == {was, new}
    assert convert(second, output).returncode == 0
    assert contents(folder) == after
