"""Channel groups: what is found, what is left alone, and that any permutation of what is found changes no output."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

from domino_onnx.graph import infer_shapes, read_model
from domino_onnx.graph.channels.groups import ChannelGroup, channel_groups, settled_shapes
from domino_onnx.graph.channels.permute import permuted_values
from domino_onnx.graph.index import GraphIndex

Array = np.ndarray[Any, np.dtype[Any]]
Make = Callable[..., ModelProto]
node = helper.make_node
REFUSALS = (Fail, InvalidArgument, RuntimeException)
SHARED = Path(os.environ.get("DOMINO_ONNX_SHARED", "/nonexistent"))
SAMPLES = Path(__file__).resolve().parents[2] / "sample_models"
#: Sizes to try for dimensions that a model leaves open, until ONNX Runtime accepts the input.
SIZES = (2, 1, 3, 4, 8, 16, 32, 64, 128, 512)


def values(*shape: int, seed: int = 1) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def positive(*shape: int) -> Array:
    return np.abs(values(*shape)) + np.float32(0.5)


def int64(*items: int) -> Array:
    return np.array(items, np.int64)


def shuffled(model: ModelProto, groups: tuple[ChannelGroup, ...]) -> ModelProto:
    """A copy of the model with every group permuted at random, and none of them left as it was."""
    copy = ModelProto()
    copy.CopyFrom(model)
    stored = GraphIndex(copy).stored_tensors()
    rng = np.random.default_rng(5)
    moves = [(group, np.roll(rng.permutation(group.size), 1)) for group in groups]
    for key, array in permuted_values(lambda key: numpy_helper.to_array(stored[key]), moves).items():
        stored[key].CopyFrom(numpy_helper.from_array(array, stored[key].name))
    return copy


def assert_equal(expected: list[Any], found: list[Any]) -> None:
    """Within rounding, of the output's scale: sums are taken in another order."""
    for one, other in zip(map(np.asarray, expected), map(np.asarray, found), strict=True):
        if one.dtype.kind != "f":
            assert np.array_equal(one, other)
        elif one.size:
            scale = float(np.nanmax(np.abs(np.where(np.isfinite(one), one, 0)), initial=0))
            np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-4 * scale)


def described(groups: tuple[ChannelGroup, ...]) -> list[tuple[int, list[str]]]:
    """Size and members of each group: a consumer has a star."""
    return sorted(
        (
            group.size,
            sorted(f"{member.key}:{member.axis}{'*' * (member.role == 'consumer')}" for member in group.members),
        )
        for group in groups
    )


Check = Callable[..., list[tuple[int, list[str]]]]


@pytest.fixture
def check(make_model: Make, run_ort: Callable[..., list[Array]]) -> Check:
    """The groups of a graph; whatever they are, permuting them must not change what it computes."""

    def run(
        nodes: list[onnx.NodeProto],
        arrays: Mapping[str, Array],
        x: tuple[int | str, ...] = (1, 3, 6, 6),
        *,
        outputs: tuple[str, ...] = ("y",),
        **more: Any,
    ) -> list[tuple[int, list[str]]]:
        model = make_model(nodes, {"x": x}, dict.fromkeys(outputs), arrays, **more)
        groups = channel_groups(model)
        given = {"x": values(*(axis if isinstance(axis, int) else 2 for axis in x), seed=9)}
        assert_equal(run_ort(model, given), run_ort(shuffled(model, groups), given))
        return described(groups)

    return run


def between(*middle: onnx.NodeProto, last: str = "t") -> list[onnx.NodeProto]:
    """A convolution from x to s, then `middle` from s to `last`, then one to y."""
    return [node("Conv", ["x", "w", "b"], ["s"]), *middle, node("Conv", [last, "v"], ["y"])]


