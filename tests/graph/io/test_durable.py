"""A write that fails or is interrupted anywhere leaves the old output whole, or the new one: each with its data."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from domino_onnx.errors import OutputError
from domino_onnx.files import Replacing
from domino_onnx.graph import read_model, write_model
from domino_onnx.scheme import WeightKey

Make = Callable[..., onnx.ModelProto]
CALLS = ((os, "fsync"), (os, "replace"), (os, "unlink"), (os, "chmod"), (shutil, "copyfile"), (shutil, "copymode"))
KINDS = ("inline", "external", "packed")


class Disk:
    """Counts the calls that change the disk, and lets one of them fail; a signal arrives before it or behind it."""

    def __init__(self, fault: BaseException | None, call: int, *, behind: bool = False) -> None:
        self.fault, self.call, self.behind = fault, call, behind
        self.seen = 0

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for module, name in CALLS:
            monkeypatch.setattr(module, name, self._watched(getattr(module, name)))

    def _watched(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **options: Any) -> Any:
            self.seen += 1
            if self.seen != self.call or self.fault is None:
                return original(*arguments, **options)
            if self.behind:
                original(*arguments, **options)
            raise self.fault

        return wrapper


def source(kind: str, make_model: Make, folder: Path) -> Path:
    """Two MatMuls, with the weights in the file or in two files beside it."""
    folder.mkdir()
    nodes = [helper.make_node("MatMul", ["x", "a"], ["h"]), helper.make_node("MatMul", ["h", "b"], ["y"])]
    arrays = {name: weights(1)[WeightKey(name)] for name in "ab"}
    model = make_model(nodes, {"x": (1, 16)}, {"y": (1, 16)}, arrays)
    if kind != "inline":
        for tensor in model.graph.initializer:
            (folder / tensor.name).write_bytes(tensor.raw_data)
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value=tensor.name)
    path = folder / "in.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def weights(seed: int) -> dict[WeightKey, Any]:
    """Values of which three of four are zero, so that they can be packed."""
    generator = np.random.default_rng(seed)
    kept = np.tile(np.arange(16).reshape(16, 1) % 4 == 0, (1, 16))
    return {WeightKey(name): generator.standard_normal((16, 16)).astype(np.float32) * kept for name in "ab"}


def write(kind: str, path: Path, output: Path, seed: int, *, force: bool) -> None:
    form: Any = "packed" if kind == "packed" else "dense"
    write_model(read_model(path), weights(seed), None, output, form=form, replacing=Replacing(force=force))


def digest(output: Path) -> str | None:
    """Of the model with all its tensors, as the onnx package loads it; None if there is no such file."""
    if not output.exists():
        return None
    model = onnx.load(output)
    found = hashlib.sha256(str([node.op_type for node in model.graph.node]).encode())
    for tensor in model.graph.initializer:
        found.update(tensor.name.encode() + numpy_helper.to_array(tensor).tobytes())
    return found.hexdigest()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refill(folder: Path, files: dict[str, bytes]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)


FAULTS = {
    "full": (lambda: OSError(errno.ENOSPC, "No space left on device"), False),
    "broken": (lambda: OSError(errno.EIO, "Input/output error"), False),
    "interrupted before": (KeyboardInterrupt, False),
    "interrupted behind": (KeyboardInterrupt, True),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("old", "force"), [(False, False), (False, True), (True, True)])
@pytest.mark.parametrize("kind", KINDS)
def test_the_output_is_whole_with_its_data_or_not_there(
    kind: str, old: bool, force: bool, fault: str, make_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, folder = source(kind, make_model, tmp_path / "in"), tmp_path / "out"
    output = folder / "out.onnx"
    refill(folder, {})
    if old:
        write(kind, path, output, 2, force=False)
    before, was = contents(folder), digest(output)
    write(kind, path, output, 3, force=force)
    after, new = contents(folder), digest(output)
    assert was != new
    make_fault, behind = FAULTS[fault]
    ends = set()
    for call in range(1, 100):
        refill(folder, before)
        disk = Disk(make_fault(), call, behind=behind)
        raised: BaseException | None = None
        with monkeypatch.context() as patch:
            disk.watch(patch)
            try:
                write(kind, path, output, 3, force=force)
            except (OutputError, KeyboardInterrupt) as error:
                raised = error
        if disk.seen < call:
            break
        now = digest(output)
        assert now in (was, new), f"call {call}"
        assert not [name for name in contents(folder) if name.endswith(".tmp")]
        if raised is None:
            assert now == new
        elif now == was:
            assert contents(folder) == before, f"call {call}"
        else:
            assert isinstance(raised, KeyboardInterrupt), f"call {call}"
        ends.add((raised is None, now == new))
        write(kind, path, output, 3, force=True)
        assert contents(folder) == after, f"call {call}"
    assert call > (4 if kind == "inline" else 8)
    interrupted = "interrupted" in fault
    assert ends == ({(False, False), (False, True)} if interrupted else {(False, False), (True, True)})


def test_a_data_file_that_cannot_be_swept_is_no_failure(
    make_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, output = source("external", make_model, tmp_path / "in"), tmp_path / "out.onnx"
    write("external", path, output, 2, force=False)
    kept = {found.name for found in tmp_path.glob("*.data")}

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        write("external", path, output, 3, force=True)
    assert kept < {found.name for found in tmp_path.glob("*.data")}
    write("external", path, output, 3, force=True)
    assert not kept & {found.name for found in tmp_path.glob("*.data")}
    assert digest(output) is not None


@pytest.fixture
def barrier(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Barrier]:
    """Two writers wait for each other once both have found that there is no output."""
    from domino_onnx.graph.io import write as module

    waiting, check = threading.Barrier(2, timeout=60), module.check_output

    def checked(*arguments: Any, **options: Any) -> None:
        check(*arguments, **options)
        waiting.wait()

    monkeypatch.setattr(module, "check_output", checked)
    yield waiting
    waiting.abort()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no lock of a folder")
@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_of_two_writers_the_second_is_refused_or_replaces_the_first(
    kind: str, force: bool, make_model: Make, tmp_path: Path, barrier: threading.Barrier
) -> None:
    path, folder = source(kind, make_model, tmp_path / "in"), tmp_path / "out"
    folder.mkdir()
    refused: dict[int, OutputError] = {}

    def run(seed: int) -> None:
        try:
            write(kind, path, folder / "out.onnx", seed, force=force)
        except OutputError as error:
            refused[seed] = error

    writers = [threading.Thread(target=run, args=(seed,)) for seed in (2, 3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert barrier.n_waiting == 0
    assert len(refused) == (0 if force else 1)
    assert all("another run wrote it meanwhile" in str(error) for error in refused.values())
    found = digest(folder / "out.onnx")
    left = contents(folder)
    expected = {}
    for seed in {2, 3} - refused.keys():
        other = tmp_path / f"alone {seed}"
        other.mkdir()
        barrier.reset()
        partner = threading.Thread(target=barrier.wait)
        partner.start()
        write(kind, path, other / "out.onnx", seed, force=False)
        partner.join(120)  # before the barrier is broken
        expected[digest(other / "out.onnx")] = contents(other)
    assert left == expected[found]
