"""Which layers are deployed in which kind? What gains by itself is tried on the whole model."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from domino_onnx.report.results import DeployPrecision
from domino_onnx.stages.deploy_accuracy import ByteJudge, Grids
from domino_onnx.stages.deploy_recipes import EXACT, RECIPES, Choice, choice_of
from domino_onnx.stages.journal import Journal

if TYPE_CHECKING:
    from domino_onnx.deployment import Kind, Latency, Layer, Timed

__all__ = ["MOST_DIVERGENCE", "Tried", "fastest", "with_fewer_passes"]

MOST_DIVERGENCE = 0.001
"""Of the outputs (`OutputDivergence`), up to which `auto` takes 8 bits."""
_SECONDS = 2.0
_GLANCE = 0.4
_WORTH_A_LOOK = 1.1
"""Seconds for each model: of those that may be the fastest, and of all; and how much slower at first these may be."""
_WORTH_IT = 0.98
_WORTH_BYTES = 0.97
"""Shares of the time of the whole model that make it worth to change nodes, or to take 8 bits with `auto`."""
Inputs = Mapping[str, NDArray[Any]]
Shapes = Mapping[str, tuple[int, ...]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A model with some layers deployed, and how it compares with the dense one.

    Attributes
    ----------
    refused
        Layers that 8 bits would cost too much.
    dense, deployed
        Seconds of a run: of the processor with one thread, else of the wall clock.
    error
        The largest difference of an output, as a share of the output's largest value.
    divergence
        Of the outputs, on the samples that judge; None where there is no judge or no layer in 8 bits.
    activations
        How many became one operator each.
    """

    proto: ModelProto
    chosen: Mapping[Layer, Kind]
    refused: frozenset[Layer]
    dense: float
    deployed: float
    error: float
    divergence: float | None
    activations: int = 0


class Chooser:
    """Puts choices of layers into a model."""

    def __init__(
        self, whole: ModelProto, timed: Mapping[Layer, Timed], judge: ByteJudge | None, shapes: Shapes
    ) -> None:
        self._whole = whole
        self._shapes = shapes
        self._timed = timed
        self._judge = judge
        self._grids: Grids | None = None
        self._costs: dict[Layer, float] = {}

    def written(self, choice: Choice) -> ModelProto:
        """The model with a choice, its layers in 8 bits on the grids with which the outputs are the closest."""
        judge = self._judge
        if judge is None or not any(kind == "int8" and layer.op == "Conv" for layer, kind in choice.items()):
            return _rewritten(self._whole, choice, {}, self._shapes)
        if self._grids is None:
            protos = [_rewritten(self._whole, choice, grids, self._shapes) for grids in judge.grids]
            self._grids = judge.grids[judge.closest(protos)]
        return _rewritten(self._whole, choice, self._grids, self._shapes)

    def within(self, choice: Choice, floats: Choice, judge: ByteJudge, journal: Journal) -> tuple[Choice, set[Layer]]:
        """A choice with as many layers in 8 bits as the outputs bear, and the layers that they don't.

        Layers that cost least for what they gain come first.
        """
        if judge.divergence(self.written(choice)) <= MOST_DIVERGENCE:
            return choice, set()
        in_bytes = [layer for layer, kind in choice.items() if kind == "int8"]
        for done, layer in enumerate(in_bytes):
            if layer not in self._costs:
                journal.progress(done, len(in_bytes), f"8 bits of {layer.name}")
                seconds = self._timed[layer].seconds
                gained = max(seconds[floats[layer]] - seconds["int8"], 1e-9)
                self._costs[layer] = judge.divergence(self.written({**floats, layer: "int8"}), few=True) / gained
        cheapest = sorted(in_bytes, key=lambda layer: self._costs[layer])

        def first(count: int) -> Choice:
            return {**choice, **{layer: floats[layer] for layer in cheapest[count:]}}

        fits, too_many = 0, len(cheapest)
        while too_many - fits > 1:
            middle = (fits + too_many) // 2
            if judge.divergence(self.written(first(middle))) <= MOST_DIVERGENCE:
                fits = middle
            else:
                too_many = middle
        return first(fits), set(cheapest[fits:])


def fastest(
    whole: ModelProto,
    timed: Mapping[Layer, Timed],
    precision: DeployPrecision,
    judge: ByteJudge | None,
    shapes: Shapes,
    inputs: Inputs,
    threads: int,
    journal: Journal,
) -> Tried:
    """Of several choices of layers, and none, the one with which the whole model is the fastest.

    With the precision `auto`, 8 bits count only within `MOST_DIVERGENCE`, and where they gain enough.

    Parameters
    ----------
    shapes
        Of activations that are float32.
    """
    from domino_onnx.runtime import Session

    chooser = Chooser(whole, timed, judge, shapes)
    choices: list[Choice] = [dict.fromkeys(timed, "dense")]
    for recipe in RECIPES:
        _put(choices, choice_of(timed, recipe, EXACT))
    refused: set[Layer] = set()
    for recipe in RECIPES:
        choice = choice_of(timed, recipe, (*EXACT, "int8"))
        if choice in choices or recipe.others not in ("alone", "deployed"):
            continue
        if precision == "auto" and judge is not None:
            choice, more = chooser.within(choice, choice_of(timed, recipe, EXACT), judge, journal)
            refused |= more
        _put(choices, choice)
    protos = [chooser.written(choice) for choice in choices]
    taken = _measured(protos, inputs, threads)
    best = _best(choices, [each.low for each in taken], careful=precision == "auto")
    in_bytes = "int8" in choices[best].values()
    dense, deployed = (
        Session(bytes(protos[place].SerializeToString()), device="cpu", threads=threads) for place in (0, best)
    )
    return Tried(
        proto=protos[best],
        chosen=choices[best],
        refused=frozenset(refused),
        dense=taken[0].median,
        deployed=taken[best].median,
        error=_error(dense.run(inputs), deployed.run(inputs)),
        divergence=judge.divergence(protos[best]) if judge is not None and in_bytes else None,
    )


