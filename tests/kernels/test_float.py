"""float32 operators give what ONNX Runtime gives for the same weights with their zeros in place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from .drawn import drawn, schemes, some
from .nodes import node_model, run_node, sparse, stored_weight


def _close(found: np.ndarray, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * max(1.0, float(np.abs(wanted).max(initial=0))))


@some
@given(data=st.data(), scheme=schemes, seed=st.integers(0, 99))
def test_convolutions(
    library: str, instruction_set: str, data: st.DataObject, scheme: tuple[int, int], seed: int
) -> None:
    n, m = scheme
    made = drawn(data, m, most=3, most_padding=3, space=(90, 17, 9), outputs=9)
    generator = np.random.default_rng(seed)
    weight = sparse(generator, (made.outputs * made.groups, *made.kernel, made.inputs), n, m)
    x = generator.normal(size=(data.draw(st.integers(1, 3)), made.groups * made.inputs, *made.space)).astype(np.float32)
    bias = generator.normal(size=made.outputs * made.groups).astype(np.float32)
    how = {"strides": made.strides, "dilations": made.dilations, "pads": made.pads, "group": made.groups}
    dense = {"w": np.ascontiguousarray(np.moveaxis(weight, -1, 1)), "b": bias}
    wanted = run_node(library, node_model("Conv", ["x", "w", "b"], dense, domain="", **how), {"x": x})
    stored, grouping = stored_weight(weight)
    shape = dense["w"].shape
    model = node_model(
        "NmConv", ["x", "values", "codes", "b"], {**stored, "b": bias}, weight_shape=shape, **grouping, **how
    )
    _close(run_node(library, model, {"x": x}), wanted)


@some
@given(
    scheme=schemes, groups=st.integers(1, 5), outputs=st.integers(1, 70), rows=st.integers(0, 70), bias=st.booleans()
)
def test_matrices(
    library: str, instruction_set: str, scheme: tuple[int, int], groups: int, outputs: int, rows: int, bias: bool
) -> None:
    n, m = scheme
    generator = np.random.default_rng(rows)
    weight = sparse(generator, (outputs, m * groups), n, m)
    x = generator.normal(size=(2, rows, m * groups)).astype(np.float32)
    b = generator.normal(size=outputs).astype(np.float32)
    stored, grouping = stored_weight(weight)
    given_bias = {"b": b} if bias else {}
    model = node_model(
        "NmMatMul",
        ["x", "values", "codes", *given_bias],
        {**stored, **given_bias},
        weight_shape=weight.shape,
        **grouping,
    )
    _close(run_node(library, model, {"x": x}), x @ weight.T + (b if bias else 0))


def test_residual_and_bounds(library: str, instruction_set: str) -> None:
    generator = np.random.default_rng(0)
    weight = sparse(generator, (40, 64), 2, 16)
    stored, grouping = stored_weight(weight)
    x = generator.normal(size=(2, 64, 5, 5)).astype(np.float32)
    r = generator.normal(size=(2, 40, 5, 5)).astype(np.float32)
    how = {"weight_shape": (40, 64, 1, 1), "group": 1, "min": -0.5, "max": 0.75, **grouping}
    model = node_model("NmConv", ["x", "values", "codes", "", "r"], stored, **how)
    wanted = np.clip(np.einsum("oc,nchw->nohw", weight, x) + r, -0.5, 0.75)
    _close(run_node(library, model, {"x": x, "r": r}), wanted)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_stays_none(library: str, instruction_set: str, value: float) -> None:
    stored, grouping = stored_weight(np.ones((3, 4), np.float32))
    model = node_model("NmMatMul", ["x", "values", "codes"], stored, weight_shape=(3, 4), min=0.0, **grouping)
    found = run_node(library, model, {"x": np.array([[value, 1, 1, 1]], np.float32)})
    np.testing.assert_array_equal(found, np.full((1, 3), value, np.float32))


@some
@given(
    scheme=schemes,
    groups=st.integers(1, 20),
    outputs=st.integers(1, 9),
    is_image=st.booleans(),
    value=st.sampled_from([np.inf, -np.inf, np.nan]),
    seed=st.integers(0, 99),
)
def test_outputs_see_what_is_no_number_by_weights_that_are_not_zero(
    library: str,
    instruction_set: str,
    scheme: tuple[int, int],
    groups: int,
    outputs: int,
    is_image: bool,
    value: float,
    seed: int,
) -> None:
    """Each input in turn is no number."""
    n, m = scheme
    inputs = m * groups + 16 * is_image  # more than have loops of their own
    generator = np.random.default_rng(seed)
    weight = np.zeros((outputs, inputs), np.float32)
    weight[:, : m * groups] = sparse(generator, (outputs, m * groups), n, m)
    stored, grouping = stored_weight(weight)
    x = generator.normal(size=(inputs, inputs)).astype(np.float32)
    x[np.arange(inputs), np.arange(inputs)] = value
    counted = weight.T != 0
    if is_image:
        how = {"weight_shape": (outputs, inputs, 1), "group": 1}
        x = np.ascontiguousarray(x.T)[None]
    else:
        how = {"weight_shape": weight.shape}
    op = "NmConv" if is_image else "NmMatMul"
    found = run_node(library, node_model(op, ["x", "values", "codes"], stored, **how, **grouping), {"x": x})
    found = found[0].T if is_image else found
    np.testing.assert_array_equal(found[counted], weight.T[counted] * np.float32(value))
    assert np.isfinite(found[~counted]).all()
