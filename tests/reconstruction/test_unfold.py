"""Unfolded inputs times the weight as a matrix are the node's outputs: ONNX Runtime is the oracle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import helper

from domino_onnx.graph import LinearUse
from domino_onnx.reconstruction.unfold import LinearView
from domino_onnx.scheme import NMScheme, WeightLayout
from domino_onnx.solve import magnitude_mask

Array = np.ndarray[Any, np.dtype[Any]]
Run = Callable[..., list[Array]]
Make = Callable[..., Any]


def use_of(op: str, shape: Sequence[int], *, weight_input: int = 1, axes: Sequence[int] = (), **attributes: Any) -> Any:
    return LinearUse(
        index=0,
        op=op,
        value_shape=tuple(shape),
        axes=tuple(axes) or tuple(range(len(shape))),
        weight_input=weight_input,
        data="x",
        output="y",
        attributes={name: tuple(value) if isinstance(value, list) else value for name, value in attributes.items()},
        bias=None,
        joined=None,
        clipped=None,
    )


def whole_numbers(shape: Sequence[int], seed: int) -> Array:
    """Small integers, so that every sum is exact, whatever its order."""
    return np.random.default_rng(seed).integers(-4, 5, tuple(shape)).astype(np.float32)


def outputs_of(view: LinearView, weight: Array, data: Array, output: Array, chosen: Array) -> tuple[Array, Array]:
    """What the matrix gives, and what the node gave, at some positions: (blocks, positions, outputs)."""
    features, outputs = view.unfold(data, output, chosen)
    return np.einsum("bpk,bok->bpo", features, view.to_matrix(weight)), outputs


def agree(view: LinearView, weight: Array, data: Array, output: Array, seed: int) -> None:
    """At all positions, and at a few chosen ones."""
    everywhere = np.arange(view.positions(output))
    got, wanted = outputs_of(view, weight, data, output, everywhere)
    np.testing.assert_array_equal(got, wanted)
    assert sorted(wanted.reshape(-1).tolist()) == sorted(output.reshape(-1).tolist())  # none is left out or doubled
    few = np.sort(np.random.default_rng(seed).choice(everywhere, min(3, len(everywhere)), replace=False))
    at_few, wanted_few = outputs_of(view, weight, data, output, few)
    np.testing.assert_array_equal(at_few, got[:, few])
    np.testing.assert_array_equal(wanted_few, wanted[:, few])
    np.testing.assert_array_equal(view.at(output, few), wanted_few)


def round_trips(view: LinearView, weight: Array) -> None:
    matrix = view.to_matrix(weight)
    assert matrix.shape == (view.blocks, view.outputs, view.features)
    back = view.from_matrix(matrix)
    assert back.flags.c_contiguous
    np.testing.assert_array_equal(back, weight)


@given(data=st.data())
@settings(deadline=None, derandomize=True, max_examples=200, database=None)
def test_convolutions(data: st.DataObject, make_model: Make, run_ort: Run) -> None:
    rank, group = data.draw(st.integers(1, 3)), data.draw(st.sampled_from([1, 1, 2, 3]))
    each = st.lists(st.integers(1, 3), min_size=rank, max_size=rank)
    kernel, strides, space = data.draw(each), data.draw(each), [size + 3 for size in data.draw(each)]
    inputs, outputs = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 2))
    mode = data.draw(st.sampled_from(["NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    attributes: dict[str, Any] = {"strides": strides, "group": group}
    if mode != "NOTSET":
        attributes["auto_pad"] = mode
    else:
        attributes["pads"] = data.draw(st.lists(st.integers(0, 2), min_size=2 * rank, max_size=2 * rank))
    if not mode.startswith("SAME"):  # ONNX Runtime doesn't dilate with SAME
        attributes["dilations"] = data.draw(st.lists(st.integers(1, 2), min_size=rank, max_size=rank))
        reach = [d * (k - 1) + 1 for d, k in zip(attributes["dilations"], kernel, strict=True)]
        assume(all(size >= length for size, length in zip(space, reach, strict=True)))
    if data.draw(st.booleans()):
        attributes["kernel_shape"] = kernel
    shape = (group * outputs, inputs, *kernel)
    weight, x = whole_numbers(shape, 1), whole_numbers((2, group * inputs, *space), 2)
    node = helper.make_node("Conv", ["x", "w"], ["y"], **attributes)
    model = make_model([node], {"x": x.shape}, {"y": [None] * (rank + 2)}, {"w": weight})
    view = LinearView(use_of("Conv", shape, **attributes))
    agree(view, weight, x, run_ort(model, {"x": x})[0], seed=3)
    round_trips(view, weight)


@given(data=st.data())
@settings(deadline=None, derandomize=True, max_examples=200, database=None)
def test_transposed_convolutions(data: st.DataObject, make_model: Make, run_ort: Run) -> None:
    rank, group = data.draw(st.integers(1, 3)), data.draw(st.sampled_from([1, 1, 2, 3]))
    each = st.lists(st.integers(1, 3), min_size=rank, max_size=rank)
    kernel, strides, space = data.draw(each), data.draw(each), [size + 1 for size in data.draw(each)]
    dilations = data.draw(st.lists(st.integers(1, 2), min_size=rank, max_size=rank))
    inputs, outputs = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 2))
    attributes: dict[str, Any] = {"strides": strides, "dilations": dilations, "group": group}
    if data.draw(st.booleans()):
        attributes["output_padding"] = [data.draw(st.integers(0, stride - 1)) for stride in strides]
    extra = attributes.get("output_padding", [0] * rank)
    natural = [
        s * (n - 1) + e + d * (k - 1) + 1
        for s, n, e, d, k in zip(strides, space, extra, dilations, kernel, strict=True)
    ]
    how = data.draw(st.sampled_from(["pads", "pads", "VALID", "SAME_UPPER", "SAME_LOWER", "shape", "shape lower"]))
    if how == "pads":
        pads = data.draw(st.lists(st.integers(0, 1), min_size=2 * rank, max_size=2 * rank))
        assume(all(n - pads[i] - pads[rank + i] > 0 for i, n in enumerate(natural)))
        attributes["pads"] = pads
    elif how.startswith("shape"):
        attributes["output_shape"] = [max(n - data.draw(st.integers(0, 3)), 1) for n in natural]
        if how != "shape":
            attributes["auto_pad"] = data.draw(st.sampled_from(["SAME_UPPER", "SAME_LOWER"]))
    else:
        attributes["auto_pad"] = how
    shape = (group * inputs, outputs, *kernel)
    weight, x = whole_numbers(shape, 4), whole_numbers((2, group * inputs, *space), 5)
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], **attributes)
    model = make_model([node], {"x": x.shape}, {"y": [None] * (rank + 2)}, {"w": weight})
    view = LinearView(use_of("ConvTranspose", shape, **attributes))
    agree(view, weight, x, run_ort(model, {"x": x})[0], seed=6)
    round_trips(view, weight)


MATMULS = [  # the weight's shape, at which input, the other operand's shape
    ((4, 3), 1, (5, 4)),
    ((4, 3), 1, (4,)),
    ((4, 3), 1, (2, 5, 4)),
    ((4, 3), 1, (2, 2, 5, 4)),
    ((1, 4, 3), 1, (2, 5, 4)),
    ((1, 4, 3), 1, (5, 4)),
    ((1, 1, 4, 3), 1, (2, 5, 4)),
    ((2, 4, 3), 1, (2, 5, 4)),
    ((2, 4, 3), 1, (5, 4)),
    ((2, 4, 3), 1, (4,)),
    ((2, 4, 3), 1, (3, 2, 5, 4)),
    ((2, 4, 3), 1, (3, 1, 5, 4)),
    ((2, 4, 3), 1, (1, 5, 4)),
    ((2, 3, 4, 3), 1, (2, 3, 5, 4)),
    ((2, 1, 4, 3), 1, (2, 3, 5, 4)),
    ((2, 1, 4, 3), 1, (3, 5, 4)),
    ((1, 3, 4, 3), 1, (2, 3, 5, 4)),
    ((3, 4), 0, (4, 5)),
    ((3, 4), 0, (4,)),
    ((3, 4), 0, (2, 4, 5)),
    ((2, 3, 4), 0, (2, 4, 5)),
    ((2, 3, 4), 0, (4, 5)),
    ((2, 3, 4), 0, (4,)),
    ((2, 3, 4), 0, (3, 1, 4, 5)),
    ((2, 1, 3, 4), 0, (3, 4, 5)),
]


@pytest.mark.parametrize(("shape", "place", "other"), MATMULS)
def test_matmuls(shape: Sequence[int], place: int, other: Sequence[int], make_model: Make, run_ort: Run) -> None:
    weight, x = whole_numbers(shape, 7), whole_numbers(other, 8)
    node = helper.make_node("MatMul", ["x", "w"] if place else ["w", "x"], ["y"])
    expected = x @ weight if place else weight @ x
    output = run_ort(make_model([node], {"x": other}, {"y": [None] * expected.ndim}, {"w": weight}), {"x": x})[0]
    np.testing.assert_array_equal(output, expected)
    view = LinearView(use_of("MatMul", shape, weight_input=place))
    agree(view, weight, x, output, seed=9)
    round_trips(view, weight)


def test_a_vector_is_refused() -> None:
    with pytest.raises(ValueError, match="vector"):
        LinearView(use_of("MatMul", (4,)))


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("trans_a", [0, 1])
@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize("alpha", [1.0, -2.0])
def test_gemms(place: int, trans_a: int, trans_b: int, alpha: float, make_model: Make, run_ort: Run) -> None:
    shapes = {"a": (4, 3) if trans_a else (3, 4), "b": (2, 4) if trans_b else (4, 2)}
    weight, x = whole_numbers(shapes["b" if place else "a"], 10), whole_numbers(shapes["a" if place else "b"], 11)
    attributes = {"transA": trans_a, "transB": trans_b, "alpha": alpha}
    node = helper.make_node("Gemm", ["x", "w"] if place else ["w", "x"], ["y"], **attributes)
    output = run_ort(make_model([node], {"x": x.shape}, {"y": (3, 2)}, {"w": weight}), {"x": x})[0]
    view = LinearView(use_of("Gemm", weight.shape, weight_input=place, **attributes))
    agree(view, weight, x, output, seed=12)
    round_trips(view, weight)


@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_what_a_node_adds_is_the_difference(beta: float, make_model: Make, run_ort: Run) -> None:
    weight, x, c = whole_numbers((4, 2), 13), whole_numbers((3, 4), 14), whole_numbers((2,), 15)
    node = helper.make_node("Gemm", ["x", "w", "c"], ["y"], beta=beta)
    output = run_ort(make_model([node], {"x": x.shape}, {"y": (3, 2)}, {"w": weight, "c": c}), {"x": x})[0]
    got, wanted = outputs_of(LinearView(use_of("Gemm", (4, 2))), weight, x, output, np.arange(3))
    np.testing.assert_array_equal(got + beta * c, wanted)


@pytest.mark.parametrize(
    ("op", "shape", "axes", "attributes"),
    [
        ("MatMul", (4, 3), (1, 0), {}),
        ("MatMul", (2, 4, 3), (2, 0, 1), {}),
        ("Gemm", (3, 4), (1, 0), {"transB": 1}),
        ("Conv", (6, 4, 1, 2), (3, 2, 0, 1), {"group": 2}),
        ("ConvTranspose", (8, 2, 3), (1, 2, 0), {"group": 2}),
    ],
)
def test_weights_behind_a_transpose(
    op: str, shape: Sequence[int], axes: Sequence[int], attributes: dict[str, Any], make_model: Make, run_ort: Run
) -> None:
    """Axis k of the value is axis axes[k] of the stored tensor: that is what Transpose's perm says."""
    value = whole_numbers(shape, 16)
    stored = np.ascontiguousarray(np.transpose(value, np.argsort(axes)))
    inner = {"MatMul": (*shape[:-2], 5, shape[-2]), "Gemm": (5, shape[-1])}.get(op, (2, 8, *[4] * (len(shape) - 2)))
    x = whole_numbers(inner, 17)
    nodes = [
        helper.make_node("Transpose", ["w"], ["v"], perm=list(axes)),
        helper.make_node(op, ["x", "v"], ["y"], **attributes),
    ]
    output = run_ort(make_model(nodes, {"x": inner}, {"y": [None] * len(inner)}, {"w": stored}), {"x": x})[0]
    view = LinearView(use_of(op, shape, axes=axes, **attributes))
    agree(view, stored, x, output, seed=18)
    round_trips(view, stored)


