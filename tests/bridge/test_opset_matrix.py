"""Operators against ONNX Runtime, each at every opset where its definition changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

NEWEST = 24
I64 = np.int64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A node: its first input is fed, the others are initializers, an empty tuple is an absent one."""

    name: str
    inputs: tuple[Any, ...]
    attributes: dict[str, Any]
    first: int
    last: int
    outputs: int


def case(name: str, *inputs: Any, first: int = 7, last: int = NEWEST, outputs: int = 1, **attributes: Any) -> Case:
    return Case(name=name, inputs=inputs, attributes=attributes, first=first, last=last, outputs=outputs)


def f(*shape: int) -> np.ndarray:
    """Return floats of a shape, the same ones each time."""
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def i(*values: int) -> np.ndarray:
    return np.array(values, I64)


CONVOLUTIONS = [
    case("Conv", f(2, 2, 9), f(4, 2, 3), f(4)),
    case("Conv", f(2, 2, 9), f(4, 2, 3), pads=[2, 0], strides=[2]),
    case("Conv", f(1, 4, 8, 7), f(6, 2, 3, 2), f(6), group=2, pads=[1, 0, 1, 0], dilations=[2, 1]),
    case("Conv", f(1, 4, 8, 7), f(4, 1, 3, 3), group=4, auto_pad="SAME_UPPER", strides=[2, 2]),
    case("Conv", f(1, 2, 8, 7), f(3, 2, 2, 4), auto_pad="SAME_LOWER", strides=[1, 3]),
    case("Conv", f(1, 2, 8, 7), f(3, 2, 3, 3), auto_pad="VALID", kernel_shape=[3, 3]),
    case("Conv", f(1, 2, 5, 6, 7), f(3, 2, 3, 2, 3), pads=[1, 0, 2, 1, 1, 0]),
    case("ConvTranspose", f(1, 2, 5), f(2, 3, 3), f(3), strides=[2], output_padding=[1]),
    case("ConvTranspose", f(1, 4, 5, 4), f(4, 3, 3, 3), f(6), group=2, pads=[1, 1, 1, 1], dilations=[2, 1]),
    case("ConvTranspose", f(1, 2, 5, 4), f(2, 3, 3, 3), f(3), pads=[0, 1, 2, 0], strides=[2, 2]),
    case("ConvTranspose", f(1, 2, 5, 4), f(2, 3, 3, 3), output_shape=[10, 8], strides=[2, 2]),
    case("ConvTranspose", f(1, 2, 5, 4), f(2, 3, 3, 3), auto_pad="SAME_UPPER", strides=[2, 2]),
    case("ConvTranspose", f(1, 2, 5, 4), f(2, 3, 3, 3), auto_pad="SAME_LOWER", strides=[2, 2]),
    case("ConvTranspose", f(1, 2, 3, 4, 3), f(2, 3, 2, 2, 2), strides=[2, 1, 2]),
]
POOLINGS = [
    case("MaxPool", f(1, 2, 9), kernel_shape=[3], strides=[2]),
    case("MaxPool", f(1, 2, 9, 8), kernel_shape=[3, 2], pads=[1, 0, 2, 1]),
    case("MaxPool", f(1, 2, 9, 8), kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, first=10),
    case(
        "MaxPool",
        f(1, 2, 9, 8),
        kernel_shape=[2, 2],
        strides=[3, 3],
        ceil_mode=1,
        pads=[1, 1, 1, 1],
        first=10,
    ),
    case("MaxPool", f(1, 2, 9, 8), kernel_shape=[3, 2], dilations=[2, 3], first=10),
    case("MaxPool", f(1, 2, 9, 8), kernel_shape=[3, 3], auto_pad="SAME_UPPER", strides=[2, 2]),
    case("MaxPool", f(1, 2, 9, 8), kernel_shape=[2, 2], auto_pad="SAME_LOWER"),
    case("MaxPool", f(1, 1, 5, 4, 6), kernel_shape=[2, 2, 2]),
    case("AveragePool", f(1, 2, 9), kernel_shape=[3], strides=[2]),
    case("AveragePool", f(1, 2, 9, 8), kernel_shape=[3, 2], pads=[1, 0, 2, 1]),
    case("AveragePool", f(1, 2, 9, 8), kernel_shape=[3, 2], pads=[1, 0, 2, 1], count_include_pad=1),
    case("AveragePool", f(1, 2, 9, 8), kernel_shape=[4, 4], strides=[2, 3], ceil_mode=1, first=10),
    case("AveragePool", f(1, 2, 9, 8), kernel_shape=[3, 3], auto_pad="SAME_UPPER", strides=[2, 2]),
    case("AveragePool", f(1, 2, 9, 8), kernel_shape=[2, 3], dilations=[2, 2], first=19),
    case("LpPool", f(1, 2, 9, 8), kernel_shape=[3, 2], p=3, pads=[1, 0, 1, 1]),
    case("GlobalAveragePool", f(2, 3, 4, 5)),
    case("GlobalMaxPool", f(2, 3, 4)),
    case("GlobalLpPool", f(2, 3, 4, 5), p=1, last=21),
]
REDUCTIONS = [
    *(
        case(
            name,
            np.abs(f(2, 3, 4)) + 0.1,
            axes=[0, -1],
            keepdims=keep,
            last=12 if name == "ReduceSum" else 17,
        )
        for name in ("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax")
        for keep in (0, 1)
    ),
    *(
        case(name, f(2, 3, 4), axes=[1], last=12 if name == "ReduceSum" else 17)
        for name in ("ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare")
    ),
    *(
        case(name, np.abs(f(2, 3, 4)) + 0.1, i(0, -1), first=18)
        for name in ("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean")
    ),
    case("ReduceProd", f(2, 3, 4), i(2, 0), first=18, keepdims=0),
    case("ReduceSum", f(2, 3, 4), i(1), first=13),
    case("ReduceSum", f(2, 3, 4), first=13, noop_with_empty_axes=1),
    case("ReduceMean", f(2, 3, 4)),
    case("ArgMax", np.array([[1, 3, 3], [2, 2, 0]], np.float32), axis=1, first=12, select_last_index=1),
    case("ArgMin", np.array([[1, 3, 3], [2, 2, 0]], np.float32), axis=-1, keepdims=0, first=11),
]
SHAPES = [
    case("Reshape", f(2, 3, 4), i(0, -1)),
    case("Reshape", f(2, 0, 4), i(0, 4, 2), first=14, allowzero=1),
    case("Flatten", f(2, 3, 4), axis=2),
    case("Flatten", f(2, 3, 4), axis=-1, first=11),
    case("Transpose", f(2, 3, 4), perm=[2, 0, 1]),
    case("Transpose", f(2, 3, 4)),
    case("Squeeze", f(1, 3, 1), axes=[0], last=12),
    case("Squeeze", f(1, 3, 1), i(-1), first=13),
    case("Squeeze", f(1, 3, 1), first=13),
    case("Unsqueeze", f(3, 4), axes=[0, 3], last=12),
    case("Unsqueeze", f(3, 4), i(-1, 0), first=13),
    case("Split", f(7, 2), split=[3, 4], outputs=2, last=12),
    case("Split", f(2, 6), axis=1, outputs=3, last=12),
    case("Split", f(7, 2), i(3, 4), outputs=2, first=13),
    case("Split", f(7, 2), outputs=3, num_outputs=3, first=18),
    case("Slice", f(5, 6), starts=[1, -3], ends=[9, -1], axes=[0, 1], last=9),
    case("Slice", f(5, 6), i(4, 1), i(-99, 99), i(0, -1), i(-2, 2), first=10),
    case("Slice", f(2, 3), i(-5), i(-99), i(0), i(-1), first=10),
    case("Slice", f(2, 3), i(-5), i(-99), i(1), i(-2), first=10),
    case("Pad", f(2, 3), pads=[1, 0, 0, 2], value=1.5, last=10),
    case("Pad", f(2, 3), i(1, 0, -1, 2), np.float32(1.5), first=11),
    case("Pad", f(4, 5), i(1, 2, 3, 1), first=11, mode="reflect"),
    case("Pad", f(4, 5), i(1, 2, 3, 1), first=11, mode="edge"),
    case("Pad", f(4, 5), i(1, 2), (), i(1), first=18, mode="edge"),
    case("Pad", f(4, 5), i(1, 2, 3, 1), first=19, mode="wrap"),
    case("Expand", f(3, 1), i(2, 1, 4), first=8),
    case("Tile", f(2, 3), i(2, 1)),
    case("Concat", f(2, 3), f(2, 1), axis=-1, first=11),
    case("Gather", f(4, 3), np.array([[0, -1]]), axis=0, first=11),
    case("Shape", f(2, 3, 4), start=-2, first=15),
    case("DepthToSpace", f(1, 8, 2, 3), blocksize=2, mode="CRD", first=11),
    case("SpaceToDepth", f(1, 2, 4, 6), blocksize=2),
    case("OneHot", i(1, -1, 5), i(3), np.array([2, 7], np.float32), axis=0, first=9),
    case("TopK", f(3, 5), k=2, axis=0, outputs=2, last=9),
    case("TopK", f(3, 5), i(3), largest=0, outputs=2, first=11),
]
RESIZES = [
    case("Upsample", f(1, 2, 3, 4), scales=[1.0, 1.0, 2.0, 3.0], last=8),
    case("Upsample", f(1, 2, 3, 4), np.array([1, 1, 2, 1.5], np.float32), mode="linear", first=9, last=9),
    case("Resize", f(1, 2, 6, 4), np.array([1, 1, 0.5, 2], np.float32), first=10, last=10),
    case("Resize", f(1, 2, 6, 4), np.array([1, 1, 0.6, 2], np.float32), mode="linear", first=10, last=10),
    *(
        case(
            "Resize",
            f(1, 2, 5, 4),
            f(0),
            f(0),
            i(1, 2, *to),
            first=11,
            mode=mode,
            coordinate_transformation_mode=by,
        )
        for mode in ("nearest", "linear", "cubic")
        for by in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
        for to in ((10, 8), (3, 7))
    ),
    *(
        case("Resize", f(1, 1, 5, 4), f(0), np.array([1, 1, 2, 2], np.float32), first=11, nearest_mode=rounding)
        for rounding in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    ),
    case("Resize", f(1, 1, 5, 4), f(0), f(0), i(1, 1, 9, 9), first=11, mode="cubic", exclude_outside=1),
    case(
        "Resize",
        f(1, 1, 5, 4),
        (),
        (),
        i(10, 7),
        first=18,
        axes=[2, 3],
        keep_aspect_ratio_policy="not_larger",
    ),
]
ACTIVATIONS = [
    *(case(name, f(2, 3, 4), axis=1, first=11) for name in ("Softmax", "LogSoftmax", "Hardmax")),
    *(case(name, f(3, 4)) for name in ("Relu", "Sigmoid", "Tanh", "Elu", "Selu", "LeakyRelu", "HardSigmoid")),
    *(case(name, f(3, 4), first=9) for name in ("Softplus", "Softsign", "Erf", "Sign", "IsNaN")),
    case("ThresholdedRelu", f(3, 4), first=10, alpha=0.5),
    case("PRelu", f(2, 3, 4), f(3, 1)),
    case("Celu", f(3, 4), first=12, alpha=0.7),
    case("HardSwish", f(3, 4), first=14),
    case("Mish", f(3, 4), first=18),
    case("Gelu", f(3, 4), first=20, approximate="tanh"),
    case("Shrink", f(3, 4), first=9, bias=0.1, lambd=0.3),
    case("Clip", f(3, 4), min=-0.5, last=10),
    case("Clip", f(3, 4), (), np.float32(0.5), first=11),
]
ARITHMETIC = [
    case("Div", i(-7, 7, 9), i(2, -2, 3)),
    case("Mod", i(-7, 7, 9), i(3, -3, 4), first=10),
    case("Mod", f(5), f(5)[::-1].copy(), fmod=1, first=10),
    case("Pow", np.abs(f(4)), np.array([0, 1, 2, 3], np.float32)),
    case("Pow", np.abs(f(4)), np.array([0, 1, 2, 3], np.int32), first=12),
    case("Max", f(2, 3), f(3), f(1), first=8),
    case("Mean", f(2, 3), f(3), f(1), first=8),
    case("Round", np.array([-2.5, -0.5, 0.5, 1.5, 2.4], np.float32), first=11),
    case("CumSum", f(3, 4), i(1)[0], first=11, exclusive=1, reverse=1),
    case("Cast", f(3) * 9, to=onnx.TensorProto.INT32),
    case("Gemm", f(3, 4), f(5, 3), f(5), transA=1, transB=1, alpha=0.5, beta=2.0),
    case("Gemm", f(3, 4), f(4, 5), first=11),
    case("MatMul", f(2, 3, 4), f(4, 5)),
    case("Einsum", f(2, 3), f(4, 3), equation="ij, kj -> ik", first=12),
    case("BatchNormalization", f(2, 3, 4), f(3), f(3), f(3), np.abs(f(3)), epsilon=1e-3),
    case("InstanceNormalization", f(2, 3, 4, 5), f(3), f(3)),
    case("LayerNormalization", f(2, 3, 4), f(3, 4), f(3, 4), first=17, axis=1),
    case("GroupNormalization", f(2, 4, 3), f(4), f(4), first=21, num_groups=2),
    case("LpNormalization", f(2, 3), axis=0, p=1),
    case("LRN", f(1, 6, 2, 2), size=3, alpha=0.1),
    case("QuantizeLinear", f(2, 3), np.float32(0.1), np.uint8(7), first=10),
    case("QuantizeLinear", f(2, 3), np.abs(f(3)), i(0, 1, 2).astype(np.int8), first=13),
    case("DequantizeLinear", i(3, 200).astype(np.uint8), np.float32(0.1), np.uint8(7), first=10),
]
RECURRENT = [
    *(
        case("LSTM", f(5, 2, 3), f(n, 16, 3), f(n, 16, 4), f(n, 32), direction=way, hidden_size=4, outputs=3)
        for way, n in (("forward", 1), ("reverse", 1), ("bidirectional", 2))
    ),
    case(
        "LSTM",
        f(5, 2, 3),
        f(1, 16, 3),
        f(1, 16, 4),
        f(1, 32),
        np.array([5, 3], np.int32),
        f(1, 2, 4),
        f(1, 2, 4),
        f(1, 12),
        hidden_size=4,
        outputs=3,
    ),
    case(
        "LSTM",
        f(5, 2, 3),
        f(2, 16, 3),
        f(2, 16, 4),
        (),
        np.array([2, 4], np.int32),
        direction="bidirectional",
        hidden_size=4,
        outputs=3,
        clip=0.5,
    ),
    *(
        case(
            "GRU",
            f(5, 2, 3),
            f(n, 12, 3),
            f(n, 12, 4),
            f(n, 24),
            direction=way,
            hidden_size=4,
            outputs=2,
            linear_before_reset=linear,
        )
        for way, n in (("forward", 1), ("reverse", 1), ("bidirectional", 2))
        for linear in (0, 1)
    ),
    case(
        "GRU",
        f(5, 2, 3),
        f(1, 12, 3),
        f(1, 12, 4),
        f(1, 24),
        np.array([5, 2], np.int32),
        hidden_size=4,
        outputs=2,
    ),
    case("RNN", f(5, 2, 3), f(1, 4, 3), f(1, 4, 4), f(1, 8), hidden_size=4, outputs=2, activations=["Relu"]),
]
ELEMENTWISE = [
    *(case(name, f(2, 3), f(3)) for name in ("Add", "Sub", "Mul", "Greater", "Less")),
    *(case(name, f(2, 3), f(3), first=12) for name in ("GreaterOrEqual", "LessOrEqual")),
    *(case(name, f(2, 3), f(3), f(1), first=8) for name in ("Sum", "Min")),
    *(case(name, np.tanh(f(3))) for name in ("Acos", "Asin", "Atan", "Cos", "Sin", "Tan")),
    *(case(name, np.tanh(f(3)), first=9) for name in ("Asinh", "Atanh", "Cosh", "Sinh")),
    *(case(name, np.abs(f(3))) for name in ("Abs", "Ceil", "Exp", "Floor", "Log", "Neg", "Reciprocal", "Sqrt")),
    case("Acosh", np.abs(f(3)) + 1, first=9),
    case("Equal", i(1, 2, 3), i(1, 3, 3)),
    case("Where", np.array([[True], [False]]), f(2, 3), f(3), first=9),
    case("IsInf", np.array([np.inf, -np.inf, 1], np.float32), detect_negative=0, first=10),
    case("BitShift", i(1, 5).astype(np.uint8), i(2, 3).astype(np.uint8), direction="LEFT", first=11),
    case("CastLike", f(3) * 9, i(0), first=15),
    case("Identity", f(3)),
]
INDICES = [
    case("Size", f(2, 3)),
    case("NonZero", i(0, 2, 0, 3), first=9),
    case("EyeLike", f(3, 4), k=1, first=9),
    case("MeanVarianceNormalization", f(2, 3, 4, 5), first=9),
    case("ConstantOfShape", i(2, 3), first=9),
    case("Compress", f(3, 4), np.array([True, False, True]), axis=0, first=9),
    case("Det", f(2, 3, 3), first=11),
    case("ReverseSequence", f(4, 3), i(2, 4, 1), first=10),
    case("TopK", f(3, 5), i(3), outputs=2, first=10),
    case("Range", np.float32(1), np.float32(7), np.float32(1.5), first=11),
    case("GatherElements", f(3, 4), np.array([[0, -1], [2, 1]]), axis=0, first=11),
    case("GatherND", f(3, 4), np.array([[0, -1], [2, 1]]), first=11),
    case("Scatter", f(3, 4), np.array([[0, 1], [2, 1]]), f(2, 2), axis=0, first=9, last=10),
    case("ScatterElements", f(3, 4), np.array([[0, 1], [2, 0]]), f(2, 2), axis=1, first=11),
    case("ScatterND", f(3, 4), np.array([[0], [2]]), f(2, 4), first=11),
    case("GridSample", f(1, 2, 4, 5), np.tanh(f(1, 3, 3, 2)), first=16),
    case("GroupNormalization", f(2, 4, 3), f(2), f(2), first=18, last=20, num_groups=2),
    case("Upsample", f(1, 2, 3, 4), np.array([1, 1, 2, 1.5], np.float32), first=9, last=9),
    case("Dropout", f(2, 3), ratio=0.5, last=11),
    case("Dropout", f(2, 3), first=12),
]
ALL = [
    *(*CONVOLUTIONS, *POOLINGS, *REDUCTIONS, *SHAPES, *RESIZES, *ACTIVATIONS, *ARITHMETIC, *RECURRENT),
    *(*ELEMENTWISE, *INDICES),
]


