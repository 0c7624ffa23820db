"""What a run is going to cost, found out before any work: a batch or two are run, the rest is counted."""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
import math
import shutil
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from domino_onnx.errors import DependencyError, ModelError
from domino_onnx.options import MEASURED, Strategy
from domino_onnx.scheme import Skip
from domino_onnx.stages.forecasting.left_to_do import left_to_do
from domino_onnx.stages.laboratory import Laboratory
from domino_onnx.stages.planning import SECOND_PLAN, chosen_strategy, two_may_be_refitted
from domino_onnx.stages.reading.drawing import drawn_when_taken
from domino_onnx.stages.trials.measuring import judges_apart

if TYPE_CHECKING:
    from domino_onnx.data import Dataset, Split
    from domino_onnx.forecast import Forecast, Unprunable
    from domino_onnx.forecast.work import Training, Work

__all__ = ["Task", "preflight"]

Task = Literal["compress", "search", "sweep", "apply", "finetune"]

_log = logging.getLogger(__name__)
_SURELY = 3
"""A machine this many times slower than usual ones is looked out for: its own speed is measured from there on."""
_TIMED = 8
"""Samples whose drawing is timed."""
_DENSITY = 0.4
"""About what is kept where a largest loss decides how much."""


def preflight(lab: Laboratory, task: Task, *, plans: int = 1, output: Path | None = None) -> None:
    """Tell the journal what a run is going to cost; nothing where there are no data, which is no work.

    Parameters
    ----------
    plans
        How many are tried.
    output
        The file that is going to be written.
    """
    split = lab.source.split
    if split is None or not lab.aim.inventory.sites:
        return
    with lab.journal.stage("estimate"):
        try:
            found = _forecast(lab, split, task, plans, output)
        except (ModelError, DependencyError) as error:
            _log.info("what the run is going to cost is unknown: %s", error)
            return
    lab.journal.expect(found)
    if found.disk_available is not None and found.disk > found.disk_available:
        from domino_onnx.report.text import file_size

        free, needed = file_size(found.disk_available), file_size(found.disk)
        lab.journal.tell(f"the run needs about {needed} of disk, and {free} is free: make room, or write elsewhere")


def _forecast(lab: Laboratory, split: Split, task: Task, plans: int, output: Path | None) -> Forecast:
    from domino_onnx.forecast import LONG, Forecast
    from domino_onnx.forecast.machine import Machine
    from domino_onnx.forecast.space import disk_needed, memory_needed
    from domino_onnx.forecast.timing import stage_costs
    from domino_onnx.runtime import available_memory, resident_memory, scratch_folder

    work = left_to_do(_work(lab, split, task, plans), lab.checkpoint, lab.options.finetune)
    if sum(stage.seconds for stage in stage_costs(work)) > LONG / _SURELY:
        work = dataclasses.replace(work, machine=Machine.measured())
    resident, budget = resident_memory(), lab.room.memory
    swept = disk_needed(work, resident, budget)
    folders = [] if output is None else [output.parent]
    folders += [lab.room.folder or scratch_folder()] if swept else []
    available = available_memory()
    return Forecast(
        stages=stage_costs(work),
        threads=lab.options.run.threads,
        memory=memory_needed(work, resident, budget),
        memory_available=None if available is None else resident + available,
        memory_limit=lab.options.run.memory,
        disk=swept + (0 if output is None else _size_of(lab)),
        disk_available=min((shutil.disk_usage(folder).free for folder in folders if folder.is_dir()), default=None),
        prunable=sum(site.params for site in lab.aim.inventory.sites) / max(work.stored, 1),
        unprunable=_unprunable(lab.aim.inventory.skips, work.stored),
        finetunes=work.training is not None,
        may_skip_finetuning=work.training is not None and task == "compress",
    )


def _work(lab: Laboratory, split: Split, task: Task, plans: int) -> Work:
    from domino_onnx.forecast.forward import seconds_per_sample
    from domino_onnx.forecast.layers import walk_through
    from domino_onnx.forecast.machine import Machine
    from domino_onnx.forecast.work import Work

    source, run, goal = lab.source, lab.options.run, lab.options.goal
    walk, strategy = walk_through(source.file, lab.aim.inventory, source.table), _strategy(lab, task)
    plans = _halvings(lab) if goal.max_drop is not None else plans
    refits = plans * _refits(lab, task, strategy) if walk.layers else 0
    forward = seconds_per_sample(source.path, split.fit, run.batch_size, device=run.device, threads=run.threads)
    parts = drawn_when_taken(split, judges=lab.judged_by_drawn)
    drawing, varying = _seconds_to_draw(split, parts)
    training = _training(lab, split, forward, drawing, varying) if _finetunes(lab, task) else None
    gradients = _gradients(lab, split, strategy, measures=bool(walk.layers))
    asks = any((refits, strategy in MEASURED, gradients, training is not None))
    apart = judges_apart(lab)
    tried = plans if task == "sweep" or goal.max_drop is not None else 0
    looked = not tried and task != "apply"
    judges, _ = split.judge(refitted=refits > 0, finetuned=training is not None)
    return Work(
        walk=walk,
        machine=Machine.usual(),
        forward=forward,
        drawing=drawing,
        varying=varying,
        drawn=sum(data.count for data in parts) if asks else 0,
        given=split.fit.count,
        samples=split.learned.count,
        batches=max(len(split.learned.runs(run.batch_size)), 1),
        judges=judges.count,
        measures=(0, 0) if apart is None else (looked + (training is not None), apart.count),
        searches=int(strategy in MEASURED and bool(walk.layers)),
        gradients=gradients,
        refits=refits,
        trials=tried,
        density=_density(lab),
        densities={} if lab.aim.plan is None else {k: float(s.density) for k, s in lab.aim.plan.schemes.items()},
        training=training,
        stored=sum(math.prod(tensor.dims) for tensor in source.tensors.values()),
        writes=task not in ("search", "sweep"),
    )