CONVS = {"w": values(8, 3, 1, 1), "b": values(8), "v": values(4, 8, 1, 1, seed=2)}
PLAIN = ["b:0", "v:1*", "w:0"]
THROUGH = [
    pytest.param([node("Relu", ["s"], ["t"])], {}, [], id="relu"),
    pytest.param(
        [node("Clip", ["s", "low", "high"], ["t"])], {"low": np.float32(0), "high": np.float32(6)}, [], id="clip"
    ),
    pytest.param([node("Softmax", ["s"], ["t"], axis=1)], {}, [], id="softmax-across"),
    pytest.param([node("LpNormalization", ["s"], ["t"], axis=1)], {}, [], id="lp-normalization"),
    pytest.param([node("Dropout", ["s"], ["t"])], {}, [], id="dropout"),
    pytest.param([node("Cast", ["s"], ["d"], to=11), node("Cast", ["d"], ["t"], to=1)], {}, [], id="cast"),
    pytest.param([node("Mul", ["s", "c"], ["t"])], {"c": values(8, 1, 1)}, ["c:0"], id="mul-C11"),
    pytest.param([node("Mul", ["c", "s"], ["t"])], {"c": values(1, 8, 1, 1)}, ["c:1"], id="mul-1C11"),
    pytest.param([node("Add", ["s", "c"], ["t"])], {"c": values(6)}, [], id="add-along-width"),
    pytest.param([node("Add", ["s", "c"], ["t"])], {"c": values(8, 6, 6)}, ["c:0"], id="add-CHW"),
    pytest.param([node("PRelu", ["s", "c"], ["t"])], {"c": values(8, 1, 1)}, ["c:0"], id="prelu"),
    pytest.param(
        [node("BatchNormalization", ["s", "g", "h", "i", "j"], ["t"])],
        {"g": values(8), "h": values(8), "i": values(8), "j": positive(8)},
        ["g:0", "h:0", "i:0", "j:0"],
        id="batch-normalization",
    ),
    pytest.param(
        [node("InstanceNormalization", ["s", "g", "h"], ["t"])],
        {"g": values(8), "h": values(8)},
        ["g:0", "h:0"],
        id="instance-normalization",
    ),
    pytest.param([node("MaxPool", ["s"], ["t"], kernel_shape=[2, 2])], {}, [], id="max-pool"),
    pytest.param([node("GlobalAveragePool", ["s"], ["t"])], {}, [], id="global-pool"),
    pytest.param([node("ReduceMean", ["s"], ["t"], axes=[2, 3])], {}, [], id="reduce-mean"),
    pytest.param([node("Pad", ["s", "p"], ["t"])], {"p": int64(0, 0, 1, 1, 0, 0, 1, 1)}, [], id="pad"),
    pytest.param([node("Pad", ["s", "p"], ["t"], mode="reflect")], {"p": int64(*[0, 0, 1, 1] * 2)}, [], id="reflect"),
    pytest.param(
        [node("Slice", ["s", "i", "j", "k"], ["t"])], {"i": int64(1), "j": int64(5), "k": int64(2)}, [], id="slice"
    ),
    pytest.param(
        [node("Resize", ["s", "", "f"], ["t"], mode="nearest")],
        {"f": np.array([1, 1, 2, 2], np.float32)},
        [],
        id="resize-scales",
    ),
    pytest.param(
        [node("Resize", ["s", "", "", "f"], ["t"], mode="linear")], {"f": int64(1, 8, 9, 9)}, [], id="resize-sizes"
    ),
    pytest.param(
        [node("Conv", ["s", "d", "e"], ["t"], group=8, kernel_shape=[3, 3])],
        {"d": values(8, 1, 3, 3), "e": values(8)},
        ["d:0", "e:0"],
        id="depthwise",
    ),
    pytest.param(
        [node("ConvTranspose", ["s", "d", "e"], ["t"], group=8)],
        {"d": values(8, 1, 3, 3), "e": values(8)},
        ["d:0", "e:0"],
        id="depthwise-transposed",
    ),
    pytest.param(
        [
            node("Transpose", ["s"], ["l"], perm=[0, 2, 3, 1]),
            node("Add", ["l", "c"], ["m"]),
            node("Transpose", ["m"], ["t"], perm=[0, 3, 1, 2]),
        ],
        {"c": values(8)},
        ["c:0"],
        id="channels-last",
    ),
    pytest.param(
        [node("Unsqueeze", ["s", "a"], ["l"]), node("Squeeze", ["l", "a"], ["t"])],
        {"a": int64(1)},
        [],
        id="unsqueeze-squeeze",
    ),
    pytest.param(
        [node("Reshape", ["s", "a"], ["l"]), node("Reshape", ["l", "z"], ["t"])],
        {"a": int64(0, 8, -1), "z": int64(0, 0, 6, 6)},
        [],
        id="reshape-pixels",
    ),
    pytest.param(
        [
            node("GlobalAveragePool", ["s"], ["p"]),
            node("Conv", ["p", "q"], ["r"]),
            node("Sigmoid", ["r"], ["u"]),
            node("Mul", ["s", "u"], ["t"]),
        ],
        {"q": values(8, 8, 1, 1)},
        ["q:0", "q:1*"],
        id="squeeze-and-excite",
    ),
    pytest.param(
        [
            node("QuantizeLinear", ["s", "g", "h"], ["l"], axis=1),
            node("DequantizeLinear", ["l", "g", "h"], ["t"], axis=1),
        ],
        {"g": positive(8) / 16, "h": np.zeros(8, np.int8)},
        ["g:0", "h:0"],
        id="quantized-per-channel",
    ),
    pytest.param(
        [
            node("Transpose", ["s"], ["l"], perm=[0, 2, 3, 1]),
            node("LayerNormalization", ["l", "g", "h"], ["m"]),
            node("Transpose", ["m"], ["t"], perm=[0, 3, 1, 2]),
        ],
        {"g": values(8), "h": values(8)},
        ["g:0", "h:0"],
        id="layer-normalization",
    ),
    pytest.param(
        [
            node("ReduceMean", ["s"], ["mean"], axes=[1]),
            node("Sub", ["s", "mean"], ["c"]),
            node("Pow", ["c", "two"], ["sq"]),
            node("ReduceMean", ["sq"], ["var"], axes=[1]),
            node("Sqrt", ["var"], ["sd"]),
            node("Div", ["c", "sd"], ["t"]),
        ],
        {"two": np.float32(2)},
        [],
        id="decomposed-normalization",
    ),
    pytest.param(
        [node("Reshape", ["c", "a"], ["c4"]), node("Add", ["s", "c4"], ["t"])],
        {"c": values(8), "a": int64(1, 8, 1, 1)},
        ["c:0"],
        id="reshaped-constant",
    ),
    pytest.param(
        [node("Shape", ["s"], ["l"]), node("Reshape", ["s", "l"], ["t"])], {}, [], id="reshape-to-its-own-shape"
    ),
]


