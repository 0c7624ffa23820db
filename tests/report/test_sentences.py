"""Sentences of which the figures add up, and the grammar of one and of several."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from domino_onnx.forecast import Forecast, StageCost, Unprunable
from domino_onnx.report.compared import comparison_rows
from domino_onnx.report.forecast import forecast_lines
from domino_onnx.report.page.verdict import verdict
from domino_onnx.report.results import CompressResult


@pytest.mark.parametrize(
    ("prunable", "share", "counted", "said"),
    [
        (
            0.71,
            0.15,
            True,
            "71 % of this model can be pruned; 29 % can't, 15 % of the model for one reason (Conv): why",
        ),
        (0.71, 0.29, True, "71 % of this model can be pruned; 29 % can't (Conv): why"),
        (
            0.71,
            0.15,
            False,
            "71 % of this model can be pruned; 29 % can't, and 15 % of the model is Conv, "
            "which this program doesn't prune",
        ),
        (0.71, 0.29, False, "71 % of this model can be pruned; 29 % is Conv, which this program doesn't prune"),
        (0.71, 0.01, True, "71 % of this model can be pruned"),
    ],
)
def test_what_cannot_be_pruned_adds_up(prunable: float, share: float, counted: bool, said: str) -> None:
    reason = Unprunable(op="Conv", share=share, reason="why", counted=counted)
    forecast = Forecast(
        stages=(StageCost(name="refit", seconds=60.0),),
        threads=1,
        memory=1,
        memory_available=None,
        memory_limit=None,
        disk=1,
        disk_available=None,
        prunable=prunable,
        unprunable=(reason,),
        finetunes=False,
        may_skip_finetuning=False,
    )
    assert forecast_lines(forecast)[-1] == said


@pytest.mark.parametrize(
    ("samples", "inputs", "said"),
    [
        (1, "data", "1 sample"),
        (1, "drawn", "1 drawn sample"),
        (2000, "data", "2,000 samples"),
        (2000, "drawn", "2,000 drawn samples"),
    ],
)
def test_one_sample_is_no_samples(samples: int, inputs: str, said: str, result: CompressResult) -> None:
    assert result.parity is not None
    comparison = dataclasses.replace(result.parity.comparison, samples=samples)
    parity = dataclasses.replace(result.parity, inputs=inputs, comparison=comparison)
    assert dict(comparison_rows(parity))["compared on"] == f"{said}, {parity.provider}"
    assert f" on {said}: " in verdict(dataclasses.replace(result, parity=parity))


@pytest.mark.parametrize(
    ("nodes", "end"),
    [("a = Mul (w, s)  y = MatMul (x, a)", "if zeros stay zeros"), ("y = MatMulInteger (q, i)", "to that form (QDQ)")],
)
def test_a_reason_is_printed_to_its_end(
    nodes: str, end: str, save: Callable[..., Path], domino: Callable[..., Any]
) -> None:
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 17]>
        products (float[n, 8] x, uint8[n, 8] q) => ({"int32" if "Integer" in nodes else "float"}[n, 8] y) {{ {nodes} }}
    """)
    for array, name in ((np.eye(8, dtype=np.float32), "w"), (np.eye(8, dtype=np.int8), "i")):
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(2), "s"))
    shown = " ".join(domino("inspect", save(model)).out.split())
    assert "left dense: 1 (" in shown
    assert "…" not in shown
    assert end in shown
