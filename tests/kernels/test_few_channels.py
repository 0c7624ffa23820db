"""Convolutions of few channels and pools give what ONNX Runtime's own operators give, and plain integer sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from .drawn import drawn, some
from .nodes import Array, node_model, open_model, run_node, stored_weight
from .test_bytes import unfolded

WIDTHS = (7, 14, 28, 56, 112, 2049)


def _close(found: Array, wanted: Array) -> None:
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * max(1.0, float(np.abs(wanted).max(initial=0))))


def _both(library: str, x: Array, weight: Array, bias: Array, how: dict[str, Any]) -> tuple[Array, Array]:
    """Ours and ONNX Runtime's."""
    theirs = node_model("Conv", ["x", "w", "b"], {"w": weight, "b": bias}, domain="", **how)
    wanted = run_node(library, theirs, {"x": x})
    stored, grouping = stored_weight(np.ascontiguousarray(np.moveaxis(weight, 1, -1)))
    ours = node_model(
        "NmConv", ["x", *stored, "b"], {**stored, "b": bias}, weight_shape=weight.shape, **grouping, **how
    )
    return run_node(library, ours, {"x": x}), wanted


@some
@given(data=st.data(), seed=st.integers(0, 99), inputs=st.integers(1, 4))
def test_few_channels_in_floats(
    library: str, instruction_set: str, data: st.DataObject, seed: int, inputs: int
) -> None:
    made = drawn(data, 1, most=5, most_padding=4, space=(300, 40, 19), outputs=9)
    generator, outputs = np.random.default_rng(seed), made.groups * made.outputs
    x = generator.normal(size=(2, made.groups * inputs, *made.space)).astype(np.float32)
    weight = generator.normal(size=(outputs, inputs, *made.kernel)).astype(np.float32)
    bias = generator.normal(size=outputs).astype(np.float32)
    how = {"strides": made.strides, "dilations": made.dilations, "pads": made.pads, "group": made.groups}
    _close(*_both(library, x, weight, bias, how))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_rows_of_networks(library: str, instruction_set: str, width: int, kernel: int, stride: int) -> None:
    generator = np.random.default_rng(width)
    x = generator.normal(size=(1, 3, min(width, 112), width)).astype(np.float32)
    weight = generator.normal(size=(3, 1, kernel, kernel)).astype(np.float32)
    how = {"strides": [stride] * 2, "pads": [kernel // 2] * 4, "group": 3}
    _close(*_both(library, x, weight, generator.normal(size=3).astype(np.float32), how))


def test_residual_bounds_and_activation(library: str, instruction_set: str) -> None:
    generator = np.random.default_rng(0)
    x, residual = (generator.normal(size=(2, 6, 9, 13)).astype(np.float32) for _ in range(2))
    weight, bias = generator.normal(size=(6, 1, 3, 3)).astype(np.float32), np.zeros(6, np.float32)
    how = {"pads": [1] * 4, "group": 6}
    _, sums = _both(library, x, weight, bias, how)
    stored, grouping = stored_weight(np.ascontiguousarray(np.moveaxis(weight, 1, -1)))
    model = node_model(
        "NmConv",
        ["x", *stored, "", "r"],
        stored,
        weight_shape=weight.shape,
        min=-1.0,
        max=2.0,
        activation="HardSwish",
        **grouping,
        **how,
    )
    inner = np.clip(sums + residual, -1, 2)
    _close(run_node(library, model, {"x": x, "r": residual}), inner * np.clip(inner / 6 + 0.5, 0, 1))


@pytest.mark.parametrize("space", [(7, 7), (30, 41), (1, 5000), (3, 8, 9)])
def test_outputs_do_not_depend_on_threads(library: str, space: tuple[int, ...]) -> None:
    """Vectors go beyond their rows, and must not reach those of another task."""
    x = np.random.default_rng(1).normal(size=(2, 90, *space)).astype(np.float32)
    weight = np.random.default_rng(2).normal(size=(90, 1, *[1] * (len(space) - 1), 3)).astype(np.float32)
    stored, grouping = stored_weight(np.ascontiguousarray(np.moveaxis(weight, 1, -1)))
    how = {"pads": [0] * (len(space) - 1) + [1] + [0] * (len(space) - 1) + [1], "group": 90}
    model = node_model("NmConv", ["x", *stored], stored, weight_shape=weight.shape, **grouping, **how)
    one, four = (open_model(model, library, threads=threads).run(None, {"x": x})[0] for threads in (1, 4))
    np.testing.assert_array_equal(one, four)


@some
@given(data=st.data(), channels=st.integers(2, 300), seed=st.integers(0, 99))
def test_in_bytes(library: str, instruction_set: str, data: st.DataObject, channels: int, seed: int) -> None:
    made = drawn(data, 1, most=3, most_padding=2, space=(40, 9, 5), outputs=1)
    generator = np.random.default_rng(seed)
    weight = generator.integers(-128, 128, (channels, *made.kernel, 1)).astype(np.int8)
    x = generator.integers(0, 256, (2, *made.space, channels)).astype(np.uint8)
    scales = generator.uniform(0.001, 0.02, channels).astype(np.float32)
    offsets = generator.uniform(-50, 200, channels).astype(np.float32)
    zero_point = data.draw(st.integers(0, 255))
    seen = unfolded(x, made.kernel, made.strides, made.dilations, made.pads, zero_point).astype(np.int64)
    seen = seen.reshape(*seen.shape[: 1 + made.axes], -1, channels)
    floats = np.einsum("...kc,ck->...c", seen, weight.reshape(channels, -1).astype(np.int64)).astype(np.float32)
    stored, grouping = stored_weight(weight)
    model = node_model(
        "NmConvInt8",
        ["x", *stored, "scales", "offsets"],
        {**stored, "scales": scales, "offsets": offsets},
        weight_shape=(channels, 1, *made.kernel),
        group=channels,
        strides=made.strides,
        dilations=made.dilations,
        pads=made.pads,
        x_zero_point=zero_point,
        **grouping,
    )
    wanted = np.rint(np.clip(floats * scales + offsets, 0, 255)).astype(np.uint8)
    np.testing.assert_array_equal(run_node(library, model, {"x": x}), wanted)


@some
@given(
    data=st.data(),
    channels=st.integers(1, 70),
    mode=st.sampled_from(["max", "average"]),
    counts=st.integers(0, 1),
    whole=st.integers(0, 1),
)
def test_pools(
    library: str, instruction_set: str, data: st.DataObject, channels: int, mode: str, counts: int, whole: int
) -> None:
    """As MaxPool and AveragePool of the bytes' values, in floats."""
    made = drawn(data, 1, most=3, most_padding=0, space=(40, 9, 5), outputs=1)
    pads = [data.draw(st.integers(0, size - 1)) for size in made.kernel * 2]
    zero_point = data.draw(st.integers(0, 255))
    x = np.random.default_rng(channels).integers(0, 256, (2, *made.space, channels)).astype(np.uint8)
    counts = min(counts, 1 - whole)
    how: dict[str, Any] = {"kernel_shape": made.kernel, "strides": made.strides, "pads": pads, "ceil_mode": whole}
    ours = node_model("NmPoolInt8", ["x"], {}, mode=mode, zero_point=zero_point, count_include_pad=counts, **how)
    theirs: dict[str, Any] = {"count_include_pad": counts} if mode == "average" else {}
    pool = node_model("MaxPool" if mode == "max" else "AveragePool", ["x"], {}, domain="", **how, **theirs)
    values = np.moveaxis(x.astype(np.float32) - zero_point, -1, 1)
    wanted = np.moveaxis(run_node(library, pool, {"x": np.ascontiguousarray(values)}), 1, -1) + zero_point
    assert np.abs(run_node(library, ours, {"x": x}) - wanted).max() <= (0 if mode == "max" else 0.5 + 1e-4)


@pytest.mark.parametrize("zero_point", [0, 3, 128, 255])
def test_means_between_two_bytes_round_as_quantizelinear_does(
    library: str, instruction_set: str, zero_point: int
) -> None:
    """It rounds to the nearest even number of steps, and adds the zero point to that."""
    how = {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0, 0, 0, 1], "count_include_pad": 1, "ceil_mode": 0}
    model = node_model("NmPoolInt8", ["x"], {}, mode="average", zero_point=zero_point, **how)
    x = np.random.default_rng(0).integers(0, 256, (2, 6, 9, 40)).astype(np.uint8)
    padded = np.pad(x.astype(np.float64), [(0, 0), (0, 0), (0, 1), (0, 0)], constant_values=zero_point)
    means = padded.reshape(2, 3, 2, 5, 2, 40).mean(axis=(2, 4))
    assert (means % 1 == 0.5).mean() > 0.2
    np.testing.assert_array_equal(run_node(library, model, {"x": x}), np.rint(means - zero_point) + zero_point)


@pytest.mark.parametrize("channels", [1, 40, 1280])
def test_means_of_channels(library: str, instruction_set: str, channels: int) -> None:
    x = np.random.default_rng(0).integers(0, 256, (3, 7, 5, channels)).astype(np.uint8)
    model = node_model("NmGlobalAveragePoolInt8", ["x"], {}, scale=0.25, zero_point=9)
    wanted = (x.mean(axis=(1, 2), dtype=np.float64) - 9) * 0.25
    np.testing.assert_allclose(run_node(library, model, {"x": x}), wanted[:, :, None, None], rtol=1e-6, atol=1e-5)


def test_a_window_larger_than_its_input_is_refused(library: str) -> None:
    model = node_model(
        "NmPoolInt8", ["x"], {}, mode="max", kernel_shape=[3, 3], zero_point=0, count_include_pad=0, ceil_mode=0
    )
    with pytest.raises(Exception, match="smaller than the kernel"):
        run_node(library, model, {"x": np.zeros((1, 2, 9, 4), np.uint8)})


def test_an_unknown_pool_is_refused(library: str) -> None:
    model = node_model(
        "NmPoolInt8", ["x"], {}, mode="median", kernel_shape=[3], zero_point=0, count_include_pad=0, ceil_mode=0
    )
    with pytest.raises(Exception, match="neither max nor average"):
        run_node(library, model, {"x": np.zeros((1, 9, 4), np.uint8)})