@pytest.mark.parametrize("batch", [1, "batch"])
@pytest.mark.parametrize(("middle", "arrays", "more"), THROUGH)
def test_channels_go_through(
    middle: list[onnx.NodeProto], arrays: dict[str, Array], more: list[str], batch: int | str, check: Check
) -> None:
    if batch == "batch" and any(one.op_type == "Resize" and len(one.input) > 3 for one in middle):
        pytest.skip("the sizes name a batch of 1")
    found = check(between(*middle), {**CONVS, **arrays}, (batch, 3, 6, 6))
    assert found == [(8, sorted([*PLAIN, *more]))]


FROZEN = [
    pytest.param([node("LRN", ["s"], ["t"], size=3)], {}, id="lrn"),
    pytest.param([node("CumSum", ["s", "a"], ["t"])], {"a": np.array(1, np.int64)}, id="cumsum"),
    pytest.param([node("Hardmax", ["s"], ["t"], axis=1)], {}, id="hardmax"),
    pytest.param([node("Conv", ["s", "d"], ["t"], group=2)], {"d": values(8, 4, 1, 1)}, id="grouped"),
    pytest.param([node("ConvTranspose", ["s", "d"], ["t"], group=2)], {"d": values(8, 4, 1, 1)}, id="grouped-back"),
    pytest.param([node("MaxPool", ["s"], ["t", "i"], kernel_shape=[2, 2])], {}, id="max-pool-indices"),
    pytest.param(
        [node("Pad", ["s", "p"], ["t"], mode="reflect")],
        {"p": int64(*[0, 2, 0, 0] * 2), "v": values(4, 12, 1, 1)},
        id="reflect-channels",
    ),
    pytest.param(
        [node("Reshape", ["s", "a"], ["t"])], {"a": int64(0, 12, 6, 4), "v": values(4, 12, 1, 1)}, id="reshape-mixing"
    ),
    pytest.param(
        [node("Transpose", ["s"], ["l"], perm=[0, 2, 1, 3]), node("Reshape", ["l", "a"], ["t"])],
        {"a": int64(0, 8, 6, 6)},
        id="transpose-then-reshape",
    ),
    pytest.param([node("Add", ["s", "other"], ["t"])], {}, id="add-graph-input"),
    pytest.param(
        [
            node(
                "If",
                ["yes"],
                ["t"],
                then_branch=helper.make_graph(
                    [node("Relu", ["s"], ["o"])], "a", [], [helper.make_tensor_value_info("o", 1, None)]
                ),
                else_branch=helper.make_graph(
                    [node("Neg", ["s"], ["p"])], "b", [], [helper.make_tensor_value_info("p", 1, None)]
                ),
            )
        ],
        {"yes": np.array(True)},
        id="if",
    ),
    pytest.param(
        [node("DepthToSpace", ["s"], ["l"], blocksize=2), node("SpaceToDepth", ["l"], ["t"], blocksize=2)],
        {},
        id="depth-to-space",
    ),
]


