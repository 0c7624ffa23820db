"""Every hard case that the shared generators make goes through `inspect`: a result or a DominoError."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from domino_onnx import errors
from domino_onnx.pipeline import inspect

pytestmark = pytest.mark.shared
Cases = tuple[Path, dict[str, dict[str, Any]]]
TAGS = ["attack", "structure", "weights"]


@pytest.fixture(scope="module", params=TAGS)
def cases(request: pytest.FixtureRequest, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Cases:
    script = shared / "hardcases" / f"gen_{request.param}.py"
    if not script.is_file():
        pytest.skip("the generators of hard cases aren't there")
    folder = tmp_path_factory.mktemp(request.param)
    subprocess.run(
        [sys.executable, "-W", "ignore", "-B", str(script), str(folder)],
        check=True, capture_output=True, cwd=folder, timeout=100, env={**os.environ, "PYTHONPATH": str(script.parent)},
    )  # fmt: skip
    manifest = json.loads((folder / f"manifest_{request.param}.json").read_text())
    return folder, manifest


def test_each_is_answered(cases: Cases, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, manifest = cases
    if "attack" not in folder.name:  # harmless ones do without MACs, whose child process takes most of the time
        monkeypatch.setattr("domino_onnx.stages.reading.shapes.infer_shapes", lambda *_: {})
    chosen = {
        name: case
        for name, case in manifest.items()
        if case["cls"] not in ("big", "calibration") and (folder / case.get("path", f"{name}.onnx")).exists()
    }
    assert len(chosen) > 20
    wrong = [
        f"{name}: {problem} ({case['why']})"
        for name, case in chosen.items()
        for problem in problems(folder / case.get("path", f"{name}.onnx"), case)
    ]
    assert not wrong, "\n".join(wrong)


def problems(path: Path, case: dict[str, Any]) -> Iterator[str]:
    """What is wrong with the answer to one case."""
    expected = case["expect"]
    try:
        found = inspect(path)
    except errors.DominoError:
        if expected in ("prune", "partial", "skip", "keep"):
            yield f"refused, {expected} is expected"
        return
    except BaseException as error:  # noqa: BLE001 # anything else is what this test is for
        yield f"{type(error).__name__}: {error}"
        return
    if expected == "refuse-path":
        yield "was read"
    for site in found.inventory.sites:
        known = case["weights"].get(site.key.name)
        if known is not None and (known == "conflict" or site.layout.axis != known.get("axis")):
            yield f"{site.key} is a site along axis {site.layout.axis}, not {known}"


def test_files_that_crashed_other_tools_are_answered(shared: Path) -> None:
    folder = shared / "hardcases" / "fuzz_found"
    paths = sorted(folder.glob("*.onnx"))
    if not paths:
        pytest.skip("the files that fuzzing found aren't there")
    for path in paths:
        with contextlib.suppress(errors.DominoError):
            inspect(path)
