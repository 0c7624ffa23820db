"""What `deploy` says of a layer."""

from __future__ import annotations

from typing import Any

import pytest
from onnx import ModelProto

from domino_onnx.stages.deploying.choice import Tried
from domino_onnx.stages.deploying.deploy import _warn
from domino_onnx.stages.deploying.words import _reason
from domino_onnx.stages.journal import Journal


@pytest.mark.parametrize(
    ("seconds", "chosen", "refused", "said"),
    [
        ((3, 2, 1), "int8", False, "3.0x dense, 2.0x float32"),
        ((3, 2, 1), "float32", True, "1.5x dense; int8 costs too much accuracy"),
        ((3, 2, 1), "float32", False, "1.5x dense; int8 gains too little in the whole model"),
        ((3, 2, 2.5), "float32", False, "1.5x dense"),
        ((3, 2), "float32", False, "1.5x dense"),
        ((3, 6, 1), "dense", True, "0.5x dense in float32; int8 costs too much accuracy"),
        ((3, 2), "dense", False, "1.5x dense; no gain in the whole model"),
        ((3, 3), "dense", False, "1.0x dense: no gain"),
    ],
)
def test_the_reason_follows_from_the_times(seconds: tuple[float, ...], chosen: Any, refused: bool, said: str) -> None:
    times: Any = dict(zip(("dense", "float32", "int8"), seconds, strict=False))
    assert _reason(times, chosen, refused=refused) == said


@pytest.mark.parametrize(
    ("kind", "error", "warned"), [("float32", 0.02, True), ("float32", 6e-5, False), ("int8", 0.02, False)]
)
def test_outputs_that_are_wrong_are_told(kind: Any, error: float, warned: bool) -> None:
    """8 bits are judged by the divergence of the outputs."""
    layer: Any = object()
    best = Tried(proto=ModelProto(), chosen={layer: kind}, refused=frozenset(), dense=2, deployed=1, divergence=None)
    journal = Journal()
    _warn(best, error, (), journal)
    assert [True for each in journal.warnings if "off by 2.0e-02 of its largest value" in each] == [True] * warned
