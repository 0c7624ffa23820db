"""Rows are what the operators really sum over: shown by the operators themselves, and by loops."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from domino_onnx.scheme import WeightLayout


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=4),
    st.integers(0, 3),
    st.sampled_from([1, 2, 3]),
)
@settings(deadline=None, derandomize=True, max_examples=150)
def test_rows_are_the_groups_of_plain_loops_and_come_back(shape: list[int], axis: int, parts: int) -> None:
    axis %= len(shape)
    shape[axis] *= parts
    tensor = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    layout = WeightLayout(tuple(shape), axis, parts)
    rows = layout.to_rows(tensor)
    others = [range(size) for position, size in enumerate(shape) if position != axis]
    length = shape[axis] // parts
    expected = []
    for place in itertools.product(*others):
        for part in range(parts):
            index = [(*place[:axis], part * length + offset, *place[axis:]) for offset in range(length)]
            expected.append([tensor[where] for where in index])
    assert rows.tolist() == expected
    assert (layout.rows, layout.reduction, layout.size) == (len(expected), length, tensor.size)
    back = layout.from_rows(rows)
    assert back.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(back, tensor)


OPERATORS = [
    pytest.param(
        helper.make_node("Conv", ["x", "w"], ["y"]), WeightLayout.conv((3, 8, 2, 2)), (1, 8, 2, 2), 8, id="conv"
    ),
    pytest.param(helper.make_node("Conv", ["x", "w"], ["y"]), WeightLayout.conv((3, 8, 3)), (1, 8, 3), 8, id="conv-1d"),
    pytest.param(
        helper.make_node("Conv", ["x", "w"], ["y"]),
        WeightLayout.conv((2, 4, 1, 2, 1)),
        (1, 4, 1, 2, 1),
        4,
        id="conv-3d",
    ),
    pytest.param(
        helper.make_node("Conv", ["x", "w"], ["y"], group=2),
        WeightLayout.conv((4, 4, 2, 2)),
        (1, 8, 2, 2),
        4,
        id="grouped",
    ),
    pytest.param(
        helper.make_node("ConvTranspose", ["x", "w"], ["y"]),
        WeightLayout.conv_transpose((8, 3, 2, 2), 1),
        (1, 8, 1, 1),
        8,
        id="transposed",
    ),
    pytest.param(
        helper.make_node("ConvTranspose", ["x", "w"], ["y"], group=2),
        WeightLayout.conv_transpose((8, 3, 2, 2), 2),
        (1, 8, 1, 1),
        4,
        id="transposed-grouped",
    ),
    pytest.param(
        helper.make_node("Gemm", ["x", "w"], ["y"]), WeightLayout.matrix((8, 3), left=False), (1, 8), 8, id="gemm"
    ),
    pytest.param(
        helper.make_node("Gemm", ["x", "w"], ["y"], transB=1),
        WeightLayout.matrix((3, 8), left=False, transposed=True),
        (1, 8),
        8,
        id="gemm-transB",
    ),
    pytest.param(
        helper.make_node("Gemm", ["w", "x"], ["y"]), WeightLayout.matrix((3, 8), left=True), (8, 1), 8, id="gemm-left"
    ),
    pytest.param(
        helper.make_node("Gemm", ["w", "x"], ["y"], transA=1),
        WeightLayout.matrix((8, 3), left=True, transposed=True),
        (8, 1),
        8,
        id="gemm-left-transA",
    ),
    pytest.param(
        helper.make_node("MatMul", ["x", "w"], ["y"]), WeightLayout.matrix((8, 3), left=False), (1, 8), 8, id="matmul"
    ),
    pytest.param(
        helper.make_node("MatMul", ["w", "x"], ["y"]),
        WeightLayout.matrix((3, 8), left=True),
        (8, 1),
        8,
        id="matmul-left",
    ),
    pytest.param(
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        WeightLayout.matrix((2, 8, 3), left=False),
        (2, 1, 8),
        8,
        id="matmul-batched",
    ),
    pytest.param(
        helper.make_node("MatMul", ["x", "w"], ["y"]), WeightLayout.matrix((8,), left=False), (1, 8), 8, id="vector"
    ),
    pytest.param(
        helper.make_node("MatMul", ["w", "x"], ["y"]), WeightLayout.matrix((8,), left=True), (8, 1), 8, id="vector-left"
    ),
]


@pytest.mark.parametrize(("node", "layout", "x_shape", "reduction"), OPERATORS)
def test_each_row_feeds_one_output_channel_through_different_inputs(
    node: Any,
    layout: WeightLayout,
    x_shape: tuple[int, ...],
    reduction: int,
    make_model: Callable[..., Any],
    run_ort: Callable[..., list[Any]],
) -> None:
    """With ones in one row and zeros elsewhere, every output that isn't zero sums `reduction` distinct inputs.

    The inputs are powers of two, so that the sum tells which of them were read.
    """
    assert layout.reduction == reduction
    count = int(np.prod(x_shape))
    assert count <= 48
    x = (2.0 ** np.arange(count)).reshape(x_shape)
    reference_sets = []
    for row in range(layout.rows):
        rows = np.zeros((layout.rows, reduction), np.float64)
        rows[row] = 1
        weight = layout.from_rows(rows)
        model = make_model([node], {"x": x_shape}, {"y": None}, {"w": weight}, dtype=11)
        if node.op_type in ("Conv", "ConvTranspose"):  # ONNX Runtime has them in float32 only: 24 bits are enough
            model = make_model([node], {"x": x_shape}, {"y": None}, {"w": weight.astype(np.float32)})
        out = exact_run(model, x, weight, run_ort)
        for value in out.reshape(-1)[out.reshape(-1) != 0]:
            used = [bit for bit in range(count) if int(value) >> bit & 1]
            assert int(value) == sum(1 << bit for bit in used)
            assert len(used) == reduction
            reference_sets.append(used)
        assert np.count_nonzero(out), "the row feeds nothing"
        single = [out.reshape(-1) != 0]
        for place in range(reduction):
            alone = np.zeros_like(rows)
            alone[row, place] = 1
            part = exact_run(model, x, layout.from_rows(alone), run_ort).reshape(-1)
            single.append(part != 0)
        assert all((mask == single[0]).all() for mask in single), "a weight of the row feeds another output"


def exact_run(model: Any, x: Any, weight: Any, run_ort: Callable[..., list[Any]]) -> Any:
    """The outputs without rounding: one run for every bit of the input."""
    from onnx import numpy_helper

    kind = np.float32 if model.graph.input[0].type.tensor_type.elem_type == 1 else np.float64
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight.astype(kind), "w"))
    if kind == np.float64:
        return run_ort(model, {"x": x})[0]
    halves = [np.where(np.log2(x) // 16 == part, x / 2.0 ** (16 * part), 0) for part in range(3)]
    outs = [run_ort(model, {"x": half.astype(np.float32)})[0].astype(np.float64) for half in halves]
    return sum(out * 2.0 ** (16 * part) for part, out in enumerate(outs))


@given(st.permutations([0, 1, 2]), st.integers(0, 2))
@settings(deadline=None, derandomize=True, max_examples=18)
def test_a_layout_seen_through_a_transpose_names_the_stored_axis(axes: list[int], axis: int) -> None:
    stored = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    view = stored.transpose(axes)
    layout = WeightLayout(view.shape, axis)
    through = layout.stored_as(axes, stored.shape)
    assert through.shape == stored.shape
    assert sorted(map(sorted, through.to_rows(stored).tolist())) == sorted(map(sorted, layout.to_rows(view).tolist()))


@pytest.mark.parametrize(
    ("shape", "axis", "parts"), [((8,), 0, 1), ((4, 8), 1, 1), ((8, 3), 0, 1), ((2, 8, 3, 3), 1, 1), ((24, 2, 3), 0, 3)]
)
def test_stacked_groups_and_groups_by_number_are_those_of_to_groups(
    shape: tuple[int, ...], axis: int, parts: int
) -> None:
    layout, tensor = WeightLayout(shape, axis, parts), np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    groups = layout.to_groups(tensor, 4)
    stack = layout.stacked(tensor, 4)
    assert np.shares_memory(stack, tensor)
    assert sorted(stack.swapaxes(1, 2).reshape(-1, 4).tolist()) == sorted(groups.tolist())
    places = np.array([len(groups) - 1, 0, len(groups) // 2])
    np.testing.assert_array_equal(layout.groups_at(tensor, 4, places), groups[places])
