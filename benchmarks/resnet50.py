"""A network with the shape of ResNet-50, batch normalisation folded, and random weights: for timing alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

__all__ = ["write"]

STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))
"""Width and number of blocks."""


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


def write(path: Path) -> Path:
    """The model at `path`, with an input `x` of (1, 3, 224, 224)."""
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
    graph = helper.make_graph(
        make.nodes,
        "resnet50",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 224, 224])],
        [helper.make_tensor_value_info(y, TensorProto.FLOAT, [1, 1000])],
        make.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path