def with_fewer_passes(best: Tried, whole: ModelProto, shapes: Shapes, inputs: Inputs, threads: int) -> Tried:
    """A deployed model with its other activations as one operator each, if that is faster.

    Parameters
    ----------
    shapes
        Of activations that are float32.
    """
    from domino_onnx.deployment import clock_for, measure, with_activations
    from domino_onnx.runtime import Session

    if all(kind == "dense" for kind in best.chosen.values()):
        return best
    proto, count = with_activations(best.proto, shapes)
    if not count:
        return best
    protos = (whole, best.proto, proto)
    sessions = [Session(bytes(each.SerializeToString()), device="cpu", threads=threads) for each in protos]
    runs = [functools.partial(each.run, inputs) for each in sessions]
    dense, before, after = measure(runs, _SECONDS * len(runs), clock_for(threads))
    if after.low >= _WORTH_IT * before.low:
        return best
    error = _error(sessions[0].run(inputs), sessions[2].run(inputs))
    return dataclasses.replace(
        best, proto=proto, activations=count, dense=dense.median, deployed=after.median, error=error
    )


def _put(choices: list[Choice], choice: Choice) -> None:
    if choice not in choices:
        choices.append(choice)


def _measured(protos: Sequence[ModelProto], inputs: Inputs, threads: int) -> list[Latency]:
    """What each of several models takes, the first of which is the dense one.

    All are timed for a short while, and those that may be the fastest again, for longer.
    """
    from domino_onnx.deployment import clock_for, measure
    from domino_onnx.runtime import Session

    sessions = [Session(bytes(each.SerializeToString()), device="cpu", threads=threads, timed=True) for each in protos]
    runs = [functools.partial(each.run, inputs) for each in sessions]
    taken = measure(runs, _GLANCE * len(runs), clock_for(threads))
    limit = _WORTH_A_LOOK * min(each.low for each in taken)
    again = [place for place, each in enumerate(taken) if place == 0 or each.low <= limit]
    longer = measure([runs[place] for place in again], _SECONDS * len(again), clock_for(threads))
    known = dict(zip(again, longer, strict=True))
    return [known.get(place, each) for place, each in enumerate(taken)]


def _best(choices: Sequence[Choice], seconds: Sequence[float], *, careful: bool) -> int:
    """The fastest choice; a careful one has 8 bits only where they gain enough over all without."""
    exact = [place for place, choice in enumerate(choices) if "int8" not in choice.values()]
    best, of_all = (min(places, key=lambda place: seconds[place]) for places in (exact, range(len(choices))))
    return of_all if seconds[of_all] < (_WORTH_BYTES if careful else 1) * seconds[best] else best


def _rewritten(whole: ModelProto, choice: Mapping[Layer, Kind], grids: Grids, shapes: Shapes) -> ModelProto:
    """The model with a choice, whose layers are of another view of the same model: their nodes are looked up anew."""
    from domino_onnx.deployment import open_graph, rewritten_graph

    if all(kind == "dense" for kind in choice.values()):
        return whole
    graph = open_graph(whole)
    producers = {node.outputs[0].name: node for node in graph.nodes if node.outputs}
    again = {
        dataclasses.replace(layer, nodes=tuple(producers[node.outputs[0].name] for node in layer.nodes)): kind
        for layer, kind in choice.items()
    }
    return rewritten_graph(whole, graph, again, grids, shapes)


def _error(wanted: Inputs, found: Inputs) -> float:
    """The largest difference of two sets of outputs, each as a share of the largest finite value of the first.

    Infinite where a value is NaN or infinity in one of them and another value in the other one.
    """
    floats = [name for name, value in wanted.items() if isinstance(value, np.ndarray) and value.dtype.kind == "f"]
    return max((_difference(wanted[name], found[name]) for name in floats), default=0.0)


def _difference(wanted: NDArray[Any], found: NDArray[Any]) -> float:
    finite = np.isfinite(wanted) & np.isfinite(found)
    if not np.array_equal(wanted[~finite], found[~finite], equal_nan=True):
        return math.inf
    scale = float(np.abs(wanted[finite]).max(initial=0)) or 1.0
    return float(np.abs(wanted[finite] - found[finite]).max(initial=0)) / scale