@pytest.mark.parametrize(("middle", "arrays"), FROZEN)
def test_channels_stay(middle: list[onnx.NodeProto], arrays: dict[str, Array], make_model: Make, run_ort: Any) -> None:
    inputs = {"x": (1, 3, 6, 6), "other": (1, 8, 6, 6)}
    model = make_model(between(*middle), inputs, {"y": None}, {**CONVS, **arrays})
    run_ort(model, {name: values(*shape) for name, shape in inputs.items()})
    assert channel_groups(model) == ()


def test_a_graph_output_freezes(check: Check) -> None:
    nodes = between(node("Relu", ["s"], ["t"]))
    assert check(nodes, CONVS, outputs=("y", "t")) == []


def test_an_initializer_that_is_a_graph_output_freezes(check: Check) -> None:
    assert check(between(last="s"), CONVS, outputs=("y", "b")) == []


def test_an_overridable_initializer_freezes_and_an_old_listed_one_does_not(make_model: Make) -> None:
    model = make_model(between(last="s"), {"x": (1, 3, 6, 6)}, {"y": None}, CONVS)
    for name, array in CONVS.items():
        assert described(channel_groups(model)) == ([(8, PLAIN)] if name == "w" else [])
        model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape))
    assert channel_groups(model) == ()
    model.ir_version = 3
    assert described(channel_groups(model)) == [(8, PLAIN)]


def test_a_subgraph_that_captures_a_weight_freezes_it(check: Check) -> None:
    branches = {
        name: helper.make_graph(
            [node("Identity", ["b"], [name])], name, [], [helper.make_tensor_value_info(name, 1, [8])]
        )
        for name in ("then_branch", "else_branch")
    }
    nodes = [*between(last="s"), node("If", ["yes"], ["z"], **branches)]
    assert check(nodes, {**CONVS, "yes": np.array(True)}, outputs=("y", "z")) == []


