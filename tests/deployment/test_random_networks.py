"""Quantised networks of random layers, pools, sums and means give what ONNX Runtime makes of the file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper

from .quantizing import Arrays, deployed_in_bytes, told

Make = Callable[..., ModelProto]


class Network:
    """A model that grows node by node; what its activations hold is known from runs of what there is."""

    def __init__(self, make_model: Make, seed: int) -> None:
        self._make = make_model
        self._random = np.random.default_rng(seed)
        self._nodes: list[Any] = []
        self._arrays: dict[str, np.ndarray] = {}
        axes = int(self._random.integers(0, 4))
        shape = (2, 16, *self._random.integers(4, 8, axes)) if axes else (2, 3, 16)
        self.inputs: Arrays = {"x": self._random.normal(size=shape).astype(np.float32)}
        self.activations: dict[str, np.ndarray] = {}
        self._quantise("x", self.inputs["x"])
        for _ in range(int(self._random.integers(3, 7))):
            self._grow()

    def model(self, *outputs: str) -> ModelProto:
        """With these outputs, or else with the last activation and some others."""
        names = list(self.activations)
        outputs = outputs or (names[-1], *(name for name in names[:-1] if self._random.random() < 0.2))
        shapes = {"x": self.inputs["x"].shape}
        return self._make(self._nodes, shapes, dict.fromkeys(outputs), self._arrays, opset=17)

    def _grow(self) -> None:
        """One more node, where one of the kind that is drawn fits, and its output as bytes."""
        names = list(self.activations)[-2:]
        name = names[self._random.integers(len(names))]
        rank = self.activations[name].ndim
        kinds = [self._product, self._sum, self._joined]
        kinds += [self._convolution, self._convolution, self._pool, self._mean] if rank > 2 else [self._product]
        node = kinds[self._random.integers(len(kinds))](name, self.activations[name])
        if node is not None:
            self._nodes.append(node)
            made = told(self.model(node.output[0]), self.inputs)[node.output[0]]
            self._quantise(node.output[0], made)

    def _quantise(self, name: str, values: np.ndarray) -> None:
        kind = np.int8 if self._random.random() < 0.5 else np.uint8
        centre = 0 if kind is np.int8 else 128
        step = np.array(max(np.abs(values).max(), 0.01) / 120, np.float32)
        step, zero = self._stored(step), self._stored(np.array(centre + self._random.integers(-9, 9), kind))
        made, back = self._name(), self._name()
        self._nodes.append(helper.make_node("QuantizeLinear", [name, step, zero], [made]))
        self._nodes.append(helper.make_node("DequantizeLinear", [made, step, zero], [back]))
        self.activations[back] = values

    def _weight(self, shape: tuple[int, ...], axis: int) -> str:
        kept = self._random.random(shape) < 0.3
        integers = np.where(kept, self._random.integers(-90, 90, shape), 0).astype(np.int8)
        scales = self._random.uniform(0.002, 0.005, shape[axis]).astype(np.float32)
        read = [self._stored(each) for each in (integers, scales, np.zeros(shape[axis], np.int8))]
        made = self._name()
        self._nodes.append(helper.make_node("DequantizeLinear", read, [made], axis=axis))
        return made

    def _convolution(self, name: str, values: np.ndarray) -> Any:
        channels, axes = values.shape[1], values.ndim - 2
        groups = channels if self._random.random() < 0.2 else 1
        kernel = [int(min(size, self._random.integers(1, 4))) for size in values.shape[2:]]
        weight = self._weight((16 if groups == 1 else channels, channels // groups, *kernel), 0)
        pads, strides = ([int(each) for each in self._random.integers(0, 2, 2 * axes)], [1, 2, 1][:axes])
        return helper.make_node("Conv", [name, weight], [self._name()], group=groups, pads=pads, strides=strides)

    def _product(self, name: str, values: np.ndarray) -> Any:
        weight = self._weight((values.shape[-1], 16), 1)
        return helper.make_node("MatMul", [name, weight], [self._name()])

    def _sum(self, name: str, values: np.ndarray) -> Any:
        others = [other for other, each in self.activations.items() if each.shape == values.shape]
        return helper.make_node("Add", [name, others[0]], [self._name()])

    def _joined(self, name: str, values: np.ndarray) -> Any:
        others = [other for other, each in self.activations.items() if each.shape == values.shape]
        return helper.make_node("Concat", [name, others[0]], [self._name()], axis=1)

    def _pool(self, name: str, values: np.ndarray) -> Any:
        kernel = [int(min(size, 2)) for size in values.shape[2:]]
        op = ("MaxPool", "AveragePool")[self._random.integers(2)]
        return helper.make_node(op, [name], [self._name()], kernel_shape=kernel)

    def _mean(self, name: str, values: np.ndarray) -> Any:
        axes = ([-2, -1], list(range(2, values.ndim)))[self._random.integers(2)]
        return helper.make_node("ReduceMean", [name], [self._name()], axes=axes, keepdims=1)

    def _stored(self, values: np.ndarray) -> str:
        name = self._name()
        self._arrays[name] = values
        return name

    def _name(self) -> str:
        self._count = getattr(self, "_count", 0) + 1
        return f"t{self._count}"


@pytest.mark.parametrize("seed", range(30))
def test_a_random_network(make_model: Make, seed: int) -> None:
    network = Network(make_model, seed)
    model = network.model()
    changed, _, _ = deployed_in_bytes(model, network.inputs)
    wanted, found = told(model, network.inputs), told(changed, network.inputs)
    for name, values in wanted.items():
        assert values.shape == found[name].shape
        assert np.abs(values - found[name]).max() <= 0.1 * max(np.abs(values).max(), 0.01)
