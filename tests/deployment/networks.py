"""Networks of random layers, and what may be around them: all in floats, or quantised as files have it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, helper

from .quantizing import Arrays, told

_MOST_CHANNELS = 200


class Network:
    """A model that grows node by node; what its activations hold is known from runs of what there is.

    Each node has the name of its output.
    """

    def __init__(self, make_model: Callable[..., ModelProto], seed: int, *, in_bytes: bool) -> None:
        self._make = make_model
        self._random = np.random.default_rng(seed)
        self._in_bytes = in_bytes
        self._nodes: list[onnx.NodeProto] = []
        self._arrays: dict[str, np.ndarray] = {}
        self._weights: dict[tuple[int, ...], str] = {}
        self._count = 0
        axes = int(self._random.integers(0, 4))
        batch = int(self._random.integers(1, 4))
        shape = (batch, self._one_of(3, 16), *self._random.integers(4, 8, axes)) if axes else (batch, 3, 16)
        self.inputs: Arrays = {"x": self._random.normal(size=shape).astype(np.float32)}
        self._activations: dict[str, np.ndarray] = {}
        self._grids: dict[str, list[str]] = {}
        self._settle("x", self.inputs["x"])
        for _ in range(int(self._random.integers(3, 7))):
            self._grow()

    def model(self) -> ModelProto:
        """The last activation is an output, and some others are; so are some bytes, and floats before these."""
        names = list(self._activations)
        made = [node.input[0] for node in self._nodes if node.op_type == "DequantizeLinear"]
        read = [node.input[0] for node in self._nodes if node.op_type == "QuantizeLinear"]
        others = [name for name in (*names[:-1], *made, *read) if name not in {"x", *self._arrays}]
        return self._with_outputs(names[-1], *(name for name in dict.fromkeys(others) if self._may(0.1)))

    def _with_outputs(self, *names: str) -> ModelProto:
        shapes = {"x": self.inputs["x"].shape}
        model = self._make(self._nodes, shapes, {}, self._arrays, opset=17)
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        return model

    def _grow(self) -> None:
        """One more activation, where a node of the kind that is drawn fits."""
        names = list(self._activations)[-3:]
        name = self._one_of(*names)
        values = self._activations[name]
        kinds = [self._matmul, self._sum, self._joined, self._elsewhere]
        if values.ndim > 2:
            kinds += [self._convolution] * 3 + [self._pool, self._pool, self._mean, self._slice, self._larger]
        else:
            kinds += [self._gemm, self._gemm]
        made = self._one_of(*kinds)(name, values)
        keeps_grid = self._nodes[-1].op_type in ("AveragePool", "MaxPool", "Resize", "Slice")
        self._settle(made, self._seen(made), self._grids.get(name) if keeps_grid and self._may(0.7) else None)

    def _seen(self, name: str) -> np.ndarray:
        return told(self._with_outputs(name), self.inputs)[name]

    def _settle(self, name: str, values: np.ndarray, grid: list[str] | None = None) -> None:
        """Take a tensor as an activation; where activations are bytes, on a grid of its own or one that there is."""
        if not self._in_bytes or self._may(0.05):
            self._activations[name] = values
            return
        if grid is None:
            kind, centre = self._one_of((np.int8, 0), (np.uint8, 128))
            step = np.array(max(np.abs(values).max(), 0.01) / self._one_of(120, 120, 200), np.float32)
            grid = [self._stored(step), self._stored(np.array(centre + self._random.integers(-9, 9), kind))]
        made = self._node("DequantizeLinear", [self._node("QuantizeLinear", [name, *grid]), *grid])
        self._activations[made] = values
        self._grids[made] = grid

    def _convolution(self, name: str, values: np.ndarray) -> str:
        channels, space = values.shape[1], values.shape[2:]
        groups = self._one_of(1, 1, 1, 2, channels)
        groups = groups if channels % groups == 0 else 1
        outputs = channels if groups == channels else self._one_of(16, 24, 10)
        kernel = [int(min(size, self._random.integers(1, 4))) for size in space]
        fits = [2 * (taken - 1) < size for taken, size in zip(kernel, space, strict=True)]
        weight = self._weight((outputs, channels // groups, *kernel), 0)
        made = self._node(
            "Conv",
            [name, weight, *self._bias(outputs)],
            group=groups,
            dilations=[self._one_of(1, 2) if fit else 1 for fit in fits],
            pads=[self._one_of(0, 1) for _ in (*kernel, *kernel)],
            strides=[self._one_of(1, 1, 2) for _ in kernel],
        )
        return self._followed(made, (outputs, *[1] * len(kernel)))

    def _matmul(self, name: str, values: np.ndarray) -> str:
        return self._followed(self._node("MatMul", [name, self._weight((values.shape[-1], 16), 1)]), (16,))

    def _gemm(self, name: str, values: np.ndarray) -> str:
        is_turned = self._may(0.5)
        shape = (24, values.shape[-1]) if is_turned else (values.shape[-1], 24)
        weight = self._weight(shape, 0 if is_turned else 1)
        return self._followed(self._node("Gemm", [name, weight, *self._bias(24)], transB=int(is_turned)), (24,))

    def _followed(self, name: str, along: tuple[int, ...]) -> str:
        """What may join a layer: a factor and a summand of each output, a residual, bounds or an activation."""
        if self._may(0.2):
            name = self._node("Mul", self._either(name, self._floats(along if self._may(0.7) else ())))
        if self._may(0.2):
            name = self._node("Add", self._either(name, self._floats(along)))
        if self._may(0.3):
            name = self._sum(name, self._seen(name))
        kind = self._one_of("Relu", "Clip", "HardSwish", "SiLU", None, None, None)
        if kind == "SiLU":
            return self._node("Mul", self._either(name, self._node("Sigmoid", [name])))
        bounds = [self._stored(np.array(bound, np.float32)) for bound in (-0.2, 0.8)] if kind == "Clip" else []
        return self._node(kind, [name, *bounds]) if kind else name

    def _sum(self, name: str, values: np.ndarray) -> str:
        others = [other for other, each in self._activations.items() if each.shape == values.shape]
        return self._node("Add", self._either(name, self._one_of(*others))) if others else name

    def _joined(self, name: str, values: np.ndarray) -> str:
        others = [
            other
            for other, each in self._activations.items()
            if each.shape[:1] + each.shape[2:] == values.shape[:1] + values.shape[2:]
            and each.shape[1] + values.shape[1] < _MOST_CHANNELS
        ]
        return self._node("Concat", [name, self._one_of(*others)], axis=1) if others else self._elsewhere(name, values)

    def _pool(self, name: str, values: np.ndarray) -> str:
        """Means are of odd numbers of places: no mean of bytes lies just between two of them."""
        is_mean = self._may(0.5)
        sizes = (1, 3) if is_mean else (1, 2, 3)
        kernel = [self._one_of(*(each for each in sizes if each <= size)) for size in values.shape[2:]]
        more: dict[str, Any] = {"kernel_shape": kernel, "strides": [self._one_of(1, 2) for _ in kernel]}
        if self._may(0.5):
            more |= {"pads": [self._one_of(0, 1) if taken > 1 else 0 for taken in (*kernel, *kernel)]}
        if not is_mean:
            return self._node("MaxPool", [name], ceil_mode=self._one_of(0, 1), **more)
        if "pads" in more:
            return self._node("AveragePool", [name], count_include_pad=1, **more)
        return self._node("AveragePool", [name], **more)

    def _slice(self, name: str, values: np.ndarray) -> str:
        """Some of the channels."""
        channels = values.shape[1]
        start = int(self._random.integers(channels))
        bounds = (start, int(self._random.integers(start, channels)) + 1, 1)
        return self._node("Slice", [name, *(self._stored(np.array([each], np.int64)) for each in bounds)])

    def _larger(self, name: str, values: np.ndarray) -> str:
        """Pixels twice, along some of the axes in space."""
        if values.size > 1 << 14:
            return self._elsewhere(name, values)
        scales = [1, 1, *(self._one_of(1, 2) for _ in values.shape[2:])]
        return self._node("Resize", [name, "", self._stored(np.array(scales, np.float32))], mode="nearest")

    def _mean(self, name: str, values: np.ndarray) -> str:
        if self._may(0.4):
            return self._node("GlobalAveragePool", [name])
        axes = self._one_of([-2, -1], list(range(2, values.ndim)))
        return self._node("ReduceMean", [name], axes=axes, keepdims=1)

    def _elsewhere(self, name: str, values: np.ndarray) -> str:
        """What no operator of ours takes."""
        if values.ndim > 2 and values[0, 0].size < 300 and self._may(0.3):
            weight = self._floats((values.shape[1], 8, *[2] * (values.ndim - 2)))
            return self._node("ConvTranspose", [name, weight], strides=[2] * (values.ndim - 2))
        if self._may(0.5):
            return self._node("Transpose", [name], perm=[0, *range(values.ndim - 1, 0, -1)])
        return self._node("Tanh", [name])

    def _weight(self, shape: tuple[int, ...], axis: int) -> str:
        """A new one, or one that another layer has as well."""
        if shape in self._weights and self._may(0.3):
            return self._weights[shape]
        integers = np.where(self._random.random(shape) < 0.3, self._random.integers(-90, 90, shape), 0)
        scales = self._random.uniform(0.002, 0.005, shape[axis]).astype(np.float32)
        if self._in_bytes:
            read = [self._stored(each) for each in (integers.astype(np.int8), scales, np.zeros(len(scales), np.int8))]
            self._weights[shape] = self._node("DequantizeLinear", read, axis=axis)
        else:
            along = [-1 if each == axis else 1 for each in range(len(shape))]
            self._weights[shape] = self._stored((integers * scales.reshape(along)).astype(np.float32))
        return self._weights[shape]

    def _bias(self, outputs: int) -> list[str]:
        """None, floats, or 32-bit integers."""
        if self._may(0.5):
            return []
        if not self._in_bytes or self._may(0.5):
            return [self._floats((outputs,))]
        integers, step = self._random.integers(-900, 900, outputs).astype(np.int32), np.array(0.001, np.float32)
        return [self._node("DequantizeLinear", [self._stored(integers), self._stored(step)])]

    def _floats(self, shape: tuple[int, ...]) -> str:
        return self._stored((self._random.normal(size=shape) / 2).astype(np.float32))

    def _node(self, op: str, inputs: list[str], **attributes: Any) -> str:
        name = self._name()
        self._nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def _stored(self, values: np.ndarray) -> str:
        name = self._name()
        self._arrays[name] = np.asarray(values)
        return name

    def _name(self) -> str:
        self._count += 1
        return f"t{self._count}"

    def _either(self, one: str, other: str) -> list[str]:
        return [one, other] if self._may(0.5) else [other, one]

    def _one_of(self, *choices: Any) -> Any:
        return choices[int(self._random.integers(len(choices)))]

    def _may(self, share: float) -> bool:
        return bool(self._random.random() < share)
