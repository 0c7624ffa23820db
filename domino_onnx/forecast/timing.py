"""Seconds of each stage, from what a run is going to do."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

from domino_onnx.data.split import search_judges
from domino_onnx.forecast.solving import Costs
from domino_onnx.forecast.values import StageCost
from domino_onnx.forecast.work import Work

__all__ = ["look_seconds", "stage_costs", "step_seconds"]

_SESSION = 0.015
"""Seconds to make one piece's session."""
_POINTS = 2
_PASSES = 6.0
_TRAINING = 5.5
"""A training step takes so many forward passes of ONNX Runtime over its samples: teacher, student, and back."""
_LOOK = 3.0
"""The same for a look at held-out samples."""
_VARIED = 2
"""Variations for each sample of a step or a look: it is mixed with another one."""
_WARM_UP = 1.0
"""Seconds of a training's first steps, in which torch makes itself ready."""
_STEP = 0.01
"""Seconds of a training step that don't depend on its samples."""
_PROVED = 16
"""Forward passes of a sample in which the model in torch is proved equal."""
_DOMINO_STEPS = 300
"""What DominoSearch about takes."""
_STORED = 4e-8
"""Seconds to write or read one number of the file."""
_OPEN = 0.1


def stage_costs(work: Work) -> tuple[StageCost, ...]:
    """The stages that are still to come, in order, without those that take no time."""
    return tuple(cost for cost in _stages(work) if cost.seconds > 0)


def _stages(work: Work) -> Iterator[StageCost]:
    yield StageCost(name="draw", seconds=work.drawn * work.drawing)
    if work.searches or work.refits or work.gradients or work.training is not None:
        yield StageCost(name="outputs", seconds=work.given * work.forward + _OPEN)
    if work.searches:
        yield _staged("search", _search(work), runs=1)
    if work.gradients:
        yield StageCost(name="search", seconds=_WARM_UP + _DOMINO_STEPS * _gradient_step(work))
    if work.refits:
        yield _staged("refit", _refit(work), runs=work.refits)
    written = work.stored * _STORED + _OPEN
    compared = 2 * work.judges * work.forward + 2 * _OPEN
    if work.trials:
        yield StageCost(name="try", seconds=work.trials * (2 * written + compared), runs=work.trials)
    if work.training is not None:
        yield StageCost(name="bridge", seconds=_PROVED * work.forward + 4 * _OPEN)
        yield StageCost(name="finetune", seconds=_training(work))
    times, samples = work.measures
    if times:
        each = written + 2 * samples * work.forward + 2 * _OPEN
        yield StageCost(name="measure", seconds=times * each, runs=times)
    if work.writes:
        yield StageCost(name="write", seconds=written)
        yield StageCost(name="evaluate", seconds=compared)


def _search(work: Work) -> list[float]:
    """Of each layer: its own work, its share of one pass over all samples, and of those that measure its losses."""
    costs = Costs(machine=work.machine, samples=work.samples, batches=work.batches)
    layers = work.walk.layers
    points = sum(_points(layer.site.schemes) for layer in layers if not layer.repeated)
    judges = len(search_judges(work.batches, math.ceil(_PASSES / max(0.5 * points, 1) * work.batches)))
    batch = work.samples / work.batches * _in_pieces(work)
    before = _before([layer.site.macs or 0 for layer in layers])
    found = []
    for layer, share, behind in zip(layers, _each(before), (1 - each for each in before), strict=True):
        passed = (work.batches + judges) * batch * share
        if layer.site.key in work.known:
            found.append(passed + _SESSION)
            continue
        measured = 0 if layer.repeated else _points(layer.site.schemes) * judges * batch * behind
        found.append(costs.searched(layer, layer.site.schemes) + measured + passed + 2 * _SESSION)
    return found


def _refit(work: Work) -> list[float]:
    """Of each layer: its own work, and its share of the passes of two networks over all samples."""
    costs = Costs(machine=work.machine, samples=work.samples, batches=work.batches)
    layers = work.walk.layers
    passed = 2 * work.samples * _in_pieces(work)
    shares = _each(_before([layer.site.macs or 0 for layer in layers]))
    return [
        costs.refitted(layer, work.density_of(layer)) + passed * share + _SESSION
        for layer, share in zip(layers, shares, strict=True)
    ]


def _in_pieces(work: Work) -> float:
    """Seconds of one sample in a model that runs piece by piece: what each piece makes goes to memory of its own."""
    return work.forward + work.walk.made * work.machine.moved


def _training(work: Work) -> float:
    training = work.training
    assert training is not None
    looks = training.looks * look_seconds(training.held_out, work.forward, work.varying)
    step = step_seconds(training.batch, work.forward, work.varying) + training.drawn * work.drawing
    return _WARM_UP + training.drawn_first * work.drawing + training.steps * step + looks


def step_seconds(samples: int, forward: float, varying: float = 0.0) -> float:
    """Of a training step on so many samples.

    Each of them takes `forward` seconds in ONNX Runtime, and `varying` to be varied.
    """
    return samples * (_TRAINING * forward + _VARIED * varying) + _STEP


def look_seconds(samples: int, forward: float, varying: float = 0.0) -> float:
    """Of a look at so many held-out samples; `forward` and `varying` as `step_seconds`."""
    return samples * (_LOOK * forward + _VARIED * varying)


def _gradient_step(work: Work) -> float:
    """A step of DominoSearch: gradients, and weights that are ranked in their groups and counted."""
    return step_seconds(work.gradients, work.forward) + 2 * work.stored * work.machine.ranked


def _staged(name: str, layers: Sequence[float], *, runs: float) -> StageCost:
    total = sum(layers)
    shares = tuple(min(done / total, 1.0) for done in itertools.accumulate(layers)) if total > 0 else ()
    return StageCost(name=name, seconds=runs * total, runs=runs, shares=shares)


def _points(schemes: Sequence[object]) -> int:
    return min(_POINTS, len(schemes) - 1)


def _before(macs: Sequence[int]) -> list[float]:
    """Which share of a forward pass is over ahead of each layer."""
    total = sum(macs) or 1
    return [done / total for done in itertools.accumulate(macs, initial=0)][: len(macs)]


def _each(before: Sequence[float]) -> list[float]:
    """The share of a forward pass from each layer to the next one, the last to the end."""
    return [after - share for share, after in itertools.pairwise([*before, 1.0])]