def test_a_residual_connection_joins_its_producers_and_consumers(check: Check) -> None:
    nodes = [
        node("Conv", ["x", "w", "b"], ["s"]),
        node("Conv", ["s", "d"], ["m"]),
        node("Conv", ["m", "e"], ["n"]),
        node("Add", ["s", "n"], ["t"]),
        node("Conv", ["t", "v"], ["y"]),
    ]
    found = check(nodes, {**CONVS, "d": values(6, 8, 1, 1), "e": values(8, 6, 1, 1)})
    assert found == [(6, ["d:0", "e:1*"]), (8, ["b:0", "d:1*", "e:0", "v:1*", "w:0"])]


def test_adding_one_channel_to_all_leaves_them_free(check: Check) -> None:
    nodes = between(node("Conv", ["s", "d"], ["m"]), node("Mul", ["s", "m"], ["t"]))
    assert check(nodes, {**CONVS, "d": values(1, 8, 1, 1)}) == [(8, ["b:0", "d:1*", "v:1*", "w:0"])]


def test_a_batch_that_might_broadcast_freezes_what_it_meets(make_model: Make) -> None:
    # The batch of x meets the eight rows of a constant product: 1 and 8 are both possible at run time.
    nodes = [
        node("MatMul", ["p", "q"], ["r"]),
        node("Add", ["x", "r"], ["s"]),
        node("Transpose", ["s"], ["t"]),
        node("MatMul", ["t", "v"], ["y"]),
    ]
    arrays = {"p": values(8, 3), "q": values(3, 5), "v": values(8, 4)}
    assert described(channel_groups(make_model(nodes, {"x": (1, 5)}, {"y": None}, arrays)))[-1] == (8, ["p:0", "v:0*"])
    open_batch = make_model(nodes, {"x": ("n", 5)}, {"y": None}, arrays)
    assert all("v:0*" not in members for _, members in described(channel_groups(open_batch)))


def test_settled_shapes_forget_the_axes_that_follow_the_batch(make_model: Make) -> None:
    model = make_model([node("Conv", ["x", "w"], ["y"])], {"x": ("n", 3, 6, 6)}, {"y": None}, {"w": values(8, 3, 1, 1)})
    assert infer_shapes(model)[((), "y")] == (1, 8, 6, 6)
    assert settled_shapes(model)[((), "y")] == (None, 8, 6, 6)


def test_a_shared_weight_joins_the_groups_of_its_readers(check: Check) -> None:
    nodes = [
        node("Conv", ["x", "w"], ["s"]),
        node("Conv", ["x", "u"], ["t"]),
        node("Conv", ["s", "v"], ["p"]),
        node("Conv", ["t", "v"], ["q"]),
        node("Add", ["p", "q"], ["y"]),
    ]
    arrays = {"w": values(8, 3, 1, 1), "u": values(8, 3, 1, 1, seed=3), "v": values(4, 8, 1, 1)}
    assert check(nodes, arrays) == [(8, ["u:0", "v:1*", "w:0"])]


def test_a_weight_that_something_else_reads_freezes(check: Check) -> None:
    nodes = [*between(last="s"), node("CumSum", ["w", "a"], ["z"])]
    assert check(nodes, {**CONVS, "a": np.array(0, np.int64)}, outputs=("y", "z")) == []


def test_a_weight_applied_twice_ties_its_own_axes(check: Check) -> None:
    nodes = [
        node("MatMul", ["x", "w"], ["s"]),
        node("MatMul", ["s", "r"], ["t"]),
        node("Tanh", ["t"], ["u"]),
        node("MatMul", ["u", "r"], ["p"]),
        node("MatMul", ["p", "v"], ["y"]),
    ]
    arrays = {"w": values(3, 8), "r": values(8, 8), "v": values(8, 4)}
    assert check(nodes, arrays, (2, 3)) == [(8, ["r:0*", "r:1", "v:0*", "w:1"])]


