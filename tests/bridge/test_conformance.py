"""ONNX's own conformance cases for every operator that the bridge knows."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import onnx
import pytest

from domino_onnx.bridge import build, check_parity, missing_operators
from domino_onnx.bridge.ops import OPERATORS

#: Cases that the bridge answers otherwise, and why.
EXCEPTIONS = {
    r"(?i)int2|int4|float4|e8m0": "torch has no such element type",
    r"_string": "torch has no strings",
    r"^test_training_dropout": "the bridge infers; Dropout drops nothing",
    r"^test_resize_downsample_scales_(linear|cubic)_align_corners$": "as ONNX Runtime, by whole sizes",
}
STANDARD = sorted({name for domain, name in OPERATORS if domain == ""})

Cases = dict[str, list[Any]]


@pytest.fixture(scope="module")
def cases() -> Cases:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the cases overflow on purpose
        from onnx.backend.test.case.node import collect_testcases

        found = collect_testcases(None)
    by_operator: Cases = {}
    for case in found:
        excepted = any(re.search(pattern, case.name) for pattern in EXCEPTIONS)
        if case.model is not None and not excepted and not missing_operators(case.model):
            for name in {node.op_type for node in case.model.graph.node}:
                by_operator.setdefault(name, []).append(case)
    return by_operator


@pytest.mark.parametrize("name", STANDARD)
def test_operator(name: str, cases: Cases) -> None:
    wrong = []
    for case in cases.get(name, ()):
        if len(case.model.graph.node) > 1:
            continue  # the function that defines another operator, whose own case comes with it
        module = build(case.model)
        narrow = "bf16" in case.name or "float16" in case.name
        for inputs, outputs in case.data_sets:
            given = {i.name: _array(value) for i, value in zip(case.model.graph.input, inputs, strict=True)}
            expected = {o.name: _array(value) for o, value in zip(case.model.graph.output, outputs, strict=True)}
            tolerance = 1e-2 if narrow else 1e-3
            result = check_parity(module, given, expected, rtol=tolerance, atol=tolerance / 10)
            if not result.ok:
                wrong.append((case.name, result))
    assert not wrong


def _array(value: object) -> Any:
    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)
