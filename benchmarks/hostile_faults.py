"""Commands that are killed, or whose system calls fail, wherever they change the output's folder; and two at once."""

from __future__ import annotations

import collections
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
from hostile_runs import Running, complaint, run
from onnx import TensorProto, helper, numpy_helper

__all__ = ["BLOWS", "COMMANDS", "faulted", "opened_outside", "raced"]

BLOWS: Mapping[str, str] = {"SIGKILL": "signal=KILL", "ENOSPC": "error=ENOSPC", "EIO": "error=EIO"}
_COMPRESS = ("compress", "--data", "none", "--no-finetune", "--scheme", "2:4", "--threads", "1", "--force")
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "convert": ("convert", "--format", "packed", "--force"),
    "compress": _COMPRESS,
    "compress with a report": (*_COMPRESS, "--report", "{out}/report.json"),
}
_CALLS = (
    "openat,open,creat,write,pwrite64,writev,pwritev,ftruncate,truncate,rename,renameat,renameat2,unlink,unlinkat,fsync,"
    "fdatasync,fallocate,copy_file_range,sendfile,linkat,fchmod,fchmodat,chmod"
)
_OPENING = ("openat", "open", "creat")
_RUN = [sys.executable, "-m", "domino_onnx"]


def model(path: Path, seed: int, *, external: bool = True) -> Path:
    """Two products; the weights are in a file of their own if `external`."""
    generator = np.random.default_rng(seed)
    weights = {name: generator.standard_normal((64, 64)).astype(np.float32) for name in ("a", "b")}
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "a"], ["h"]), helper.make_node("MatMul", ["h", "b"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 64])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, path, save_as_external_data=external, location=f"{path.stem}.data", size_threshold=0)
    return path


def faulted(
    folder: Path, command: str, blow: str, *, over: bool, chosen: slice
) -> Iterator[tuple[str, str, str | None]]:
    """Each of the chosen points at which the blow falls, and what is wrong afterwards.

    The output is the old one or the new one, whole; the input is as it was; a command that fails leaves nothing else
    behind; and the next one comes to the same end as if nothing had been.
    """
    folder.mkdir(parents=True)
    source, older = model(folder / "new.onnx", 1), model(folder / "old.onnx", 2)
    inputs, place, log = _contents(folder), folder / "out", folder / "log"
    place.mkdir()
    if over:
        run(*_words(command, older, place))
    before = _contents(place)
    if run(*_words(command, source, place)).code:
        raise RuntimeError(f"{command} fails without any fault")
    after = _contents(place)
    _refill(place, before)
    _traced(command, source, place, "-y", "-e", f"trace={_CALLS}", "-o", str(log))
    for name, number in list(_points(log, place))[chosen]:
        _refill(place, before)
        inject = f"inject={name}:{BLOWS[blow]}:when={number}"
        ran = _traced(command, source, place, "-e", f"trace={name}", "-e", inject, "-o", os.devnull)
        wrong = _what_is_wrong(ran, place, before, after, blow, inputs, folder, command, source)
        yield f"{name} {number}", "failed" if ran.returncode else "went on", wrong


def raced(folder: Path, turn: int) -> str | None:
    """Two commands write one output at once. It is wrong if that is neither the one's nor the other's."""
    folder.mkdir(parents=True)
    sources = [model(folder / f"{name}.onnx", seed) for name, seed in (("left", 1), ("right", 2))]
    wanted = []
    for source in sources:
        _refill(folder / "out", {})
        run(*_words("convert", source, folder / "out"))
        wanted.append(_meaning(folder / "out" / "written.onnx"))
    _refill(folder / "out", {})
    order = sources if turn % 2 else sources[::-1]
    running = [Running(*_words("convert", source, folder / "out")) for source in order]
    ends = [command.ended() for command in running]
    now = _meaning(folder / "out" / "written.onnx")
    complaints = [said for end in ends if (said := complaint(end)) is not None]
    if complaints or now not in wanted or all(end.code for end in ends):
        return f"{complaints}, codes {[end.code for end in ends]}, {now}"
    left = sorted(path.name for path in (folder / "out").iterdir())
    known = {"written.onnx"} | {name for name in left if name.startswith("written") and name.endswith(".data")}
    return None if len(left) <= 2 and set(left) <= known else f"left {left}"