def test_pieces_of_a_concat_are_permuted_within_themselves(check: Check) -> None:
    nodes = [
        node("Conv", ["x", "w"], ["s"]),
        node("Conv", ["x", "u"], ["r"]),
        node("Concat", ["s", "x", "r"], ["t"], axis=1),
        node("Relu", ["t"], ["q"]),
        node("Conv", ["q", "v"], ["y"]),
    ]
    arrays = {"w": values(8, 3, 1, 1), "u": values(5, 3, 1, 1), "v": values(4, 16, 1, 1)}
    assert check(nodes, arrays) == [(5, ["u:0", "v:1*"]), (8, ["v:1*", "w:0"])]


def test_a_concat_of_a_tensor_with_itself_keeps_its_copies_together(check: Check) -> None:
    nodes = between(node("Concat", ["s", "s"], ["t"], axis=1))
    assert check(nodes, {**CONVS, "v": values(4, 16, 1, 1)}) == [(8, PLAIN)]


def test_a_concat_crossed_with_itself_is_left_alone(check: Check) -> None:
    # Channels 0-3 meet 4-7: no two may move unless their partners do, which pairs (0, 4), (1, 5), ... may.
    nodes = between(
        node("Split", ["s", "k"], ["a", "c"], axis=1),
        node("Concat", ["c", "a"], ["d"], axis=1),
        node("Mul", ["s", "d"], ["t"]),
    )
    found = check(nodes, {**CONVS, "k": int64(4, 4)})
    assert all(size < 8 for size, _ in found)


def test_a_slice_divides_the_channels_that_it_takes_from_the_others(check: Check) -> None:
    nodes = [
        *between(node("Slice", ["s", "i", "j", "k", "l"], ["t"])),
        node("Conv", ["s", "u"], ["z"]),
    ]
    arrays = {
        **CONVS,
        "v": values(4, 3, 1, 1),
        "u": values(4, 8, 1, 1),
        "i": int64(-1),
        "j": int64(1),
        "k": int64(1),
        "l": int64(-2),
    }
    found = check(nodes, arrays, outputs=("y", "z"))
    assert found == [(3, ["b:0", "u:1*", "v:1*", "w:0"]), (5, ["b:0", "u:1*", "w:0"])]


def test_padded_channels_are_free_apart_from_the_ones_that_they_surround(check: Check) -> None:
    nodes = [
        node("Conv", ["x", "w", "b"], ["s"]),
        node("Pad", ["s", "p"], ["d"]),
        node("Conv", ["x", "u"], ["q"]),
        node("Add", ["d", "q"], ["t"]),
        node("Conv", ["t", "v"], ["y"]),
    ]
    arrays = {**CONVS, "p": int64(0, 3, 0, 0, 0, 5, 0, 0), "u": values(16, 3, 1, 1), "v": values(4, 16, 1, 1)}
    found = check(nodes, arrays)
    assert found == [(8, ["b:0", "u:0", "v:1*", "w:0"]), (8, ["u:0", "v:1*"])]


@pytest.mark.parametrize("flatten", [node("Flatten", ["s"], ["t"]), node("Reshape", ["s", "a"], ["t"])])
@pytest.mark.parametrize("batch", [2, "batch"])
def test_a_flattened_map_moves_in_runs(flatten: onnx.NodeProto, batch: int | str, check: Check) -> None:
    nodes = [node("Conv", ["x", "w", "b"], ["s"]), flatten, node("Gemm", ["t", "v"], ["y"], transB=1)]
    arrays = {**CONVS, "v": values(4, 8 * 36), "a": int64(0, -1)}
    assert check(nodes, arrays, (batch, 3, 6, 6)) == [(8, PLAIN)]


def test_a_channels_last_map_moves_in_strides(check: Check, make_model: Make) -> None:
    nodes = [
        node("Conv", ["x", "w", "b"], ["s"]),
        node("Transpose", ["s"], ["l"], perm=[0, 2, 3, 1]),
        node("Flatten", ["l"], ["t"]),
        node("Gemm", ["t", "v"], ["y"]),
    ]
    # The innermost axis of a merged one isn't followed.
    assert check(nodes, {**CONVS, "v": values(8 * 36, 4)}) == []


