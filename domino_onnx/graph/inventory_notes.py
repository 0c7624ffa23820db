"""What there is to say of a model's weights beyond the list of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from domino_onnx.graph.io.listed import replaceable_names
from domino_onnx.graph.io.read import OnnxFile
from domino_onnx.percentage import percent
from domino_onnx.scheme import SchemePool, Site, Skip

__all__ = ["left_dense", "of_same_density", "replaceable"]

_WORTH_SAYING = 0.05
"""Share of the weights that can't be pruned from which on it is said."""


def left_dense(sites: Sequence[Site], skips: Sequence[Skip]) -> Iterator[str]:
    """How many of the weights no option of a budget reaches, where that is worth knowing."""
    listed = sum(site.params for site in sites) + sum(skip.params for skip in skips)
    params = Counter[str]()
    for skip in skips:
        if not skip.by_options:
            params[skip.op] += skip.params
    left = params.total()
    if left < _WORTH_SAYING * listed or not left:
        return
    most = [f"{operator} {percent(count / listed)}" for operator, count in params.most_common(3) if count]
    more = ", ..." if len(params) > len(most) else ""
    yield (
        f"{percent(left / listed)} of the weights can't be pruned ({', '.join(most)}{more}): they stay as they are, "
        "and budgets count them"
    )


def of_same_density(pool: SchemePool) -> Iterator[str]:
    """Schemes of the pool that keep the same share, of which a site gets one."""
    for schemes in pool.same_density:
        smallest, *others = map(str, schemes)
        yield (
            f"{smallest}, {', '.join(others)} keep the same share: a site gets the one with the largest M that divides "
            f"its axis; leave {', '.join(others)} out to have {smallest} everywhere"
        )


def replaceable(file: OnnxFile, sites: Iterable[Site]) -> Iterator[str]:
    """Weights of the main graph that a graph input of the same name may replace."""
    inputs = replaceable_names(file.proto)
    names = [str(site.key) for site in sites if not site.key.scope and site.key.name in inputs]
    if names:
        yield (
            "graph inputs of the same name may replace these weights at run time, zeros included: " + ", ".join(names)
        )
