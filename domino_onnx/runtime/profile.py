"""What do the operators of a model take, and how much memory does it need? Seen in a process of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.errors import DependencyError, ModelError
from domino_onnx.isolated import isolated
from domino_onnx.runtime.kernels import kernels_library

__all__ = ["OperatorTime", "Profile", "profiled"]

_RUNS = 20
_SECONDS = 600
_CHILD = """
import json, pathlib, sys
import numpy, onnxruntime

def resident(field):
    try:
        text = pathlib.Path("/proc/self/status").read_text()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(field)), None)

model, library, threads, runs, folder = sys.argv[1:]
names = json.loads(pathlib.Path(folder, "names.json").read_text())
with numpy.load(f"{folder}/inputs.npz") as stored:
    inputs = {name: stored[f"arr_{number}"] for number, name in enumerate(names)}
options = onnxruntime.SessionOptions()
options.log_severity_level = 4
options.intra_op_num_threads = int(threads)
options.enable_profiling = True
options.profile_file_prefix = f"{folder}/profile"
if library:
    try:
        options.register_custom_ops_library(library)
    except Exception:
        pass  # what needs it is refused below
before = resident("VmRSS")
try:
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    for _ in range(int(runs)):
        session.run(None, inputs)
except Exception as error:
    sys.exit(str(error).strip().split(chr(10))[0][:500])
most = resident("VmHWM")
session.end_profiling()
print(json.dumps(None if most is None else max(most - before, 0)))
"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OperatorTime:
    """All nodes of an operator: how many there are, and seconds in a run, all of them together."""

    op: str
    nodes: int
    seconds: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A model by itself.

    Attributes
    ----------
    operators
        Those that ONNX Runtime runs after its optimisations, the slowest first.
    memory
        Bytes by which the process grew at most, from before the model was loaded; None on systems that don't say.
    """

    operators: tuple[OperatorTime, ...]
    memory: int | None


def profiled(model: Path, inputs: Mapping[str, NDArray[Any]], threads: int) -> Profile:
    """Run a model some times under ONNX Runtime's profiler; the first run doesn't count.

    Raises
    ------
    ModelError
        If the model can't be run.
    """
    library = ""
    with contextlib.suppress(DependencyError):
        library = kernels_library()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "names.json").write_text(json.dumps(list(inputs)))  # no names of files or of parameters
        np.savez(Path(folder) / "inputs.npz", *inputs.values())
        command = isolated(_CHILD, str(model.resolve()), library, str(threads), str(_RUNS), folder)
        try:
            child = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        except (OSError, subprocess.SubprocessError) as error:
            raise ModelError(f"{model} can't be profiled: {error}") from None
        if child.returncode:
            last = (child.stderr.strip().splitlines() or ["it crashed"])[-1]
            raise ModelError(f"{model} can't be profiled: {last}")
        events = json.loads(next(Path(folder).glob("profile*.json")).read_text())
    return Profile(operators=_by_operator(events), memory=json.loads(child.stdout))


def _by_operator(events: list[dict[str, Any]]) -> tuple[OperatorTime, ...]:
    """Of all runs but the first."""
    runs = sorted(event["ts"] for event in events if event.get("name") == "model_run")
    seconds: dict[str, float] = {}
    nodes: dict[str, set[str]] = {}
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") != "Node" or not name.endswith("_kernel_time") or event["ts"] < runs[1]:
            continue
        op = event["args"]["op_name"]
        seconds[op] = seconds.get(op, 0.0) + event["dur"] / 1e6 / (len(runs) - 1)
        nodes.setdefault(op, set()).add(name)
    found = [OperatorTime(op=op, nodes=len(nodes[op]), seconds=seconds[op]) for op in seconds]
    return tuple(sorted(found, key=lambda each: -each.seconds))
