"""The torch module that evaluates an ONNX graph with its initializers as parameters."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
import torch

from domino_onnx.bridge.compile import compile_model
from domino_onnx.bridge.program import Program, Turn, Values, run, schedule
from domino_onnx.errors import DataError
from domino_onnx.scheme.key import WeightKey

__all__ = ["GraphModule", "build"]

# A shape has a few elements and is read by Python; a larger constant is data and moves with the module.
_SHAPE_SIZE = 64


def build(
    model: onnx.ModelProto,
    *,
    load: Callable[[onnx.TensorProto], np.ndarray[Any, np.dtype[Any]]] = onnx.numpy_helper.to_array,
) -> GraphModule:
    """Make a torch module of an ONNX model.

    Parameters
    ----------
    model
        A valid model; its nodes may have any order. It is not changed, and not needed afterwards.
    load
        Turns a TensorProto into an array; where weights are stored outside the file, this is what reads them.

    Returns
    -------
    GraphModule
        In evaluation mode, on the CPU, with no parameter requiring a gradient.

    Raises
    ------
    UnsupportedOperatorError
        With all operators that have no torch counterpart.
    ModelError
        For a graph that can't be evaluated: an undefined tensor, a cycle, a tensor of strings.
    """
    program, tensors = compile_model(model, load)
    return GraphModule(program, tensors)


class GraphModule(torch.nn.Module):
    """An ONNX graph, evaluated node by node; made by :func:`build`.

    Every float initializer and float Constant of the graph, its subgraphs and its functions is a parameter,
    found by its name in `weights`, and so are integers that DequantizeLinear may make weights of. All start with
    `requires_grad` off: the trainer switches on what it trains.
    """

    def __init__(self, program: Program, tensors: Values) -> None:
        super().__init__()
        self._program = program
        self._schedules: dict[frozenset[str], tuple[Turn, ...]] = {}
        self._parameter_list = torch.nn.ParameterList(
            torch.nn.Parameter(tensors[slot], requires_grad=False) for slot in program.weights.values()
        )
        self._small = {s: tensors[s] for s in program.constants if tensors[s].numel() <= _SHAPE_SIZE}
        self._large = {s: f"constant_{s}" for s in program.constants if tensors[s].numel() > _SHAPE_SIZE}
        for slot, name in self._large.items():
            self.register_buffer(name, tensors[slot], persistent=False)
        self.eval()

    @property
    def weights(self) -> Mapping[WeightKey, torch.nn.Parameter]:
        """The tensors of the graph whose values may be replaced, by scope and name."""
        return MappingProxyType(dict(zip(self._program.weights, self._parameter_list, strict=True)))

    def learn(self, keys: Iterable[WeightKey]) -> dict[WeightKey, torch.nn.Parameter]:
        """Switch gradients on for these weights, if they are floats, and off for all others; these weights."""
        self.requires_grad_(False)
        self.zero_grad(set_to_none=True)
        weights = self.weights
        chosen = {key: weights[key] for key in keys}
        for parameter in chosen.values():
            parameter.requires_grad_(parameter.is_floating_point())
        return chosen

    @property
    def input_names(self) -> tuple[str, ...]:
        """The graph's inputs that no initializer fills, in the graph's order."""
        return tuple(self._program.inputs)

    @property
    def output_names(self) -> tuple[str, ...]:
        """The graph's outputs in the graph's order."""
        return tuple(self._program.outputs)

    def forward(self, inputs: Mapping[str, torch.Tensor], *, keep: Collection[str] = ()) -> dict[str, torch.Tensor]:
        """Evaluate the graph.

        Parameters
        ----------
        inputs
            A tensor for each of `input_names`, of the shape and dtype that the graph declares.
        keep
            Names of other tensors of the main graph to return as well.

        Returns
        -------
        dict
            The graph's outputs and the kept tensors by name.

        Raises
        ------
        DataError
            For a missing or unknown input, or a name in `keep` that the main graph doesn't have.
        ModelError
            For an operator that can't be evaluated on what it is given; names the node and the shapes.
        """
        program = self._program
        _check_names(program, inputs, keep)
        targets = {**program.outputs, **{name: program.names[name] for name in keep}}
        values = self._sources()
        values.update((slot, inputs[name]) for name, slot in program.inputs.items())
        run(self._scheduled(frozenset(keep), targets.values()), values)
        return {name: values[slot] for name, slot in targets.items()}

    def _sources(self) -> Values:
        values = dict(self._small)
        values.update((slot, self.get_buffer(name)) for slot, name in self._large.items())
        values.update(zip(self._program.weights.values(), self._parameter_list, strict=True))
        return values

    def _scheduled(self, keep: frozenset[str], targets: Iterable[int]) -> tuple[Turn, ...]:
        if keep not in self._schedules:
            program = self._program
            self._schedules[keep] = schedule(program.steps, targets, own=program.inputs.values())
        return self._schedules[keep]


def _check_names(program: Program, inputs: Collection[str], keep: Collection[str]) -> None:
    if set(inputs) != set(program.inputs):
        raise DataError(f"the graph's inputs are {sorted(program.inputs)}, given were {sorted(inputs)}")
    unknown = sorted(set(keep) - set(program.names))
    if unknown:
        raise DataError(f"the main graph has no tensors named {unknown}, so they can't be kept")
