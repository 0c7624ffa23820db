"""The functions that prune a model, or choose how. None of them writes a file where you would find it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from domino_onnx import pipeline
from domino_onnx.api.call import Call
from domino_onnx.api.findings import SearchResult, SweepResult
from domino_onnx.api.keywords import (
    AnyPlan,
    ApplyKeywords,
    CompressKeywords,
    FinetuneFileKeywords,
    SearchKeywords,
    Share,
    SweepKeywords,
)
from domino_onnx.api.models import Model
from domino_onnx.api.options import Recipe, shares_of
from domino_onnx.api.progress import ProgressFunction
from domino_onnx.api.written import CompressResult
from domino_onnx.scheme import Plan
from domino_onnx.stages import Observer, teacher_beside

__all__ = ["apply", "compress", "finetune", "search", "sweep"]

_OUTPUT = "model.sparse.onnx"
_SHARES = (0.5, 0.625, 0.75, 0.8125, 0.875, 0.9)


def compress(
    model: Model,
    *,
    recipe: Recipe | None = None,
    progress: ProgressFunction | None = None,
    observer: Observer | None = None,
    **options: Unpack[CompressKeywords],
) -> CompressResult:
    """Prune a model to a goal, with a scheme of its own for every weight; refit, finetune and check it.

    Parameters
    ----------
    model
        A path, bytes, an `onnx.ModelProto`, a graph of onnx-graphsurgeon, or what another function gave.
    recipe
        A TOML file, a JSON report, or what one of them holds. The keywords replace its options.
    progress
        Called with a `Progress` now and then; ``print`` will do.
    observer
        Hears all that there is to tell. Without, warnings are `DominoWarning`.
    options
        Every option of a recipe (docs/options.md). One of `sparsity`, `flops_reduction`, `max_drop`, `scheme` and
        `plan` is a must. `data` and `eval_data` take a path, an array, arrays by input, or an iterable of feeds.

    Raises
    ------
    DominoError
        One of `domino_onnx.errors`; each says what to do.
    TypeError
        For an unknown keyword.
    """
    with Call("compress", options, CompressKeywords, progress, observer) as call:
        path = call.model(model)
        chosen = call.options(path, recipe)
        found = pipeline.compress(path, call.output(_OUTPUT), chosen, call.observer, metric=call.metric, keeps=False)
        return CompressResult(found, call.places, call.inputs)


def search(
    model: Model,
    *,
    recipe: Recipe | None = None,
    progress: ProgressFunction | None = None,
    observer: Observer | None = None,
    **options: Unpack[SearchKeywords],
) -> SearchResult:
    """Choose a scheme for every weight, and change nothing. Parameters and errors are those of `compress`."""
    with Call("search", options, SearchKeywords, progress, observer) as call:
        path = call.model(model)
        return SearchResult(
            pipeline.search(path, call.options(path, recipe), call.observer, metric=call.metric), call.places
        )


def sweep(
    model: Model,
    sparsities: Share | Sequence[Share] = _SHARES,
    *,
    recipe: Recipe | None = None,
    progress: ProgressFunction | None = None,
    observer: Observer | None = None,
    **options: Unpack[SweepKeywords],
) -> SweepResult:
    """Say what a model is worth with ever more zeros: a refitted plan for each share, without finetuning.

    Parameters and errors are those of `compress`.

    Parameters
    ----------
    sparsities
        Shares of zeros between 0 and 1, or texts as ``"75%"``; one, or several.
    """
    with Call("sweep", options, SweepKeywords, progress, observer) as call:
        shares = shares_of("sweep", "sparsities", sparsities)
        path = call.model(model)
        chosen = call.options(path, recipe, has_goal=False)
        found = pipeline.sweep(path, shares, chosen, call.observer, metric=call.metric, keeps=False)
        return SweepResult(found, call.places)


def apply(
    model: Model,
    plan: AnyPlan,
    *,
    recipe: Recipe | None = None,
    progress: ProgressFunction | None = None,
    observer: Observer | None = None,
    **options: Unpack[ApplyKeywords],
) -> CompressResult:
    """Prune a model as a plan says, and refit what is left. Parameters and errors are those of `compress`.

    Parameters
    ----------
    plan
        What `search` found, perhaps with other schemes; its file; or a result that has one.
    """
    with Call("apply", options, ApplyKeywords, progress, observer) as call:
        path = call.model(model)
        given = Plan.load(call.plan(plan))
        chosen = call.options(path, recipe, has_goal=False)
        found = pipeline.apply(
            path, given, call.output(_OUTPUT), chosen, call.observer, metric=call.metric, keeps=False
        )
        return CompressResult(found, call.places, call.inputs)


def finetune(
    model: Model,
    teacher: Model | None = None,
    *,
    recipe: Recipe | None = None,
    progress: ProgressFunction | None = None,
    observer: Observer | None = None,
    **options: Unpack[FinetuneFileKeywords],
) -> CompressResult:
    """Finetune a model that this program pruned; zeros stay zeros. Parameters and errors are those of `compress`.

    Parameters
    ----------
    teacher
        The dense model that it came from. Without, it is found next to the file of `model`, by its hash.
    """
    with Call("finetune", options, FinetuneFileKeywords, progress, observer) as call:
        path = call.model(model)
        dense = call.model(teacher_beside(path) if teacher is None else teacher, "teacher")
        chosen = call.options(path, recipe, has_goal=False)
        found = pipeline.finetune(
            path, dense, call.output(_OUTPUT), chosen, call.observer, metric=call.metric, keeps=False
        )
        return CompressResult(found, call.places, call.inputs)