@pytest.mark.parametrize(
    ("use", "layout"),
    [
        (use_of("Conv", (6, 8, 3, 2), group=2), WeightLayout.conv((6, 8, 3, 2))),
        (use_of("Conv", (4, 8, 3)), WeightLayout.conv((4, 8, 3))),
        (use_of("ConvTranspose", (16, 3, 2, 2), group=2), WeightLayout.conv_transpose((16, 3, 2, 2), 2)),
        (use_of("MatMul", (2, 8, 3)), WeightLayout.matrix((2, 8, 3), left=False)),
        (use_of("MatMul", (2, 3, 8), weight_input=0), WeightLayout.matrix((2, 3, 8), left=True)),
        (use_of("Gemm", (3, 8), transB=1), WeightLayout.matrix((3, 8), left=False, transposed=True)),
        (
            use_of("Gemm", (8, 3), weight_input=0, transA=1),
            WeightLayout.matrix((8, 3), left=True, transposed=True),
        ),
        (
            use_of("Conv", (6, 8, 3, 2), axes=(3, 2, 0, 1)),
            WeightLayout.conv((6, 8, 3, 2)).stored_as((3, 2, 0, 1), (3, 2, 8, 6)),
        ),
    ],
)
def test_groups_are_those_of_the_layout(use: LinearUse, layout: WeightLayout) -> None:
    view = LinearView(use)
    weight = np.random.default_rng(19).permutation(layout.size).astype(np.float32).reshape(layout.shape)
    for m in (2, 4, 8):
        by_layout = {tuple(sorted(group)) for group in layout.to_groups(weight, m).tolist()}
        by_matrix = {tuple(sorted(group)) for group in view.to_matrix(weight).reshape(-1, m).tolist()}
        assert by_layout == by_matrix
        scheme = NMScheme(m // 2, m)
        matrix = view.to_matrix(weight).reshape(-1, view.features)
        flat = magnitude_mask(matrix, WeightLayout(matrix.shape, 1), scheme)
        np.testing.assert_array_equal(view.from_matrix(flat), magnitude_mask(weight, layout, scheme))


def test_half_precision_stays_what_it_is(make_model: Make) -> None:
    view = LinearView(use_of("Conv", (2, 4, 3), pads=[1, 1]))
    data = whole_numbers((2, 4, 5), 20).astype(np.float16)
    features, outputs = view.unfold(data, np.zeros((2, 2, 5), np.float16), np.arange(10))
    assert features.dtype == outputs.dtype == np.float16
