"""One weight as TensorRT's builder will see it: can it be fast, is it, why not, and what to do."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from domino_onnx.scheme import Site
from domino_onnx.targets.four_counts import FourCounts, count_fours, obeys_flattened, obeys_on_axis
from domino_onnx.targets.tensorrt import WIDE, refusal

__all__ = ["Diagnosis", "State", "diagnose"]

State = Literal["legal", "broken", "dense", "not eligible"]

_SPARSE_FROM = 0.1
"""The share of zeros from which on a weight was pruned; below, zeros are what training left."""
_EXACT = 0.01
"""How near a weight's zeros come to those of a scheme if it was pruned by that; else it just happens to obey it."""
_PRUNE = "domino-onnx compress MODEL --scheme 2:4 --target tensorrt"
_PRUNE_DENSE = "domino-onnx compress DENSE --scheme 2:4 --target tensorrt"
_LEAVE = "domino-onnx compress DENSE --scheme 2:4 --target tensorrt --speed-only"
_HALF = "domino-onnx convert MODEL --precision fp16"
_FAST = ("float16", "bfloat16", "int8")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What was found of one site.

    Attributes
    ----------
    state
        ``not eligible``: it can't run with sparse kernels whatever its zeros. Else ``legal``: at most two of each
        aligned four are left, ``broken``: it was pruned and more are left somewhere, or ``dense``.
    reason
        Why it isn't eligible, or what is wrong with its groups as far as that can be told.
    advice
        What to do about it; None if it is as it should be.
    doubts
        Of a legal weight: why the builder may prefer a dense kernel all the same.
    """

    site: Site
    state: State
    fours: FourCounts
    reason: str | None
    advice: str | None
    doubts: tuple[str, ...]


def diagnose(site: Site, weight: NDArray[np.generic]) -> Diagnosis:
    """Judge one weight, given in its stored shape."""
    fours = count_fours(weight, site.layout)
    refused = refusal(site)
    if refused is not None:
        return _made(site, "not eligible", fours, refused, _for_size(fours, site))
    if fours.is_legal:
        return Diagnosis(site=site, state="legal", fours=fours, reason=None, advice=None, doubts=_doubts(site))
    if fours.zeros < _SPARSE_FROM * site.params:
        return _made(site, "dense", fours, None, f"prune it by {_PRUNE}")
    return _made(site, "broken", fours, *_misgrouped(site, weight, fours))


def _made(site: Site, state: State, fours: FourCounts, reason: str | None, advice: str | None) -> Diagnosis:
    return Diagnosis(site=site, state=state, fours=fours, reason=reason, advice=advice, doubts=())


def _for_size(fours: FourCounts, site: Site) -> str | None:
    """Zeros that buy no speed deserve a word; a dense weight that can't be fast is as it should be."""
    if fours.zeros < _SPARSE_FROM * site.params:
        return None
    return f"its zeros only make a packed file smaller; to leave it dense: {_LEAVE}"


def _misgrouped(site: Site, weight: NDArray[np.generic], fours: FourCounts) -> tuple[str, str]:
    """What the zeros follow instead, and what to do."""
    axis = site.layout.axis
    again = f"prune the dense model along axis {axis}: {_PRUNE_DENSE}"
    is_conv = site.op == "Conv" and axis == 1
    if is_conv and obeys_flattened(weight, site.layout):
        return "its groups run over input channels and kernel flattened together, not over input channels", again
    other = obeys_on_axis(weight, site.layout)
    if other is not None:
        return f"its groups run along axis {other}; the product sums over axis {axis}", again
    if site.holds is not None and abs(fours.zeros / site.params - float(1 - site.holds.density)) < _EXACT:
        legalise = f"keep two of each four of the dense model: {_PRUNE_DENSE}"
        return f"it keeps {site.holds}, of which not every mask is 2:4", legalise
    return "its zeros follow no groups of four", again


def _doubts(site: Site) -> tuple[str, ...]:
    doubts = []
    if min(site.layout.reduction, site.outputs) < WIDE:
        doubts.append(f"fewer than {WIDE} channels in or out, where sparse kernels are seldom faster")
    if site.dtype not in _FAST:
        halve = f": {_HALF}" if site.dtype == "float32" else ""
        doubts.append(
            f"{site.dtype} is what a strongly typed engine (all from TensorRT 11 on) computes in, while sparse kernels "
            f"want half precision or INT8{halve}"
        )
    return tuple(doubts)
