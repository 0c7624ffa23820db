"""ResNet-20 as a torch class, with the weights of its ONNX file, and back into the file.

For tools that take torch modules only. Nothing but the weights of the file changes: the graph stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ResNet20", "read_weights", "write_weights"]


class Block(nn.Module):
    """Two convolutions and a shortcut that drops every second pixel and adds channels of zeros (He et al. 2015)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, outputs // inputs, 1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.more = (outputs - inputs) // 2

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) to (n, outputs, h', w')."""
        shortcut = x if not self.more else functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.more, self.more))
        return functional.relu(self.conv2(functional.relu(self.conv1(x))) + shortcut)


class ResNet20(nn.Module):
    """With normalisation folded into the convolutions, as the file has it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1)
        for stage, width in enumerate((16, 32, 64), start=1):
            narrow = width if stage == 1 else width // 2
            blocks = [Block(narrow, width), Block(width, width), Block(width, width)]
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, 32, 32) to (n, 10) scores."""
        x = functional.relu(self.conv1(x))
        return self.linear(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))


def read_weights(model: Path) -> ResNet20:
    """The class with the file's weights, found by their names."""
    tensors = _tensors(onnx.load(model))
    network = ResNet20()
    stored = {name: onnx.numpy_helper.to_array(tensors[_stored(name, tensors)]) for name in network.state_dict()}
    network.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in stored.items()})
    return network


def write_weights(network: nn.Module, model: Path, output: Path) -> None:
    """The file again, with the weights of `network`, which has the class's names."""
    proto = onnx.load(model)
    tensors = _tensors(proto)
    for name, value in network.state_dict().items():
        tensor = tensors[_stored(name, tensors)]
        tensor.CopyFrom(onnx.numpy_helper.from_array(value.numpy(), tensor.name))
    onnx.save(proto, output)


def _tensors(proto: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    return {tensor.name: tensor for tensor in proto.graph.initializer}


def _stored(name: str, tensors: Mapping[str, onnx.TensorProto]) -> str:
    """What the file calls a parameter: the exporter named folded biases after their weights."""
    return name if name in tensors else name.replace(".bias", ".weight_bias")