def _strategy(lab: Laboratory, task: Task) -> Strategy | None:
    """How schemes are searched for; None where they are given."""
    given = lab.aim.plan is not None or lab.options.goal.scheme is not None or task in ("apply", "finetune")
    return None if given else chosen_strategy(lab)


def _refits(lab: Laboratory, task: Task, strategy: Strategy | None) -> float:
    """How often a plan is refitted, on average: where two come into question, both are."""
    if task == "finetune" or lab.options.solver.method == "magnitude":
        return 0
    return 1 + SECOND_PLAN * two_may_be_refitted(lab, strategy)


def _gradients(lab: Laboratory, split: Split, strategy: Strategy | None, *, measures: bool) -> int:
    """Samples of each step of DominoSearch, which also chooses where losses are wanted and can't be measured."""
    searches = strategy == "domino" or (strategy in MEASURED and not measures)
    wanted = searches and lab.options.search.gradients and _trains(lab)
    return min(lab.options.run.batch_size, len(split.train)) if wanted else 0


def _finetunes(lab: Laboratory, task: Task) -> bool:
    return (task == "finetune" or (task == "compress" and lab.options.finetune.enabled)) and _trains(lab)


def _trains(lab: Laboratory) -> bool:
    return bool(lab.trainable) and importlib.util.find_spec("torch") is not None


def _halvings(lab: Laboratory) -> int:
    """How many plans the search for the sparsest one within a largest loss tries."""
    inventory = lab.aim.inventory
    return max(math.ceil(math.log2(max(inventory.sparsity(inventory.sparsest), 0.02) / 0.01)), 1)


def _density(lab: Laboratory) -> float:
    """About the share of its weights that a site keeps."""
    goal = lab.options.goal
    if goal.scheme is not None:
        return float(goal.scheme.density)
    return 1 - (goal.sparsity or goal.flops_reduction or 1 - _DENSITY)


def _seconds_to_draw(split: Split, parts: Sequence[Dataset]) -> tuple[float, float]:
    """Of one sample, and to vary it for finetuning. Those that are drawn for it are kept for when they are taken."""
    stream = split.stream or split.joining
    if not parts and stream is None:
        return 0.0, 0.0
    if stream is None:
        data, some = parts[0], np.unique(np.linspace(0, parts[0].count - 1, _TIMED).astype(np.int64))
    else:
        data, some = stream.data, stream.seen(1)[:_TIMED]
    start = time.perf_counter()
    for sample in some:
        data.take(sample[None])
    drawn = time.perf_counter()
    if stream is not None:
        data.take(some, draw=0)
    return (drawn - start) / len(some), (time.perf_counter() - drawn) / len(some)


def _training(lab: Laboratory, split: Split, forward: float, drawing: float, varying: float) -> Training:
    """Its steps as they are going to be planned."""
    from domino_onnx.data import feed_of
    from domino_onnx.forecast.training import expected_training

    feed, batch = feed_of(split), lab.options.run.batch_size
    batch = min(batch, len(feed.train)) if feed.comes_again else batch
    return expected_training(
        lab.options.finetune,
        batch=batch,
        epoch=max(feed.epoch(batch), 1),
        held_out=len(feed.held_out),
        forward=forward,
        varying=varying,
        drawing=drawing,
        drawn=feed.made_each,
        drawn_first=feed.made_first,
    )


def _unprunable(skips: tuple[Skip, ...], stored: int) -> tuple[Unprunable, ...]:
    from domino_onnx.forecast import Unprunable

    params: dict[tuple[str, str, bool], int] = defaultdict(int)
    for skip in skips:
        params[skip.op, skip.reason, skip.counted] += skip.params
    found = [
        Unprunable(op=op, share=count / max(stored, 1), reason=reason, counted=counted)
        for (op, reason, counted), count in params.items()
    ]
    return tuple(sorted(found, key=lambda each: -each.share))


def _size_of(lab: Laboratory) -> int:
    """Bytes of all files of the model."""
    files = {lab.source.path, *lab.source.file.data_files}
    return sum(file.stat().st_size for file in files)
