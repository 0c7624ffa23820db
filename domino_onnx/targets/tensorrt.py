"""TensorRT's sparse kernels: which weights they can take, and what those must look like.

At most two of each aligned four consecutive input channels, for each output channel and kernel position; of a matrix
along the axis that is summed over. Alignment and operators as in NVIDIA's developer guide for TensorRT.
"""

from __future__ import annotations

import math

from domino_onnx.plurals import quantity
from domino_onnx.scheme import NMScheme, SchemePool, Site

__all__ = ["FOUR", "GROUPS_OF_FOUR", "KEPT_OF_FOUR", "WIDE", "legal_scheme", "refusal"]

FOUR, KEPT_OF_FOUR = 4, 2
GROUPS_OF_FOUR = SchemePool.fixed_m(FOUR)
"""A pool whose groups divide the axis of every weight that sparse kernels can run."""
_ALIGNMENT = 16
"""Channels that sparse half-precision kernels work on at a time."""
WIDE = 256
"""Channels in and out from which on sparse kernels are usually faster than dense ones, and so picked."""


def refusal(site: Site) -> str | None:
    """Why TensorRT never runs a site with sparse kernels, whatever its zeros; None if it may."""
    return _unsuited(site) or _misaligned(site)


def _unsuited(site: Site) -> str | None:
    if site.nested:
        return "it is used inside an If, Loop or Scan, which is no place for sparse kernels"
    if site.op == "ConvTranspose":
        return "ConvTranspose has no sparse kernels"
    if site.conv_groups > 1:
        return f"grouped convolutions ({site.conv_groups} groups) have no sparse kernels"
    if site.operand == 0:
        return "the weight is on the left of the product; sparse kernels want it on the right"
    return None


def _misaligned(site: Site) -> str | None:
    if site.layout.reduction < _ALIGNMENT:
        return f"{quantity(site.layout.reduction, 'channel')} in; sparse kernels work on {_ALIGNMENT} at a time"
    if site.outputs < _ALIGNMENT:
        return f"{quantity(site.outputs, 'channel')} out; sparse kernels work on {_ALIGNMENT} at a time"
    if site.layout.reduction % _ALIGNMENT:
        return f"{site.layout.reduction} channels in are not divisible by {_ALIGNMENT}"
    return None


def legal_scheme(scheme: NMScheme) -> NMScheme | None:
    """What a scheme becomes where at most two of each aligned four may stay, at the same density; None if it can't.

    Schemes of which every mask is legal stay as they are (all N:M with N <= 2 and M a multiple of 4, all 1:M); half of
    the weights can be kept only as 2:4; the others get the second condition.
    """
    if scheme.is_dense or _most_in_a_four(scheme) <= KEPT_OF_FOUR:
        return scheme
    if scheme.m % FOUR or 2 * scheme.n > scheme.m:
        return None
    if 2 * scheme.n == scheme.m:
        return NMScheme(KEPT_OF_FOUR, FOUR)
    return NMScheme(scheme.n, scheme.m, two_of_four=True)


def _most_in_a_four(scheme: NMScheme) -> int:
    """The most non-zeros that an aligned four can hold under a scheme alone, over every place of fours in groups."""
    m = scheme.m
    starts = range(0, math.lcm(m, FOUR), FOUR)
    return max(sum(min(scheme.n, share) for share in _shares(start, m)) for start in starts)


def _shares(start: int, m: int) -> list[int]:
    """How many of the four places from `start` on lie in each group of `m`."""
    groups = [place // m for place in range(start, start + FOUR)]
    return [groups.count(group) for group in sorted(set(groups))]
