"""ONNX Runtime's own operators against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import pytest


def parse(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]> {text}')


def f(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("call", "inputs"),
    [
        ("Gelu(a)", [f(2, 3, 8)]),
        ("QuickGelu<alpha = 1.5>(a)", [f(2, 3, 8)]),
        ("BiasGelu(a, b)", [f(2, 3, 8), f(8)]),
        ("FastGelu(a, b)", [f(2, 3, 8), f(8)]),
        ("FusedMatMul<alpha = 0.5, transB = 1>(a, b)", [f(2, 3, 8), f(2, 5, 8)]),
        ('FusedGemm<activation = "Relu", transB = 1>(a, b, c)', [f(3, 8), f(5, 8), f(5)]),
        (
            'FusedConv<activation = "Relu", pads = [1, 1, 1, 1]>(a, b, c)',
            [f(1, 2, 5, 5), f(4, 2, 3, 3), f(4)],
        ),
        ("SkipLayerNormalization(a, b, c, d)", [f(2, 3, 8), f(3, 3, 8)[:2], f(8), f(8)]),
        ("SkipSimplifiedLayerNormalization(a, b, c)", [f(2, 3, 8), f(3, 3, 8)[:2], f(8)]),
        ("Attention<num_heads = 2>(a, b, c)", [f(2, 3, 8), f(8, 24), f(24)]),
        ("Attention<num_heads = 2, unidirectional = 1>(a, b, c)", [f(2, 3, 8), f(8, 24), f(24)]),
        ("Attention<num_heads = 2>(a, b, c, d)", [f(2, 3, 8), f(8, 24), f(24), np.array([2, 3], np.int32)]),
        ("MultiHeadAttention<num_heads = 2>(a, b, c, d)", [f(2, 3, 8), f(2, 5, 8), f(2, 5, 8), f(24)]),
        ("MultiHeadAttention<num_heads = 2>(a, b, c)", [f(2, 3, 8), f(2, 2, 5, 4), f(3, 2, 5, 4)[:2]]),
    ],
)
def test_agrees(parity, call: str, inputs: list[np.ndarray]) -> None:
    kinds = {np.dtype(np.float32): "float", np.dtype(np.int32): "int32"}
    declared = [
        f"{kinds[value.dtype]}[{', '.join(map(str, value.shape))}] {name}"
        for name, value in zip("abcd", inputs, strict=False)
    ]
    model = parse(f"g ({', '.join(declared)}) => (float y) {{ y = com.microsoft.{call} }}")
    model.graph.output[0].type.tensor_type.ClearField("shape")
    assert parity(model, dict(zip("abcd", inputs, strict=False))).ok


@pytest.mark.parametrize("epsilon", ["epsilon", "epsion"])
def test_layer_normalization_before_the_standard_had_it(parity, epsilon: str) -> None:
    """ONNX Runtime takes no notice of the misspelt attribute."""
    text = (
        f"g (float[2, 3, 8] a) => (float[2, 3, 8] y) {{ y = LayerNormalization<axis = -1, {epsilon} = 0.5>(a, s, b) }}"
    )
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 13]> {text}')
    model.graph.initializer.extend(onnx.numpy_helper.from_array(f(8) + shift, "sb"[shift]) for shift in (0, 1))
    assert parity(model, {"a": f(2, 3, 8)}).ok