def versions(one: Case) -> Iterator[int]:
    """Return the opsets of a case in which the operator's definition changed, and its first."""
    history = onnx.defs.get_all_schemas_with_history()
    changed = {schema.since_version for schema in history if schema.domain == "" and schema.name == one.name}
    yield from sorted({v for v in changed if one.first < v <= one.last} | {one.first})


def _model(one: Case, opset: int) -> onnx.ModelProto:
    fed = np.asarray(one.inputs[0])
    names = ["" if isinstance(value, tuple) else f"i{n}" for n, value in enumerate(one.inputs)]
    stored = [numpy_helper.from_array(np.asarray(v), n) for n, v in zip(names[1:], one.inputs[1:], strict=True) if n]
    outputs = [f"o{n}" for n in range(one.outputs)]
    graph = helper.make_graph(
        [helper.make_node(one.name, names, outputs, **one.attributes)],
        "case",
        [helper.make_tensor_value_info(names[0], helper.np_dtype_to_tensor_dtype(fed.dtype), fed.shape)],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        stored,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.mark.parametrize("number", range(len(ALL)), ids=lambda n: f"{ALL[n].name}-{n}")
def test_every_version(number: int, parity) -> None:
    one = ALL[number]
    for opset in versions(one):
        result = parity(_model(one, opset), {"i0": np.asarray(one.inputs[0])})
        assert result.ok, (opset, result)
