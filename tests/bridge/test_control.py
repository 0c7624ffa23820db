"""Loop and Scan against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

from domino_onnx.bridge import build
from domino_onnx.scheme.key import WeightKey


def parse(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {text}')


LOOP = """g (float[2] x, int64 trips, bool start, float limit) => (float[2] last, float[k, 2] all)
    <float[2] w = {2, 3}>
    { last, all = Loop (trips, start, x) <
        body = b (int64 i, bool c, float[2] v) => (bool go, float[2] n, float[2] n2)
        { n = Mul(v, w)  n2 = Identity(n)  s = ReduceSum<keepdims = 0>(n)  go = Less(s, limit) }> }"""


@pytest.mark.parametrize(("trips", "limit"), [(3, 1e9), (50, 100.0), (1, 0.0)])
def test_a_loop_ends_by_count_or_condition(parity, trips: int, limit: float) -> None:
    inputs = {
        "x": np.array([1, 1], np.float32),
        "trips": np.array(trips),
        "start": np.array(True),
        "limit": np.array(limit, np.float32),
    }
    assert parity(parse(LOOP), inputs).ok


def test_a_gradient_passes_through_every_iteration() -> None:
    module = build(parse(LOOP))
    weight = module.weights[WeightKey("w")].requires_grad_(True)
    inputs = {"trips": torch.tensor(3), "start": torch.tensor(True), "limit": torch.tensor(1e9)}
    module({"x": torch.ones(2), **inputs})["last"].sum().backward()
    torch.testing.assert_close(weight.grad, torch.tensor([12.0, 27.0]))


@pytest.mark.parametrize("attributes", ["", ", scan_input_directions = [1]", ", scan_output_directions = [1]"])
def test_a_scan_folds_slices(parity, attributes: str) -> None:
    model = parse(f"""g (float[2] x, float[4, 2] rows) => (float[2] total, float[4, 2] sums)
        {{ total, sums = Scan (x, rows) <num_scan_inputs = 1{attributes}, body = b
            (float[2] t, float[2] r) => (float[2] n, float[2] o) {{ n = Add(t, r)  o = Neg(n) }}> }}""")
    rows = np.arange(8, dtype=np.float32).reshape(4, 2)
    assert parity(model, {"x": np.array([1, 2], np.float32), "rows": rows}).ok


def test_without_an_iteration_there_are_no_rows() -> None:
    inputs = {"x": torch.ones(2), "trips": torch.tensor(0), "start": torch.tensor(True), "limit": torch.tensor(1.0)}
    found = build(parse(LOOP))(inputs)
    torch.testing.assert_close(found["last"], torch.ones(2))
    assert found["all"].numel() == 0
    model = parse("""g (float[2] x, float[k, 2] rows) => (float[2] total, float[k, 2] sums)
        { total, sums = Scan (x, rows) <num_scan_inputs = 1, body = b
            (float[2] t, float[2] r) => (float[2] n, float[2] o) { n = Add(t, r)  o = Neg(n) }> }""")
    found = build(model)({"x": torch.ones(2), "rows": torch.zeros(0, 2)})
    torch.testing.assert_close(found["total"], torch.ones(2))
    assert found["sums"].numel() == 0
