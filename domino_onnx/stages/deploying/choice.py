"""Which layers are deployed in which kind? What gains by itself is tried on the whole model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from onnx import ModelProto

from domino_onnx.stages.deploying.accuracy import ByteJudge, Grids
from domino_onnx.stages.deploying.bench import Bench
from domino_onnx.stages.deploying.recipes import EXACT, RECIPES, Choice, choice_of
from domino_onnx.stages.journal import Journal

if TYPE_CHECKING:
    from domino_onnx.deployment import Layer, Seconds

__all__ = ["Chooser", "Tried", "fastest", "with_fewer_passes"]

_WORTH_IT = 0.98
_WORTH_BYTES = 0.97
"""Shares of the time of the whole model that make it worth to change nodes, or to take 8 bits at some loss."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A model with some layers deployed, and how it compares with the dense one.

    Attributes
    ----------
    refused
        Layers that 8 bits would cost too much.
    dense, deployed
        Seconds of a run: of the processor with one thread, else of the wall clock.
    divergence
        Of the outputs, on the samples that judge; None where there is no judge or no layer in 8 bits.
    activations, attentions
        How many became one operator each.
    """

    proto: ModelProto
    chosen: Choice
    refused: frozenset[Layer]
    dense: float
    deployed: float
    divergence: float | None
    activations: int = 0
    attentions: int = 0


class Chooser:
    """Puts choices of layers into a model.

    Parameters
    ----------
    timed
        What each layer takes by itself.
    judge
        None where no layer in floats gets grids.
    """

    def __init__(self, bench: Bench, timed: Mapping[Layer, Seconds], judge: ByteJudge | None, journal: Journal) -> None:
        self._bench = bench
        self._timed = timed
        self._judge = judge
        self._journal = journal
        self._grids: Grids | None = None
        self._costs: dict[Layer, float] = {}

    def choices(self) -> tuple[list[Choice], set[Layer]]:
        """What to try on the whole model, none deployed first, and the layers that 8 bits would cost too much."""
        choices: list[Choice] = [dict.fromkeys(self._timed, "dense")]
        for recipe in RECIPES:
            _put(choices, choice_of(self._timed, recipe, EXACT))
        refused: set[Layer] = set()
        for recipe in RECIPES:
            choice = choice_of(self._timed, recipe, (*EXACT, "int8"))
            if choice in choices or recipe.others not in ("alone", "deployed"):
                continue
            if self._judge is not None:
                choice, more = self.within(choice, choice_of(self._timed, recipe, EXACT), self._judge)
                refused |= more
            _put(choices, choice)
        return choices, refused

    def written(self, choice: Choice) -> ModelProto:
        """The model with a choice, its layers in 8 bits on the grids with which the outputs are the closest."""
        judge = self._judge
        if judge is None or not any(kind == "int8" and layer.op == "Conv" for layer, kind in choice.items()):
            return self._rewritten(choice, {})
        if self._grids is None:
            protos = [self._rewritten(choice, grids) for grids in judge.grids]
            self._grids = judge.grids[judge.closest(protos)]
        return self._rewritten(choice, self._grids)

    def within(self, choice: Choice, floats: Choice, judge: ByteJudge) -> tuple[Choice, set[Layer]]:
        """A choice with as many layers in 8 bits as the outputs bear, and the layers that they don't.

        Layers that cost least for what they gain come first.
        """
        if not judge.is_strict or judge.bears(self.written(choice)):
            return choice, set()
        in_bytes = [layer for layer, kind in choice.items() if kind == "int8"]
        for done, layer in enumerate(in_bytes):
            if layer not in self._costs:
                self._journal.progress(done, len(in_bytes), f"8 bits of {layer.name}")
                seconds = self._timed[layer]
                gained = max(seconds[floats[layer]] - seconds["int8"], 1e-9)
                self._costs[layer] = judge.divergence(self.written({**floats, layer: "int8"}), few=True) / gained
        cheapest = sorted(in_bytes, key=lambda layer: self._costs[layer])

        def first(count: int) -> Choice:
            return {**choice, **{layer: floats[layer] for layer in cheapest[count:]}}

        fits, too_many = 0, len(cheapest)
        while too_many - fits > 1:
            middle = (fits + too_many) // 2
            if judge.bears(self.written(first(middle))):
                fits = middle
            else:
                too_many = middle
        return first(fits), set(cheapest[fits:])

    def _rewritten(self, choice: Choice, grids: Grids) -> ModelProto:
        """The model with a choice, whose layers are of another view of it: their nodes are looked up anew."""
        from domino_onnx.deployment import open_graph, rewritten_graph

        whole = self._bench.whole
        if all(kind == "dense" for kind in choice.values()):
            return whole
        graph = open_graph(whole)
        producers = {node.outputs[0].name: node for node in graph.nodes if node.outputs}
        again = {
            dataclasses.replace(layer, nodes=tuple(producers[node.outputs[0].name] for node in layer.nodes)): kind
            for layer, kind in choice.items()
        }
        return rewritten_graph(whole, graph, again, grids, self._bench.shapes)


def fastest(bench: Bench, timed: Mapping[Layer, Seconds], judge: ByteJudge | None, journal: Journal) -> Tried:
    """Of several choices of layers, and none, the one with which the whole model is the fastest.

    With a strict judge, 8 bits count only as far as it bears them, and where they gain enough.

    Parameters
    ----------
    timed
        What each layer takes by itself.
    judge
        None where no layer in floats gets grids.
    """
    chooser = Chooser(bench, timed, judge, journal)
    choices, refused = chooser.choices()
    protos = [chooser.written(choice) for choice in choices]
    taken = bench.glanced(protos)
    best = _best(choices, [each.low for each in taken], careful=judge is not None and judge.is_strict)
    in_bytes = "int8" in choices[best].values()
    return Tried(
        proto=protos[best],
        chosen=choices[best],
        refused=frozenset(refused),
        dense=taken[0].median,
        deployed=taken[best].median,
        divergence=judge.divergence(protos[best]) if judge is not None and in_bytes else None,
    )


def with_fewer_passes(best: Tried, bench: Bench) -> Tried:
    """A deployed model with attention as one operator each, and its other activations, as far as each is faster."""
    from domino_onnx.deployment import with_activations, with_attention

    if all(kind == "dense" for kind in best.chosen.values()):
        return best
    for what, change, runs in (
        ("attentions", with_attention, bench.runs),
        ("activations", with_activations, bench.runs[:1]),
    ):
        proto, count = change(best.proto, *runs)
        if not count:
            continue
        dense, before, after = bench.timed((bench.whole, best.proto, proto))
        if after.low < _WORTH_IT * before.low:
            fewer: dict[str, Any] = {what: count, "dense": dense.median, "deployed": after.median}
            best = dataclasses.replace(best, proto=proto, **fewer)
    return best


def _put(choices: list[Choice], choice: Choice) -> None:
    if choice not in choices:
        choices.append(choice)


def _best(choices: Sequence[Choice], seconds: Sequence[float], *, careful: bool) -> int:
    """The fastest choice; a careful one has 8 bits only where they gain enough over all without."""
    exact = [place for place, choice in enumerate(choices) if "int8" not in choice.values()]
    best, of_all = (min(places, key=lambda place: seconds[place]) for places in (exact, range(len(choices))))
    return of_all if seconds[of_all] < (_WORTH_BYTES if careful else 1) * seconds[best] else best