def test_a_depthwise_multiplier_moves_its_filters_together(check: Check) -> None:
    nodes = between(node("Conv", ["s", "d"], ["t"], group=8))
    found = check(nodes, {**CONVS, "d": values(16, 1, 1, 1), "v": values(4, 16, 1, 1)})
    assert found == [(8, ["b:0", "d:0", "v:1*", "w:0"])]


def test_weights_behind_transposes_are_permuted_where_they_are_stored(check: Check) -> None:
    nodes = [
        node("Transpose", ["w"], ["wt"]),
        node("MatMul", ["x", "wt"], ["s"]),
        node("Transpose", ["v"], ["vt"]),
        node("Identity", ["vt"], ["vi"]),
        node("MatMul", ["s", "vi"], ["y"]),
    ]
    assert check(nodes, {"w": values(8, 3), "v": values(4, 8)}, (2, 5, 3)) == [(8, ["v:1*", "w:0"])]


def test_gemm_in_all_its_forms(check: Check) -> None:
    nodes = [
        node("Gemm", ["w", "x", "c"], ["s"], transA=1, transB=1),
        node("Gemm", ["s", "v"], ["y"], transA=1),
    ]
    # s is w' x', its rows are channels; c is added along them.
    arrays = {"w": values(3, 8), "c": values(8, 1), "v": values(8, 4)}
    assert check(nodes, arrays, (5, 3)) == [(8, ["c:0", "v:0*", "w:1"])]


def test_the_hidden_layer_of_a_transformer_and_its_residual_stream(check: Check) -> None:
    nodes = [
        node("MatMul", ["x", "embed"], ["h"]),
        node("LayerNormalization", ["h", "g", "o"], ["n"]),
        node("MatMul", ["n", "w1"], ["a"]),
        node("Add", ["b1", "a"], ["c"]),
        node("Div", ["c", "root2"], ["d"]),
        node("Erf", ["d"], ["e"]),
        node("Add", ["e", "one"], ["f"]),
        node("Mul", ["c", "f"], ["i"]),
        node("Mul", ["i", "half"], ["j"]),
        node("MatMul", ["j", "w2"], ["k"]),
        node("Add", ["k", "b2"], ["l"]),
        node("Add", ["h", "l"], ["m"]),
        node("MatMul", ["m", "head"], ["y"]),
    ]
    arrays = {
        "embed": values(3, 8),
        "g": values(8),
        "o": values(8),
        "w1": values(8, 12),
        "b1": values(12),
        "w2": values(12, 8),
        "b2": values(8),
        "head": values(8, 4),
        "root2": np.float32(np.sqrt(2)),
        "one": np.float32(1),
        "half": np.float32(0.5),
    }
    assert check(nodes, arrays, ("batch", 5, 3)) == [
        (8, ["b2:0", "embed:1", "g:0", "head:0*", "o:0", "w1:0*", "w2:1"]),
        (12, ["b1:0", "w1:1", "w2:0*"]),
    ]


def test_attention_moves_whole_heads(check: Check) -> None:
    def heads(name: str, perm: list[int]) -> list[onnx.NodeProto]:
        return [
            node("MatMul", ["x", f"w{name}"], [f"p{name}"]),
            node("Reshape", [f"p{name}", "split"], [f"r{name}"]),
            node("Transpose", [f"r{name}"], [name], perm=perm),
        ]

    nodes = [
        *heads("q", [0, 2, 1, 3]),
        *heads("k", [0, 2, 3, 1]),
        *heads("v", [0, 2, 1, 3]),
        node("MatMul", ["q", "k"], ["scores"]),
        node("Softmax", ["scores"], ["weights"]),
        node("MatMul", ["weights", "v"], ["o"]),
        node("Transpose", ["o"], ["ot"], perm=[0, 2, 1, 3]),
        node("Reshape", ["ot", "join"], ["joined"]),
        node("MatMul", ["joined", "out"], ["y"]),
    ]
    arrays = {f"w{name}": values(6, 12, seed=seed) for seed, name in enumerate("qkv")}
    arrays |= {"split": int64(0, 0, 3, 4), "join": int64(0, 0, 12), "out": values(12, 6)}
    assert check(nodes, arrays, (2, 5, 6)) == [(3, ["out:0*", "wk:1", "wq:1", "wv:1"])]


