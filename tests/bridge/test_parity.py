"""The comparison itself: what counts as equal."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from domino_onnx.bridge import GraphModule, build, check_parity
from domino_onnx.errors import DataError


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