def opened_outside(source: Path, secret: Path, log: Path) -> str | None:
    """Whether `inspect` opens a file that a model names as its data, outside its folder."""
    words = ["strace", "-f", "-qq", "-e", "trace=open,openat,openat2", "-o", str(log), *_RUN, "inspect", str(source)]
    ran = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    if "Traceback" in ran.stderr or ran.returncode not in (0, 1):
        return f"exit code {ran.returncode}: {ran.stderr[-150:]}"
    outside = ("/etc/passwd", "/dev/zero", "/proc/self/environ", secret.name)
    opened = (line for line in log.read_text(errors="replace").splitlines() if " = -1 " not in line)
    bad = [line for line in opened if any(f'{name}"' in line for name in outside)]
    return bad[0] if bad else None


def _words(command: str, source: Path, place: Path) -> list[str]:
    name, *options = (word.replace("{out}", str(place)) for word in COMMANDS[command])
    return [name, str(source), "-o", str(place / "written.onnx"), "--quiet", *options]


def _traced(command: str, source: Path, place: Path, *tracing: str) -> subprocess.CompletedProcess[str]:
    fast = () if any("signal=" in word for word in tracing) else ("--seccomp-bpf",)  # which sends no signals
    words = ["strace", "-f", *fast, "-qq", *tracing, *_RUN, *_words(command, source, place)]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)


def _points(log: Path, place: Path) -> Iterator[tuple[str, int]]:
    """Calls that change something in the folder: each by its name, and how many of that name its thread has made."""
    seen: collections.Counter[tuple[str, str]] = collections.Counter()
    for line in log.read_text(errors="replace").splitlines():
        found = re.match(r"^(\d+)\s+(\w+)\((.*)", line)
        if found is None or found[2] not in _CALLS.split(","):
            continue
        thread, name, arguments = found.groups()
        seen[thread, name] += 1
        reads = name in _OPENING and not re.search(r"O_(WRONLY|RDWR|CREAT)", arguments)
        if str(place) in arguments and not reads:
            yield name, seen[thread, name]


def _what_is_wrong(
    ran: subprocess.CompletedProcess[str],
    place: Path,
    before: Mapping[str, bytes],
    after: Mapping[str, bytes],
    blow: str,
    inputs: Mapping[str, bytes],
    folder: Path,
    command: str,
    source: Path,
) -> str | None:
    output = place / "written.onnx"
    now, left = _contents(place), sorted(path.name for path in place.iterdir())
    if {name: value for name, value in _contents(folder).items() if name != "log"} != dict(inputs):
        return "the input changed"
    meanings = [_meaning_of(each) for each in (before, after)]
    if _meaning_of(now) not in meanings:
        return f"the output is neither the old one nor the new one: {left}"
    if blow != "SIGKILL":
        if "Traceback" in ran.stderr or ran.returncode < 0:
            return f"ended by {ran.returncode}: {ran.stderr[-200:]}"
        if not ran.returncode and not output.exists():
            return "exit code 0 without an output"
        if set(left) - set(before) - set(after):
            return f"left behind: {sorted(set(left) - set(before) - set(after))}"
    again = run(*_words(command, source, place))
    same = again.code == 0 and _contents(place).keys() == after.keys()
    return None if same else f"the next run: {again.err[-200:]}"


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def _refill(folder: Path, files: Mapping[str, bytes]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)


def _meaning_of(files: Mapping[str, bytes]) -> str | None:
    """A hash of all that a model holds, data files included; None without one."""
    if "written.onnx" not in files:
        return None
    model = onnx.ModelProto.FromString(files["written.onnx"])
    digest = hashlib.sha256()
    for tensor in model.graph.initializer:
        given = {entry.key: entry.value for entry in tensor.external_data}
        if given:
            start, length = int(given.get("offset", 0)), int(given["length"])
            data = files.get(given["location"], b"")[start : start + length]
            digest.update(b"torn" if len(data) != length else data)
        else:
            digest.update(tensor.raw_data)
        digest.update(tensor.name.encode())
    return digest.hexdigest()


def _meaning(output: Path) -> str | None:
    return _meaning_of(_contents(output.parent)) if output.exists() else None
