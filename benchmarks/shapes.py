"""Networks with the shapes of ResNet-50, MiniLM-L6 and YOLOv8n, and random weights: for timing alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

__all__ = ["minilm", "resnet50", "yolov8n"]

STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))
"""Width and number of blocks."""
WIDTH, HEADS, LAYERS, TOKENS = 384, 12, 6, 128


class _Builder:
    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []
        self._generator = np.random.default_rng(0)

    def put(self, op: str, *inputs: str, **attributes: object) -> str:
        output = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def stored(self, *shape: int, scale: float) -> str:
        name = f"weight{len(self.weights)}"
        values = self._generator.normal(size=shape) * scale
        self.weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def conv(self, x: str, inputs: int, outputs: int, kernel: int, stride: int = 1) -> str:
        weight = self.stored(outputs, inputs, kernel, kernel, scale=(inputs * kernel**2) ** -0.5)
        return self.put(
            "Conv", x, weight, self.stored(outputs, scale=0.05), strides=[stride] * 2, pads=[kernel // 2] * 4
        )

    def block(self, x: str, inputs: int, width: int, stride: int) -> str:
        y = self.put("Relu", self.conv(x, inputs, width, 1))
        y = self.put("Relu", self.conv(y, width, width, 3, stride))
        y = self.conv(y, width, 4 * width, 1)
        if inputs != 4 * width or stride != 1:
            x = self.conv(x, inputs, 4 * width, 1, stride)
        return self.put("Relu", self.put("Add", y, x))

    def silu(self, x: str, inputs: int, outputs: int, kernel: int, stride: int = 1) -> str:
        y = self.conv(x, inputs, outputs, kernel, stride)
        return self.put("Mul", y, self.put("Sigmoid", y))

    def slices(self, x: str, width: int) -> list[str]:
        """Both halves of the channels."""
        ends = ((0, width), (width, 2 * width))
        axis = self.integers(1)
        return [self.put("Slice", x, self.integers(begin), self.integers(end), axis) for begin, end in ends]

    def c2f(self, x: str, inputs: int, outputs: int, blocks: int, *, adds: bool) -> str:
        width = outputs // 2
        parts = self.slices(self.silu(x, inputs, outputs, 1), width)
        for _ in range(blocks):
            y = self.silu(self.silu(parts[-1], width, width, 3), width, width, 3)
            parts.append(self.put("Add", parts[-1], y) if adds else y)
        return self.silu(self.put("Concat", *parts, axis=1), (2 + blocks) * width, outputs, 1)

    def pyramid(self, x: str, channels: int) -> str:
        """Three max pools behind each other, and all of them together: SPPF."""
        parts = [self.silu(x, channels, channels // 2, 1)]
        for _ in range(3):
            parts.append(self.put("MaxPool", parts[-1], kernel_shape=[5, 5], strides=[1, 1], pads=[2] * 4))
        return self.silu(self.put("Concat", *parts, axis=1), 2 * channels, channels, 1)

    def twice_as_large(self, x: str) -> str:
        scales = f"scales{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), scales))
        return self.put("Resize", x, "", scales, mode="nearest")

    def detections(self, x: str, channels: int) -> str:
        """Boxes and classes of one scale, (1, 144, places)."""
        parts = []
        for width, outputs in ((64, 64), (80, 80)):
            y = self.silu(self.silu(x, channels, width, 3), width, width, 3)
            parts.append(self.conv(y, width, outputs, 1))
        return self.put("Reshape", self.put("Concat", *parts, axis=1), self.integers(1, 144, -1))

    def linear(self, x: str, inputs: int, outputs: int) -> str:
        product = self.put("MatMul", x, self.stored(inputs, outputs, scale=inputs**-0.5))
        return self.put("Add", product, self.stored(outputs, scale=0.05))

    def normalised(self, x: str) -> str:
        return self.put("LayerNormalization", x, self.stored(WIDTH, scale=1.0), self.stored(WIDTH, scale=0.05))

    def heads(self, x: str, perm: list[int]) -> str:
        parts = self.put("Reshape", x, self.integers(0, -1, HEADS, WIDTH // HEADS))
        return self.put("Transpose", parts, perm=perm)

    def integers(self, *values: int) -> str:
        name = f"shape{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def number(self, value: float) -> str:
        name = f"number{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.array(value, np.float32), name))
        return name

    def layer(self, x: str) -> str:
        query, key, value = (self.linear(x, WIDTH, WIDTH) for _ in range(3))
        query, key = self.heads(query, [0, 2, 1, 3]), self.heads(key, [0, 2, 3, 1])
        scores = self.put("Mul", self.put("MatMul", query, key), self.number((WIDTH // HEADS) ** -0.5))
        mixed = self.put("MatMul", self.put("Softmax", scores, axis=-1), self.heads(value, [0, 2, 1, 3]))
        together = self.put("Reshape", self.put("Transpose", mixed, perm=[0, 2, 1, 3]), self.integers(0, -1, WIDTH))
        x = self.normalised(self.put("Add", self.linear(together, WIDTH, WIDTH), x))
        y = self.linear(x, WIDTH, 4 * WIDTH)
        error = self.put("Erf", self.put("Mul", y, self.number(0.5**0.5)))
        y = self.put("Mul", self.put("Mul", y, self.number(0.5)), self.put("Add", error, self.number(1.0)))
        return self.normalised(self.put("Add", self.linear(y, 4 * WIDTH, WIDTH), x))

    def write(self, path: Path, shape: list[int], output: str) -> Path:
        graph = helper.make_graph(
            self.nodes,
            path.stem,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
            self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        path.write_bytes(model.SerializeToString())
        return path


def resnet50(path: Path) -> Path:
    """ResNet-50 with batch normalisation folded, and an input `x` of (1, 3, 224, 224)."""
    make = _Builder()
    y = make.put("Relu", make.conv("x", 3, 64, 7, 2))
    y, channels = make.put("MaxPool", y, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4), 64
    for stage, (width, blocks) in enumerate(STAGES):
        for block in range(blocks):
            y = make.block(y, channels, width, 2 if stage and not block else 1)
            channels = 4 * width
    y = make.put("Flatten", make.put("GlobalAveragePool", y))
    classes = make.stored(1000, channels, scale=channels**-0.5)
    y = make.put("Gemm", y, classes, make.stored(1000, scale=0.05), transB=1)
    return make.write(path, [1, 3, 224, 224], y)


def minilm(path: Path) -> Path:
    """The encoder of MiniLM-L6, behind its embeddings: an input `x` of (1, 128, 384)."""
    make = _Builder()
    y = "x"
    for _ in range(LAYERS):
        y = make.layer(y)
    return make.write(path, [1, TOKENS, WIDTH], y)


def yolov8n(path: Path) -> Path:
    """YOLOv8n with batch normalisation folded, up to its boxes and classes: an input `x` of (1, 3, 640, 640)."""
    make = _Builder()
    y = make.silu(make.silu("x", 3, 16, 3, 2), 16, 32, 3, 2)
    y = make.c2f(y, 32, 32, 1, adds=True)
    small = make.c2f(make.silu(y, 32, 64, 3, 2), 64, 64, 2, adds=True)
    medium = make.c2f(make.silu(small, 64, 128, 3, 2), 128, 128, 2, adds=True)
    y = make.c2f(make.silu(medium, 128, 256, 3, 2), 256, 256, 1, adds=True)
    large = make.pyramid(y, 256)
    medium = make.c2f(make.put("Concat", make.twice_as_large(large), medium, axis=1), 384, 128, 1, adds=False)
    small = make.c2f(make.put("Concat", make.twice_as_large(medium), small, axis=1), 192, 64, 1, adds=False)
    medium = make.put("Concat", make.silu(small, 64, 64, 3, 2), medium, axis=1)
    medium = make.c2f(medium, 192, 128, 1, adds=False)
    large = make.c2f(make.put("Concat", make.silu(medium, 128, 128, 3, 2), large, axis=1), 384, 256, 1, adds=False)
    found = [make.detections(*each) for each in ((small, 64), (medium, 128), (large, 256))]
    return make.write(path, [1, 3, 640, 640], make.put("Concat", *found, axis=2))
