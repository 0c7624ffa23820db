"""What the first convolution of a network tells about the images that it was trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from domino_onnx.graph import OnnxFile
from domino_onnx.graph.index import GraphIndex
from domino_onnx.graph.values import Stored

__all__ = ["FirstLayer", "first_layer"]

Floats = NDArray[np.float64]
_PASSED = frozenset(("Cast", "Identity", "Transpose"))
_LONGEST = 8
"""Nodes between an input and its convolution, at most."""
_POSITIONS = 8
"""Along each axis of an image, where the convolution is looked at."""
_TINY = 1e-9


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FirstLayer:
    """A convolution of images, with what is known of its results.

    Attributes
    ----------
    weight
        (outputs, channels, height, width).
    bias
        (outputs,), 0 where there is none.
    mean, deviation
        (outputs,) that the results had in training, where BatchNormalization keeps them; else None.
    """

    weight: Floats
    bias: Floats
    mean: Floats | None = None
    deviation: Floats | None = None

    def misfit(self, planes: NDArray[np.float32]) -> float:
        """How far the results are from those of training: the median over the outputs of a divergence in nats.

        It is the Kullback-Leibler divergence of two normal distributions.

        Parameters
        ----------
        planes
            (images, channels, height, width), prepared.
        """
        assert self.mean is not None
        assert self.deviation is not None
        mean, deviation = self._moments(planes)
        ratio = (deviation + _TINY) / (self.deviation + _TINY)
        shift = (mean + self.bias - self.mean) / (self.deviation + _TINY)
        return float(np.median((ratio**2 + shift**2 - 1) / 2 - np.log(ratio)))

    def strength(self, planes: NDArray[np.float32]) -> float:
        """The deviation of the results over the size of the biases, the median over the outputs.

        Biases hold what a normalisation took from the results in training. So images that are a hundred times too
        large drown them, and those that are too small can't be told apart. `planes` are those of `misfit`.
        """
        used = self.bias != 0
        _, deviation = self._moments(planes)
        return float(np.exp(np.median(np.log((deviation[used] + _TINY) / np.abs(self.bias[used])))))

    def _moments(self, planes: NDArray[np.float32]) -> tuple[Floats, Floats]:
        """(outputs,) mean and deviation of the results, without the bias, over some positions of each image."""
        windows = np.lib.stride_tricks.sliding_window_view(planes, self.weight.shape[2:], (2, 3))
        steps = [max(size // _POSITIONS, 1) for size in windows.shape[2:4]]
        seen = windows[:, :, :: steps[0], :: steps[1]].transpose(0, 2, 3, 1, 4, 5).reshape(-1, self.weight[0].size)
        results = seen.astype(np.float64) @ self.weight.reshape(len(self.weight), -1).T
        return results.mean(axis=0), results.std(axis=0)


def first_layer(file: OnnxFile, name: str, shape: tuple[int, ...]) -> FirstLayer | None:
    """The convolution that an input goes into as it is; None where there is none, or where it tells nothing.

    Parameters
    ----------
    shape
        (channels, height, width) of the input's images.
    """
    index = GraphIndex(file.proto)
    nodes = index.main.nodes
    convolution = _reader(nodes, name)
    if convolution is None:
        return None

    def stored(node: NodeProto, place: int) -> Floats | None:
        value = index.trace(index.main, node.input[place]) if len(node.input) > place and node.input[place] else None
        if not isinstance(value, Stored) or value.scaling is not None:
            return None
        return file.array(value.tensor).astype(np.float64).transpose(value.axes)

    weight, bias = stored(convolution, 1), stored(convolution, 2)
    if weight is None or weight.ndim != 4 or weight.shape[1] != shape[0] or not _fits(convolution, weight, shape):
        return None
    bias = np.zeros(len(weight)) if bias is None or bias.shape != (len(weight),) else bias
    behind = _only(nodes, convolution.output[0])
    if behind is not None and behind.op_type == "BatchNormalization":
        mean, variance = stored(behind, 3), stored(behind, 4)
        if mean is not None and variance is not None and mean.shape == variance.shape == bias.shape:
            return FirstLayer(weight=weight, bias=bias, mean=mean, deviation=np.sqrt(np.maximum(variance, 0)))
    return FirstLayer(weight=weight, bias=bias) if bias.any() else None


def _reader(nodes: Sequence[NodeProto], name: str) -> NodeProto | None:
    """The convolution that alone reads a value, behind nodes that leave its numbers as they are."""
    for _ in range(_LONGEST):
        node = _only(nodes, name)
        if node is None or (node.op_type in _PASSED and not node.output):
            return None
        if node.op_type == "Conv" and node.input[0] == name:
            return node
        if node.op_type not in _PASSED:
            return None
        name = node.output[0]
    return None


def _only(nodes: Sequence[NodeProto], name: str) -> NodeProto | None:
    readers = [node for node in nodes if name in node.input]
    return readers[0] if len(readers) == 1 else None


def _fits(convolution: NodeProto, weight: Floats, shape: tuple[int, ...]) -> bool:
    dilated = any(each.name == "dilations" and any(size != 1 for size in each.ints) for each in convolution.attribute)
    return not dilated and weight.shape[2] <= shape[1] and weight.shape[3] <= shape[2]