def test_unknown_shapes_and_domains_freeze(make_model: Make) -> None:
    custom = make_model(
        between(node("Gelu", ["s"], ["t"], domain="com.microsoft")),
        {"x": (1, 3, 6, 6)},
        {"y": (1, 4, 6, 6)},
        CONVS,
        domains={"com.microsoft": 1},
    )
    assert channel_groups(custom) == ()
    plain = make_model(between(last="s"), {"x": (1, 3, 6, 6)}, {"y": None}, CONVS)
    assert channel_groups(plain, {}) == ()


def test_tensors_that_share_their_external_bytes_freeze(make_model: Make) -> None:
    model = make_model(between(last="s"), {"x": (1, 3, 6, 6)}, {"y": None}, CONVS)
    for tensor, start in zip(model.graph.initializer, (0, 96, 100), strict=True):
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        length = 4 * int(np.prod(tensor.dims))
        for key, value in {"location": "weights", "offset": start, "length": length}.items():
            tensor.external_data.add(key=key, value=str(value))
    assert channel_groups(model) == ()


def real_models() -> Iterator[Path]:
    yield from sorted(SAMPLES.glob("*.onnx"))
    yield from sorted((SHARED / "models").glob("*.onnx"))
    yield from sorted((SHARED / "corpus").glob("*.onnx"))


#: Groups at least, so that a rule that stops working is noticed.
LEAST = {
    "ch_PP-OCRv4_rec_infer": 17,
    "ch_ppocr_mobile_v2.0_cls_infer": 25,
    "crepe-tiny": 5,
    "digits_resnet": 8,
    "digits_transformer": 8,
    "efficientnet-lite0": 24,
    "mobilenet_v1_0.25_224_float": 14,
    "resnet20_cifar10jpg": 12,
    "squeezenet1.1": 25,
}


@pytest.mark.parametrize("path", list(real_models()), ids=lambda path: path.stem)
def test_no_permutation_changes_a_real_model(path: Path) -> None:
    model = onnx.load(path)
    groups = channel_groups(read_model(path).proto)
    assert len(groups) >= LEAST.get(path.stem, 0)
    if not groups:
        pytest.skip("has no free channels")
    try:
        dense = session(model)
    except Fail as error:
        pytest.skip(f"ONNX Runtime refuses the model: {error}")
    permuted = session(shuffled(model, groups))
    ran = 0
    for size in SIZES:
        rng = np.random.default_rng(size)
        inputs = {value.name: drawn(value, size, rng) for value in dense.get_inputs()}
        try:
            expected = dense.run(None, inputs)
        except REFUSALS:
            continue
        assert_equal(expected, permuted.run(None, inputs))
        ran += all(np.asarray(output).size for output in expected)
        if ran == 2:
            return
    if not ran:
        pytest.skip("ONNX Runtime accepts none of the inputs tried")


def session(model: ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def drawn(value: ort.NodeArg, size: int, rng: np.random.Generator) -> Array:
    kinds = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
    shape = [axis if isinstance(axis, int) and axis > 0 else size for axis in value.shape]
    if value.type in kinds:
        return rng.standard_normal(shape).astype(kinds[value.type])
    integers = {"tensor(bool)": np.bool_, "tensor(int32)": np.int32, "tensor(uint8)": np.uint8, "tensor(int8)": np.int8}
    return rng.integers(0, 2, shape).astype(integers.get(value.type, np.int64))
