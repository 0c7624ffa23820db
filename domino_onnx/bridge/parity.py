"""How close the bridge comes to reference outputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from domino_onnx.bridge.module import GraphModule
from domino_onnx.bridge.values import to_tensor
from domino_onnx.errors import DataError

__all__ = ["BridgeParity", "check_parity"]

Array = np.ndarray[Any, np.dtype[Any]]


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
        A float output is close if every element is within `atol + rtol * |expected|`; others must be equal.

    Raises
    ------
    DataError
        If `expected` has a name that isn't an output, or the inputs don't fit.
    """
    unknown = sorted(set(expected) - set(module.output_names))
    if unknown or not expected:
        raise DataError(f"expected {unknown or 'nothing'}, but the outputs are {list(module.output_names)}")
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    with torch.no_grad():
        outputs = module({name: to_tensor(array).to(device) for name, array in inputs.items()})
    differences = [_difference(name, outputs[name], array, rtol, atol) for name, array in expected.items()]
    worst = max(differences, key=lambda difference: difference.excess)
    return BridgeParity(
        ok=worst.excess <= 0,
        max_abs=max(difference.absolute for difference in differences),
        max_rel=max(difference.relative for difference in differences),
        worst_output=worst.name,
    )


def _difference(name: str, got: torch.Tensor, array: Array, rtol: float, atol: float) -> _Difference:
    got, want = got.detach().cpu(), to_tensor(array)
    if got.shape != want.shape or got.dtype != want.dtype:
        return _Difference(name=name, absolute=np.inf, relative=np.inf, excess=np.inf)
    if not want.is_floating_point():
        rtol = atol = 0.0
    got, want = got.to(torch.float64), want.to(torch.float64)
    same = (got == want) | (got.isnan() & want.isnan())
    distance = torch.where(same, 0.0, (got - want).abs()).nan_to_num(nan=np.inf, posinf=np.inf)
    if distance.numel() == 0:
        return _Difference(name=name, absolute=0.0, relative=0.0, excess=0.0)
    finite = want[want.isfinite()].abs()
    scale = max(float(finite.max()) if finite.numel() else 0.0, 1e-12)
    tolerance = torch.where(same, 0.0, atol + rtol * want.abs().nan_to_num(nan=0.0, posinf=0.0))
    absolute = float(distance.max())
    return _Difference(
        name=name,
        absolute=absolute,
        relative=absolute / scale,
        excess=float(torch.where(same, 0.0, distance - tolerance).max()),
    )
