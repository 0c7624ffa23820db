"""int8 operators give what plain integer sums give, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from .drawn import drawn, schemes, some
from .nodes import Array, node_model, run_node, sparse_integers, stored_weight


def unfolded(
    x: Array, kernel: list[int], strides: list[int], dilations: list[int], pads: list[int], fill: int
) -> Array:
    """(images, *space out, *kernel, channels) of (images, *space, channels), looked up one by one."""
    axes = len(kernel)
    edges = [(0, 0), *((pads[axis], pads[axis + axes]) for axis in range(axes)), (0, 0)]
    padded = np.pad(x, edges, constant_values=fill)
    reach = [(size - 1) * step + 1 for size, step in zip(kernel, dilations, strict=True)]
    out = [(padded.shape[1 + axis] - reach[axis]) // strides[axis] + 1 for axis in range(axes)]
    unfolded = np.empty((len(x), *out, *kernel, x.shape[-1]), x.dtype)
    for place in np.ndindex(*out):
        for tap in np.ndindex(*kernel):
            at = tuple(p * s + t * d for p, s, t, d in zip(place, strides, tap, dilations, strict=True))
            unfolded[(slice(None), *place, *tap)] = padded[(slice(None), *at)]
    return unfolded


@some
@given(data=st.data(), scheme=schemes, seed=st.integers(0, 99))
def test_convolutions(
    library: str, instruction_set: str, data: st.DataObject, scheme: tuple[int, int], seed: int
) -> None:
    n, m = scheme
    made = drawn(data, m, most=2, most_padding=2, space=(40, 9, 4), outputs=20)
    generator = np.random.default_rng(seed)
    weight = sparse_integers(generator, (made.outputs * made.groups, *made.kernel, made.inputs), n, m)
    x = generator.integers(0, 256, (2, *made.space, made.groups * made.inputs)).astype(np.uint8)
    scales = generator.uniform(0.001, 0.02, made.outputs * made.groups).astype(np.float32)
    offsets = generator.uniform(-50, 200, made.outputs * made.groups).astype(np.float32)
    zero_point = data.draw(st.integers(0, 255))
    seen = unfolded(x, made.kernel, made.strides, made.dilations, made.pads, zero_point).astype(np.int64)
    in_groups = seen.reshape(*seen.shape[:-1], made.groups, made.inputs)
    rows = np.moveaxis(in_groups, -2, 1 + made.axes).reshape(*seen.shape[: 1 + made.axes], made.groups, -1)
    sums = np.einsum("...gk,gok->...go", rows, weight.reshape(made.groups, made.outputs, -1).astype(np.int64))
    floats = sums.reshape(*sums.shape[:-2], -1).astype(np.float32) * scales + offsets
    residual = generator.integers(0, 256, floats.shape).astype(np.uint8)
    floats = floats + residual.astype(np.float32) * np.float32(0.5)
    stored, grouping = stored_weight(weight)
    attributes: dict[str, Any] = {
        "weight_shape": (made.outputs * made.groups, made.inputs, *made.kernel),
        "group": made.groups,
        "strides": made.strides,
        "dilations": made.dilations,
        "pads": made.pads,
        "x_zero_point": zero_point,
        "residual_scale": 0.5,
        "min": 3.0,
        **grouping,
    }
    model = node_model(
        "NmConvInt8",
        ["x", "values", "codes", "scales", "offsets", "r"],
        {**stored, "scales": scales, "offsets": offsets},
        **attributes,
    )
    found = run_node(library, model, {"x": x, "r": residual})
    np.testing.assert_array_equal(found, np.rint(np.clip(floats, 3, 255)).astype(np.uint8))


def _quantized(x: Array) -> tuple[Array, Array, Array]:
    """Rows of floats as bytes between their extremes and zero, with scale and zero point, as docs/cpu.md says."""
    low, high = np.minimum(x.min(axis=1, keepdims=True), 0), np.maximum(x.max(axis=1, keepdims=True), 0)
    scale = np.maximum(high / np.float32(255) - low / np.float32(255), np.float32(1e-30))
    inverse = np.float32(1) / scale
    zero_point = np.rint(np.clip(-low * inverse, 0, 255))
    return np.clip(np.rint(x * inverse) + zero_point, 0, 255), scale, zero_point


@some
@given(
    scheme=schemes,
    groups=st.integers(1, 5),
    outputs=st.integers(1, 40),
    rows=st.integers(1, 40),
    seed=st.integers(0, 99),
)
def test_matrices(
    library: str, instruction_set: str, scheme: tuple[int, int], groups: int, outputs: int, rows: int, seed: int
) -> None:
    n, m = scheme
    generator = np.random.default_rng(seed)
    weight = sparse_integers(generator, (outputs, m * groups), n, m)
    x = (generator.normal(size=(rows, m * groups)) * generator.uniform(0, 9)).astype(np.float32)
    scales = generator.uniform(0.001, 0.02, outputs).astype(np.float32)
    bias = generator.normal(size=outputs).astype(np.float32)
    stored, grouping = stored_weight(weight)
    model = node_model(
        "NmMatMulInt8",
        ["x", "values", "codes", "scales", "b"],
        {**stored, "scales": scales, "b": bias},
        weight_shape=weight.shape,
        **grouping,
    )
    bytes_of, scale, zero_point = _quantized(x)
    sums = (bytes_of.astype(np.int64) - zero_point.astype(np.int64)) @ weight.astype(np.int64).T
    wanted = sums.astype(np.float32) * (scale * scales) + bias
    np.testing.assert_array_equal(run_node(library, model, {"x": x}), wanted)


@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("behind", [{}, {"min": -1.0, "max": 1.0}, {"activation": "Gelu"}])
def test_a_row_with_a_value_that_is_no_number_gives_none(
    library: str, instruction_set: str, value: float, behind: dict[str, Any]
) -> None:
    generator = np.random.default_rng(0)
    weight = sparse_integers(generator, (20, 80), 2, 16)
    stored, grouping = stored_weight(weight)
    model = node_model(
        "NmMatMulInt8",
        ["x", "values", "codes", "scales"],
        {**stored, "scales": np.ones(20, np.float32)},
        weight_shape=weight.shape,
        **behind,
        **grouping,
    )
    x = generator.normal(size=(2 * 80, 80)).astype(np.float32)
    sound = run_node(library, model, {"x": x})
    assert np.isfinite(sound).all()
    x[np.arange(0, 160, 2), np.arange(80)] = value  # each place of a row in turn
    found = run_node(library, model, {"x": x})
    assert np.isnan(found[::2]).all()
    np.testing.assert_array_equal(found[1::2], sound[1::2])


@pytest.mark.parametrize("zero_point", [0, 7, 255])
def test_borders_take_what_is_no_number_as_onnx_runtime_does(
    library: str, instruction_set: str, zero_point: int
) -> None:
    x = np.tile(np.array([np.nan, -np.nan, np.inf, -np.inf, 1e38, 1], np.float32), 15).reshape(1, 6, 15)
    grid = {"scale": np.array(0.1, np.float32), "zero_point": np.array(zero_point, np.uint8)}
    quantize = node_model("QuantizeLinear", ["x", *grid], grid, domain="")
    wanted = run_node(library, quantize, {"x": x})
    found = run_node(library, node_model("NmToBytes", ["x"], {}, scale=0.1, zero_point=zero_point), {"x": x})
    np.testing.assert_array_equal(found, np.moveaxis(wanted, 1, -1))


@some
@given(
    images=st.integers(0, 3),
    channels=st.integers(1, 40),
    space=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    scale=st.floats(0.015625, 8, width=32),
    zero_point=st.integers(0, 255),
)
def test_borders(library: str, images: int, channels: int, space: list[int], scale: float, zero_point: int) -> None:
    """As QuantizeLinear and DequantizeLinear, with the channels moved."""
    x = (np.random.default_rng(channels).normal(size=(images, channels, *space)) * 300).astype(np.float32)
    grid = {"scale": np.array(scale, np.float32), "zero_point": np.array(zero_point, np.uint8)}
    wanted = np.moveaxis(np.clip(np.rint(x / grid["scale"]) + zero_point, 0, 255), 1, -1).astype(np.uint8)
    to_bytes = node_model("NmToBytes", ["x"], {}, scale=scale, zero_point=zero_point)
    np.testing.assert_array_equal(run_node(library, to_bytes, {"x": x}), wanted)
    to_floats = node_model("NmToFloats", ["x"], {}, scale=scale, zero_point=zero_point)
    floats = (np.moveaxis(wanted, -1, 1).astype(np.float32) - np.float32(zero_point)) * grid["scale"]
    np.testing.assert_array_equal(run_node(library, to_floats, {"x": wanted}), floats)


@pytest.mark.parametrize(
    ("shape", "factors"), [((2, 5, 7), [3]), ((2, 3, 4, 17), [2, 3]), ((1, 2, 3, 4, 5), [1, 2, 4])]
)
def test_larger_images_repeat_their_pixels(library: str, shape: tuple[int, ...], factors: list[int]) -> None:
    x = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    wanted = x
    for axis, factor in enumerate(factors):
        wanted = wanted.repeat(factor, axis=1 + axis)
    found = run_node(library, node_model("NmUpsampleInt8", ["x"], {}, factors=factors), {"x": x})
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("factors", [[], [2], [0, 2], [2, 1 << 20], [1, 1, 1, 1]])
def test_impossible_factors_are_refused(library: str, factors: list[int]) -> None:
    model = node_model("NmUpsampleInt8", ["x"], {}, **({"factors": factors} if factors else {}))
    with pytest.raises(Exception, match="factors"):
        run_node(library, model, {"x": np.zeros((1, 2, 3, 4), np.uint8)})
