"""The comparison itself: what counts as equal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
import torch

from domino_onnx.bridge import GraphModule, build, check_parity, first_difference, mismatch, prove_parity
from domino_onnx.errors import DataError
from domino_onnx.graph import OnnxFile, read_model
from domino_onnx.runtime import Session


@pytest.fixture(scope="module")
def module() -> GraphModule:
    text = "g (float[n] x) => (float[n] y, int64[n] k) { y = Identity(x)  k = Cast<to = 7>(x) }"
    return build(onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {text}'))


def x(*values: float) -> dict[str, np.ndarray]:
    return {"x": np.array(values, np.float32)}


def test_equal_outputs_pass(module) -> None:
    result = check_parity(module, x(1, 2), {"y": x(1, 2)["x"], "k": np.array([1, 2])})
    assert (result.ok, result.max_abs, result.max_rel) == (True, 0, 0)


def test_small_differences_pass_and_great_ones_name_their_output(module) -> None:
    assert check_parity(module, x(1000), {"y": x(1000.5)["x"]}).ok
    result = check_parity(module, x(1, 2), {"k": np.array([1, 2]), "y": x(1, 2.5)["x"]})
    assert not result.ok
    assert result.worst_output == "y"
    assert result.max_abs == pytest.approx(0.5)
    assert result.max_rel == pytest.approx(0.2)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_narrow_floats_may_differ_by_a_few_roundings(dtype: str) -> None:
    text = f"g ({dtype}[n] x) => ({dtype}[n] y) {{ y = Identity(x) }}"
    narrow = build(onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {text}'))
    kind = getattr(ml_dtypes, dtype, np.float16)
    eps = float(ml_dtypes.finfo(kind).eps)
    given = {"x": np.ones(1, kind)}
    assert check_parity(narrow, given, {"y": np.full(1, 1 + 8 * eps, kind)}).ok
    assert not check_parity(narrow, given, {"y": np.full(1, 1 + 24 * eps, kind)}).ok


@pytest.mark.parametrize("output", ["float16", "float"])
def test_what_cancels_out_has_the_error_of_what_it_came_from(output: str) -> None:
    """Half a spacing at the scale of the terms is far more than any share of the small one that is left of them."""
    kind = 10 if output == "float16" else 1
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 17]> g (float16[1, 2] x) => ({output}[1, 2] y) '
        f"{{ p = MatMul(x, w)  y = Cast<to = {kind}>(p) }}"
    )
    weight = np.array([[1, 1], [0, -1]], np.float16)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    half, given = build(model), {"x": np.array([[64, 63.9375]], np.float16)}
    exact = (given["x"] @ weight).astype(np.float16 if kind == 10 else np.float32)
    moved, wrong = exact.copy(), exact.copy()
    moved[0, 1] += 0.03125
    wrong[0, 1] += 1
    assert check_parity(half, given, {"y": moved}).ok
    assert not check_parity(half, given, {"y": wrong}).ok


def test_rounding_that_grows_before_it_is_squashed_is_no_difference() -> None:
    """Large terms cancel out; what is left goes through Tanh, whose scale of 1 tells nothing of them."""
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[4, 256] x) => (float[4, 32] y) '
        "{ p = MatMul(x, w)  y = Tanh(p) }"
    )
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((256, 32)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    basis = np.linalg.svd(weight.astype(np.float64))[0][:, 32:]  # what all columns cancel out
    inputs = 50 * rng.standard_normal((4, 224)) @ basis.T + 5e-2 * rng.standard_normal((4, 256))
    given = {"x": inputs.astype(np.float32)}
    products = given["x"][:, :, None] * weight
    backwards = np.zeros((4, 32), np.float32)
    for place in reversed(range(256)):
        backwards += products[:, place]
    module = build(model)
    mine = module({"x": torch.from_numpy(given["x"])})["y"].numpy()
    expected, wrong = np.tanh(backwards), np.tanh(1.05 * backwards)
    assert np.any(np.abs(expected - mine) > 1e-4 + 1e-3 * np.abs(expected))  # what is granted without a closer look
    assert check_parity(module, given, {"y": expected}).ok
    assert not check_parity(module, given, {"y": wrong}).ok
    assert np.array_equal(module({"x": torch.from_numpy(given["x"])})["y"].numpy(), mine)  # its weights are its own


def test_integers_must_be_equal(module) -> None:
    assert not check_parity(module, x(100_000), {"k": np.array([100_001])}).ok


@pytest.mark.parametrize(
    ("given", "expected", "ok"),
    [
        ((np.nan, 1), (np.nan, 1), True),
        ((np.nan, 1), (1, np.nan), False),
        ((np.inf,), (np.inf,), True),
        ((np.inf,), (-np.inf,), False),
        ((np.inf,), (1,), False),
        ((), (), True),
    ],
)
def test_what_is_not_a_number_must_stand_in_the_same_place(module, given, expected, ok) -> None:
    assert check_parity(module, x(*given), {"y": x(*expected)["x"]}).ok is ok


def test_shape_and_type_count(module) -> None:
    assert not check_parity(module, x(1, 2), {"y": np.ones((2, 1), np.float32)}).ok
    assert not check_parity(module, x(1, 2), {"y": np.array([1, 2], np.float64)}).ok


@pytest.mark.parametrize("expected", [{}, {"z": np.zeros(1)}])
def test_expected_outputs_must_exist(module, expected) -> None:
    with pytest.raises(DataError):
        check_parity(module, x(1), expected)


CHAIN = """<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] z, float[2] y)
    { z = Identity(x)  e = Exp(x)  big = Abs(e)  t = Tanh(big)  y = Neg(t) }"""


@pytest.fixture
def chain(save: Callable[..., Path]) -> OnnxFile:
    """x -> Exp -> Abs -> Tanh -> Neg."""
    return read_model(save(onnx.parser.parse_model(CHAIN)))


def test_the_first_tensor_that_differs_is_named(chain, wrong_operator, reference) -> None:
    wrong_operator("Abs", "Neg")
    module, inputs = build(chain.proto), x(1, 2)
    parity = check_parity(module, inputs, reference(chain.proto, inputs))
    assert (parity.ok, parity.worst_output) == (False, "y")
    first = first_difference(chain, module, inputs, threads=1)
    assert first is not None
    assert (first.tensor, first.node) == ("big", "node 'big' (Abs)")
    assert first.max_abs == pytest.approx(1)
    words = mismatch(parity, first)
    assert "output 'y'" in words
    assert "the first tensor that differs is 'big' of node 'big' (Abs)" in words


def test_nothing_is_named_where_nothing_differs(chain) -> None:
    assert first_difference(chain, build(chain.proto), x(1, 2), threads=1) is None


def test_nothing_is_named_where_onnx_runtime_refuses(chain, wrong_operator) -> None:
    wrong_operator("Abs")
    assert first_difference(chain, build(chain.proto), {"x": np.ones(3)}, threads=1) is None


def test_what_onnx_runtime_fuses_counts_as_the_graph_says_it(tmp_path: Path) -> None:
    """Between these two quantisations it computes a convolution of integers, which rounds at other places."""
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]> g (float[1, 8, 32, 32] x) => (float[1, 16, 32, 32] y) <
            float wide = {0.02}, float narrow = {0.01}, float coarse = {0.03}, int8 zero = {0}> {
            q = QuantizeLinear(x, wide, zero)  x_ = DequantizeLinear(q, wide, zero)
            w_ = DequantizeLinear(w, narrow, zero)  c = Conv<pads = [1, 1, 1, 1]>(x_, w_)
            r = QuantizeLinear(c, coarse, zero)  y = DequantizeLinear(r, coarse, zero) }"""
    )
    generator = np.random.default_rng(0)
    weight = generator.integers(-127, 128, (16, 8, 3, 3)).astype(np.int8)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    path = tmp_path / "quantised.onnx"
    onnx.save(model, path)
    file = read_model(path)
    bridge = build(file.proto)
    given = {"x": generator.standard_normal((1, 8, 32, 32)).astype(np.float32)}
    fused = Session(path, threads=1).run(given)
    assert not check_parity(bridge, given, fused).ok
    assert prove_parity(file, bridge, given, fused).ok
    with torch.no_grad():
        next(bridge.parameters()).zero_()
    assert not prove_parity(file, bridge, given, fused).ok
