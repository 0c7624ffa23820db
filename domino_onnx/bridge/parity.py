"""How close the bridge comes to reference outputs, and where it first parts from ONNX Runtime."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
import torch

from domino_onnx.bridge.gpu import same_arithmetic
from domino_onnx.bridge.module import GraphModule
from domino_onnx.bridge.rounding import moved_inputs, moved_weights
from domino_onnx.bridge.values import to_tensor
from domino_onnx.errors import DataError, ModelError
from domino_onnx.graph import OnnxFile, with_outputs
from domino_onnx.graph.order import describe, execution_order
from domino_onnx.runtime import Session

__all__ = ["BridgeParity", "FirstDifference", "check_parity", "first_difference", "mismatch", "prove_parity"]

Array = np.ndarray[Any, np.dtype[Any]]

_SECONDS = 60.0

# ONNX Runtime rounds narrow floats after each operator or after a fused few, as its kernels have it.
_NARROW = (torch.float16, torch.bfloat16)
_ROUNDINGS = 8


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BridgeParity:
    """The greatest differences over all outputs; `worst_output` is the one furthest beyond its tolerance.

    `max_rel` is relative to the greatest magnitude of the expected output. A difference in shape, in dtype or
    in the place of a NaN counts as infinite.
    """

    ok: bool
    max_abs: float
    max_rel: float
    worst_output: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FirstDifference:
    """The first tensor in graph order that differs beyond its tolerance, and the node that makes it."""

    tensor: str
    node: str
    max_abs: float
    max_rel: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Difference:
    name: str
    absolute: float
    relative: float
    excess: float


def check_parity(
    module: GraphModule,
    inputs: Mapping[str, Array],
    expected: Mapping[str, Array],
    *,
    rtol: float = 1e-3,
    atol: float = 1e-4,
) -> BridgeParity:
    """Evaluate `module` and compare it with outputs that ONNX Runtime (or another reference) gave.

    Parameters
    ----------
    module
        The bridge of the model; it runs where its parameters are.
    inputs, expected
        The model's inputs and the reference's outputs by name. Outputs that `expected` leaves out are not
        compared.
    rtol, atol
        A float output is close if every element is within `atol + rtol * |expected|`; others must be equal. Neither
        counts for less than 8 times the epsilon of the coarsest type that the model computes in, float32 at best;
        `atol` not for less than that at the scale of the tensor's greatest magnitude. A sum of large values that
        cancel out has their error, however small it is. Where an output is further off, `atol` is 8 times what one
        epsilon in the inputs and weights moves it, up to `rtol` of that magnitude.

    Raises
    ------
    DataError
        If `expected` has a name that isn't an output, or the inputs don't fit.
    """
    unknown = sorted(set(expected) - set(module.output_names))
    if unknown or not expected:
        raise DataError(f"expected {unknown or 'nothing'}, but the outputs are {list(module.output_names)}")
    given = _tensors(inputs)
    outputs = _evaluate(module, given)
    coarsest = _coarsest(module)

    def compared(error: Mapping[str, float]) -> list[_Difference]:
        return [
            _difference(name, outputs[name], array, rtol, max(atol, error.get(name, 0.0)), coarsest)
            for name, array in expected.items()
        ]

    differences = compared({})
    if any(0 < difference.excess < np.inf for difference in differences):
        moved = _moved_by_rounding(module, given, outputs)
        differences = compared(
            {name: min(_ROUNDINGS * moved.get(name, 0.0), rtol * _scale(outputs[name])) for name in expected}
        )
    worst = max(differences, key=lambda difference: difference.excess)
    return BridgeParity(
        ok=worst.excess <= 0,
        max_abs=max(difference.absolute for difference in differences),
        max_rel=max(difference.relative for difference in differences),
        worst_output=worst.name,
    )


def prove_parity(
    file: OnnxFile,
    module: GraphModule,
    inputs: Mapping[str, Array],
    expected: Mapping[str, Array],
    *,
    threads: int = 0,
) -> BridgeParity:
    """Compare with what ONNX Runtime gave; where that isn't reproduced, with what it gives without optimisations.

    Its fusions may round elsewhere than the graph says: a convolution between DequantizeLinear and QuantizeLinear
    becomes one of integers, and some of its outputs come out a step of the quantisation away.
    """
    parity = check_parity(module, inputs, expected)
    if parity.ok:
        return parity
    try:
        literal = Session(file.path, threads=threads, lean=True).run(inputs, seconds=_SECONDS)
    except ModelError:
        return parity
    again = check_parity(module, inputs, literal)
    return again if again.ok else parity


def first_difference(
    file: OnnxFile,
    module: GraphModule,
    inputs: Mapping[str, Array],
    *,
    threads: int = 0,
    rtol: float = 1e-3,
    atol: float = 1e-4,
) -> FirstDifference | None:
    """Find the first tensor of the main graph in which `module` and ONNX Runtime, its optimisations off, differ.

    Inputs and tolerances are those of :func:`check_parity`. None where no tensor differs (an optimisation of ONNX
    Runtime's does, then), and where that can't be told: for a model of over 1 GiB or with external data, or one
    whose tensors ONNX Runtime doesn't hand out.
    """
    nodes = _makers(file.proto.graph)
    shown = with_outputs(file, nodes)
    if shown is None:
        return None
    try:
        expected = Session(shown, threads=threads, lean=True).run(inputs, seconds=_SECONDS)
        values = _evaluate(module, _tensors(inputs), keep=nodes)
    except ModelError:
        return None
    coarsest = _coarsest(module)
    for name, node in nodes.items():
        want, got = expected[name], values[name]
        if not isinstance(want, np.ndarray) or not isinstance(got, torch.Tensor):
            continue
        found = _difference(name, got, want, rtol, atol, coarsest)
        if found.excess > 0:
            return FirstDifference(tensor=name, node=describe(node), max_abs=found.absolute, max_rel=found.relative)
    return None


def mismatch(parity: BridgeParity, first: FirstDifference | None) -> str:
    """Say in words by how much parity was missed and, where that was found, which tensor is the first that differs."""
    missed = (
        f"the torch bridge doesn't reproduce ONNX Runtime on this model: output {parity.worst_output!r} differs by "
        f"{parity.max_abs:.3g} (relative {parity.max_rel:.3g})"
    )
    if first is None:
        return missed
    return (
        f"{missed}; the first tensor that differs is {first.tensor!r} of {first.node}, by {first.max_abs:.3g} "
        f"(relative {first.max_rel:.3g})"
    )


def _tensors(arrays: Mapping[str, Array]) -> dict[str, torch.Tensor]:
    return {name: to_tensor(array) for name, array in arrays.items()}


def _evaluate(
    module: GraphModule, inputs: Mapping[str, torch.Tensor], keep: Iterable[str] = ()
) -> dict[str, torch.Tensor]:
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    with torch.no_grad(), same_arithmetic(device):
        return module(  # type: ignore[no-any-return]
            {name: tensor.to(device) for name, tensor in inputs.items()}, keep=tuple(keep)
        )


def _moved_by_rounding(
    module: GraphModule, inputs: Mapping[str, torch.Tensor], outputs: Mapping[str, torch.Tensor]
) -> dict[str, float]:
    """How far each float output moves at most where inputs and weights are one epsilon off, where that can be told."""
    try:
        with moved_weights(module):
            moved = _evaluate(module, moved_inputs(inputs))
    except ModelError:
        return {}
    return {
        name: _scale(moved[name].double() - output.double())
        for name, output in outputs.items()
        if output.is_floating_point() and moved[name].shape == output.shape
    }


def _makers(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    """What the nodes of the main graph make, in the order of evaluation; constants aside."""
    nodes = (graph.node[position] for position in execution_order(graph.node))
    return {name: node for node in nodes if node.op_type != "Constant" for name in node.output if name}


def _coarsest(module: GraphModule) -> float:
    """The greatest epsilon of the module's float weights: an output may be float32, and made of float16."""
    return max((torch.finfo(each.dtype).eps for each in module.parameters() if each.dtype in _NARROW), default=0.0)


def _difference(name: str, got: torch.Tensor, array: Array, rtol: float, atol: float, coarsest: float) -> _Difference:
    got, want = got.detach().cpu(), to_tensor(array)
    if got.shape != want.shape or got.dtype != want.dtype:
        return _Difference(name=name, absolute=np.inf, relative=np.inf, excess=np.inf)
    least = _ROUNDINGS * max(torch.finfo(want.dtype).eps, coarsest) if want.is_floating_point() else None
    got, want = got.to(torch.float64), want.to(torch.float64)
    if least is None:
        rtol = atol = 0.0
    else:
        rtol, atol = max(rtol, least), max(atol, least * max(_scale(want), 1.0))
    same = (got == want) | (got.isnan() & want.isnan())
    distance = torch.where(same, 0.0, (got - want).abs()).nan_to_num(nan=np.inf, posinf=np.inf)
    if distance.numel() == 0:
        return _Difference(name=name, absolute=0.0, relative=0.0, excess=0.0)
    scale = max(_scale(want), 1e-12)
    tolerance = torch.where(same, 0.0, atol + rtol * want.abs().nan_to_num(nan=0.0, posinf=0.0))
    absolute = float(distance.max())
    return _Difference(
        name=name,
        absolute=absolute,
        relative=absolute / scale,
        excess=float(torch.where(same, 0.0, distance - tolerance).max()),
    )


def _scale(tensor: torch.Tensor) -> float:
    """The greatest finite magnitude; 0 where there is none."""
    finite = tensor[tensor.isfinite()].abs()
    return float(finite.max()) if finite.numel() else 0.0
