"""Options that ask for what a run doesn't do: each is told before any work."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from domino_onnx.options import MEASURED, NO_DATA, CompressOptions, FinetuneOptions, SearchOptions, SolverOptions
from domino_onnx.stages.journal import Journal

__all__ = ["idle_options", "idle_to_look", "idle_to_time", "tell_idle_options"]

_OPTIONS = {
    "finetune.steps": "--finetune-steps",
    "finetune.time": "--finetune-time",
    "search.pool": "--pool",
}
"""Fields that the command line has an option for; others are in recipes alone."""


def tell_idle_options(
    options: CompressOptions, journal: Journal, *, finetunes: bool = False, searches: bool = True, keeps: bool = True
) -> None:
    """Warn of each option that has no effect, as `idle_options` says."""
    for said in idle_options(options, finetunes=finetunes, searches=searches, keeps=keeps):
        journal.warn(said)


def idle_options(
    options: CompressOptions, *, finetunes: bool = False, searches: bool = True, keeps: bool = True
) -> Iterator[str]:
    """Each option that differs from its default and has no effect, and why.

    Parameters
    ----------
    finetunes, searches
        Whether the command may finetune, and search for schemes, at all.
    keeps
        Whether the run keeps what it finds on the way.
    """
    if options.run.resume and not keeps:
        yield "--resume has no effect without --checkpoint: nothing was kept"
    if options.data.path is None and options.data.drawn is not None:
        yield "data.drawn has no effect without --data: drawn images join samples that are given"
    yield from _of_shapes(options)
    if options.output.deploy is not None and options.output.precision == "fp16":
        yield f"--deploy {options.output.deploy} has no effect with --precision fp16: no operator takes float16 weights"
    if _has_no_samples(options):
        yield from _without_samples(options)
    if finetunes and not options.finetune.enabled:
        default = FinetuneOptions(enabled=False)
        yield from _without_effect("finetune", options.finetune, default, "with --no-finetune")
    yield from _of_the_search(options)
    if options.solver.masks != SolverOptions().masks and not (_refits(options) or (searches and _measures(options))):
        yield "solver.masks has no effect: nothing is refitted, and no loss is measured"


def idle_to_look(options: CompressOptions) -> Iterator[str]:
    """The same for a command that only looks at a model."""
    yield from _of_shapes(options)


def idle_to_time(options: CompressOptions, *, batches: bool) -> Iterator[str]:
    """The same for commands that time models. `batches` says whether runs of several samples are timed."""
    yield from _of_shapes(options)
    if options.data.batch_axes and options.data.path is None and not batches:
        yield "--batch-axis has no effect without --data: inputs are one random sample"


def _of_shapes(options: CompressOptions) -> Iterator[str]:
    """Samples that were given have shapes of their own."""
    if options.data.input_shapes and options.data.tells_shapes:
        yield "--input-shape has no effect with samples, which have shapes of their own"


def _has_no_samples(options: CompressOptions) -> bool:
    return options.data.calibration == NO_DATA and options.data.evaluation is None


def _without_samples(options: CompressOptions) -> Iterator[str]:
    data, without = options.data, f"has no effect without samples (--data {NO_DATA})"
    asked = {
        "--metric": data.metric is not None,
        "--output-kind": bool(data.output_kinds),
        "--batch-axis": bool(data.batch_axes),
        "solver.method = 'sparsegpt'": options.solver.method == "sparsegpt",
    }
    yield from (f"{name} {without}" for name, is_given in asked.items() if is_given)


def _of_the_search(options: CompressOptions) -> Iterator[str]:
    """Where the schemes are given, nothing is searched for; and only one strategy has parameters of its own."""
    search, goal = options.search, options.goal
    if goal.plan is not None:
        yield from _without_effect("search", search, SearchOptions(), "with --plan, which has the schemes")
        return
    strategy = "domino" if search.strategy == "auto" and options.data.calibration == NO_DATA else search.strategy
    if goal.scheme is not None or strategy != "domino":
        why = "with --scheme" if goal.scheme is not None else f"with search.strategy = {strategy!r}"
        others = SearchOptions(pool=search.pool, strategy=search.strategy)
        yield from _without_effect("search", search, others, why)


def _without_effect(group: str, given: object, default: object, why: str) -> Iterator[str]:
    for field in dataclasses.fields(default):  # type: ignore[arg-type]
        if getattr(given, field.name) != getattr(default, field.name):
            name = f"{group}.{field.name}"
            yield f"{_OPTIONS.get(name, name)} has no effect {why}"


def _refits(options: CompressOptions) -> bool:
    return options.solver.method == "refit" and options.data.calibration != NO_DATA


def _measures(options: CompressOptions) -> bool:
    """Whether the search goes by losses of masks, which it chooses as the refit would."""
    goal, searched = options.goal, options.search.strategy in ("auto", *MEASURED)
    return searched and goal.plan is None and goal.scheme is None and options.data.calibration != NO_DATA
