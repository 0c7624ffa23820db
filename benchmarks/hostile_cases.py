"""Hard and hostile files through `compress`, each judged by what its generator expects of it."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from hostile_checks import differences, pruned_weights
from hostile_runs import LIMIT, Ran, complaint, loads, run

__all__ = ["NOTHING", "compress", "hard_cases", "judged"]

_MARKS = (Path("/tmp/domino_pwned_pickle"), Path("/tmp/domino_slip.npy"))
"""What code would leave behind that is hidden in calibration data."""
_ROOM = 1 << 30
"""Bytes of memory that a large model may take over its largest tensor."""
NOTHING = "no weight of the model can have"
_ALSO_PRUNED = ("convT", "matmul")
"""Classes whose author expected that weights are left alone, and that this program prunes: the axis is checked."""
Case = dict[str, Any]


def hard_cases(generators: Path, folder: Path, kind: str) -> list[Case]:
    """The cases of one generator, made in `folder` and sorted by class; `file` is the model or the data."""
    made = folder / kind
    folder.mkdir(parents=True, exist_ok=True)
    if not (made / f"manifest_{kind}.json").exists():
        environment = {**os.environ, "PYTHONPATH": str(generators)}
        words = [sys.executable, "-W", "ignore", "-B", str(generators / f"gen_{kind}.py"), str(made)]
        subprocess.run(words, check=True, capture_output=True, env=environment, timeout=300)
    manifest = json.loads((made / f"manifest_{kind}.json").read_text())
    cases = [
        {
            "name": name,
            **case,
            "file": made / case.get("path", name if case["cls"] == "calibration" else f"{name}.onnx"),
        }
        for name, case in manifest.items()
    ]
    for case in cases:
        case["model"] = made / "ext/ok/model/m.onnx" if case["cls"] == "calibration" else case["file"]
    return sorted(cases, key=lambda case: (case["cls"], case["name"]))


def compress(model: Path, output: Path, *more: object, limit: float = LIMIT, memory: int | None = None) -> Ran:
    """A plain run on one thread, without drawn samples unless data are given."""
    data = () if "--data" in more else ("--data", "none")
    words = ("compress", model, "--scheme", "2:4", "--threads", 1, "--no-finetune", "-o", output, "--quiet")
    return run(*words, *data, *more, limit=limit, memory=memory)


def judged(case: Case, folder: Path) -> tuple[str, str | None]:
    """How a case ended, in a word, and what is wrong with that."""
    output = folder / "out" / "written.onnx"
    output.parent.mkdir()
    for mark in _MARKS:
        mark.unlink(missing_ok=True)
    data = ("--data", case["file"]) if case["cls"] == "calibration" else ()
    limits: dict[str, Any] = {}
    if case["cls"] == "big":
        limits = {"limit": 600.0, "memory": _memory(case["model"])}
    ran = compress(case["model"], output, *data, **limits)
    wrong = list(_wrong(case, ran, output))
    if NOTHING in ran.err:
        word = "listed"
    elif ran.code:
        word = "refused"
    elif not output.exists():
        word = "ended"
    else:
        word = "pruned" if case["cls"] == "big" or _pruned(output) else "left dense"
    return word, "; ".join(wrong) or None


def _wrong(case: Case, ran: Ran, output: Path) -> Iterator[str]:
    said = complaint(ran)
    if said is not None:
        yield said
        return
    if any(mark.exists() for mark in _MARKS):
        yield "code in the data was run"
    left = [path.name for path in output.parent.iterdir()]
    if ran.code and left:
        yield f"refused, and left {left}"
    expected = case["expect"]
    if ran.code == 0 and expected == "refuse-path":
        yield "was read"
    if ran.code == 0 and case["cls"] == "calibration" and expected == "reject":
        yield "the data were taken"
    listed = "can't be pruned" in ran.err  # with the reasons
    nothing = NOTHING in ran.err and (listed or expected in ("partial", "skip", "keep"))
    if ran.code and not nothing and expected in ("prune", "partial", "skip", "keep", "accept", "warn"):
        yield f"refused: {ran.err.strip()[-150:]}"
    if expected == "warn" and "the same" not in ran.err:
        yield "no warning"
    if ran.code == 0 and case["cls"] != "big":
        yield from _wrong_file(case, output)


def _memory(model: Path) -> int:
    """What a large model may take: its largest tensor, and 1 GiB."""
    tensors = onnx.load(model, load_external_data=False).graph.initializer
    return max(math.prod(tensor.dims) * 4 for tensor in tensors) + _ROOM  # all are float32


def _wrong_file(case: Case, output: Path) -> Iterator[str]:
    try:
        before, after = (onnx.load(path, load_external_data=False) for path in (case["model"], output))
    except DecodeError as error:
        yield f"can't be parsed: {error}"
        return
    yield from differences(before, after, case["model"], output)
    pruned = pruned_weights(after)
    if case["expect"] == "skip" and pruned and case["cls"] not in _ALSO_PRUNED:
        yield f"pruned {sorted(pruned)}"
    for (_, name), entry in pruned.items():
        known = case["weights"].get(name)
        if known is not None and (known == "conflict" or known.get("axis") != entry["axis"]):
            yield f"{name} was pruned along axis {entry['axis']}, not {known}"
    if loads(case["model"]) and not loads(output):
        yield "ONNX Runtime loads what was read, and not what was written"


def _pruned(output: Path) -> bool:
    return bool(pruned_weights(onnx.load(output, load_external_data=False)))
