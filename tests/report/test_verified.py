"""What `verify` prints of what doesn't hold."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

from rich.console import Console

from domino_onnx.evaluate import Finding, Verdict
from domino_onnx.report.verified import verify_document, verify_view
from domino_onnx.scheme import Manifest

MANIFEST = Manifest(tool="t", source_sha256="", strategy="erk", budgets=(), target="vulkan\a", seed=0, entries=())
HOLDS = Finding(weight="w", name="n", scheme="2:4", zeros=8, problem=None)
OF_THE_FILE = "the target 'vulkan\a' is unknown; this program knows generic, tensorrt"


def printed(verdict: Verdict) -> str:
    stream: Any = io.StringIO()
    Console(width=200, file=stream).print(verify_view(verdict))
    text: str = stream.getvalue()
    return text


def test_a_problem_of_no_weight_is_printed_too() -> None:
    verdict = Verdict(manifest=MANIFEST, findings=(HOLDS,), of_the_file=(OF_THE_FILE,))
    assert not verdict.holds
    assert OF_THE_FILE.replace("\a", "\\x07") in printed(verdict)
    assert verify_document(verdict)["problems"] == [OF_THE_FILE]
    good = Verdict(manifest=MANIFEST, findings=(HOLDS,), of_the_file=())
    assert good.holds
    assert "unknown" not in printed(good)
    assert "\n\n" not in printed(good)


def test_problems_of_weights_come_first() -> None:
    broken = dataclasses.replace(HOLDS, problem="the weight is gone")
    verdict = Verdict(manifest=MANIFEST, findings=(HOLDS, broken), of_the_file=("other",))
    assert verdict.problems == ("w (n): the weight is gone", "other")


def test_without_a_manifest_that_is_all_there_is_to_say() -> None:
    assert printed(Verdict(manifest=None, findings=(), of_the_file=("no manifest",))) == "no manifest\n"
