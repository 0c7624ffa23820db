"""The stage that finetunes what was solved: the model as a whole, in blocks, or in blocks first."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from domino_onnx.errors import DependencyError, DeviceMemoryError, DominoError, FinetuneError, ModelError
from domino_onnx.graph import read_model
from domino_onnx.options import DEFAULT_TIME, FinetuneOptions
from domino_onnx.scheme import Plan, WeightKey
from domino_onnx.stages.checkpoints.training_state import TrainingState
from domino_onnx.stages.choosing import Found
from domino_onnx.stages.devices import torch_missing
from domino_onnx.stages.finetuning.notes import (
    warn_of_divergence,
    warn_of_few_samples,
    warn_of_frozen,
    warn_of_integers,
)
from domino_onnx.stages.finetuning.processes import tell_others
from domino_onnx.stages.finetuning.stopping import stopping
from domino_onnx.stages.laboratory import ONLY_INTEGERS, Laboratory, why_no_samples
from domino_onnx.stages.solving import Solved

if TYPE_CHECKING:
    from domino_onnx.data import Split
    from domino_onnx.finetuning import Distillation, Finetuned, FinetuneStep, WeightGroups

__all__ = ["assist", "finetune", "finetune_if_possible"]


_STOPS = (DependencyError, DeviceMemoryError, ModelError, FinetuneError)
"""What stops a way of finetuning."""


def finetune_if_possible(lab: Laboratory, found: Found) -> Finetuned | None:
    """Finetune as the options ask for and the model allows. A warning says what is left out, and why."""
    if not found.solved.weights:
        tell_others(None, lab.options.run.device)
        return None
    try:
        return finetune(lab, found)
    except _STOPS as error:
        lab.journal.warn("finetuning is skipped", error)
        return None


def finetune(lab: Laboratory, found: Found) -> Finetuned:
    """Finetune as the options ask for: in blocks where that can't be done as a whole, with a warning that says why.

    Raises
    ------
    FinetuneError
        Without data, if no gradient moves the weights, or if training fails.
    DependencyError
        Without torch.
    ModelError
        If torch doesn't reproduce the model, nor any block of it.
    """
    refusal = _refusal(lab, found)
    if refusal is not None:
        tell_others(None, lab.options.run.device)
        raise FinetuneError(refusal)
    lab.release_network()
    if not _goes_as_a_whole(lab):
        tell_others(None, lab.options.run.device)
        return _in_blocks(lab, found)
    done = _in_blocks_if_possible(lab, found) if _goes_by_blocks(lab) else None
    try:
        student = lab.student()
    except _STOPS as error:
        tell_others(None, lab.options.run.device)
        return _without_the_whole(lab, found, done, error)
    try:
        return _told_and_trained(lab, student, _after(found, done), _settings(lab, done))
    except _STOPS as error:
        if done is None:
            raise
        lab.journal.warn("no finetuning as a whole", error)
        return done


def assist(lab: Laboratory) -> None:
    """Take a share of the finetuning that the first process is going to do. Nothing is written here."""
    job = tell_others(None, lab.options.run.device)
    if job is not None:
        text, weights, biases, settings = job
        plan, solved = lab.aim.suited(Plan.from_json(text)), Solved(weights=weights, biases=biases)
        _train(lab, lab.student(), plan, solved, settings)


def _refusal(lab: Laboratory, found: Found) -> str | None:
    """What stops all finetuning."""
    if lab.source.split is None:
        return f"it {why_no_samples(lab.options)}"
    if found.solved.weights.keys().isdisjoint(lab.trainable):
        return ONLY_INTEGERS
    return None


def _goes_by_blocks(lab: Laboratory) -> bool:
    return lab.options.finetune.scope != "model" or bool(_missing_operators(lab))


def _goes_as_a_whole(lab: Laboratory) -> bool:
    return lab.options.finetune.scope != "blocks" and not _missing_operators(lab)


def _missing_operators(lab: Laboratory) -> tuple[str, ...]:
    """What stops training the model as a whole. Nothing where there is no torch to ask."""
    try:
        from domino_onnx.bridge import missing_operators
    except ImportError:
        return ()
    return missing_operators(lab.source.file.proto)


def _after(found: Found, done: Finetuned | None) -> Found:
    """With the values that an earlier finetuning came to."""
    if done is None:
        return found
    solved = found.solved
    weights = {key: done.values[key] for key in solved.weights}
    biases = {key: done.values[key] for key in solved.biases}
    return dataclasses.replace(found, solved=dataclasses.replace(solved, weights=weights, biases=biases))


def _settings(lab: Laboratory, done: Finetuned | None) -> FinetuneOptions:
    """How the whole model is trained: where blocks were before it, for as many steps as each of them."""
    settings = lab.options.finetune
    return settings if done is None or settings.steps is not None else done.repeated(settings)


def _settings_of_blocks(lab: Laboratory) -> FinetuneOptions:
    """How blocks are trained: where the whole model is behind them, for half of the time."""
    settings = lab.options.finetune
    if settings.scope != "both" or settings.steps is not None:
        return settings
    return dataclasses.replace(settings, time=(settings.time or DEFAULT_TIME).shared(2))


def _without_the_whole(lab: Laboratory, found: Found, done: Finetuned | None, error: DominoError) -> Finetuned:
    """What blocks come to where `error` stopped the whole; raise it if it stops them too, or they were tried before."""
    if done is None and (_goes_by_blocks(lab) or isinstance(error, DependencyError)):
        raise error
    lab.journal.warn("no finetuning as a whole", error)
    return done or _in_blocks(lab, found)


def _in_blocks_if_possible(lab: Laboratory, found: Found) -> Finetuned | None:
    try:
        return _in_blocks(lab, found)
    except _STOPS as error:
        lab.journal.warn("finetuning in blocks is skipped", error)
        return None


def _in_blocks(lab: Laboratory, found: Found) -> Finetuned:
    """Finetune what can be, block by block, and say what can't.

    Raises
    ------
    DependencyError
        Without torch.
    FinetuneError, ModelError
        If no block can be trained.
    """
    try:
        from domino_onnx.finetuning import finetune_blocks
    except ImportError as error:
        raise torch_missing(error) from None
    run, solved, journal = lab.options.run, found.solved, lab.journal
    warn_of_few_samples(journal, _split(lab))
    with journal.stage("finetune"), _stopping(lab) as stopped:
        finetuned = finetune_blocks(
            lab.source.file if lab.dense == lab.source.path else read_model(lab.dense),
            _split(lab),
            solved.weights,
            _settings_of_blocks(lab),
            run,
            biases=solved.biases,
            groups=_groups(lab, found.planned.plan, solved),
            progress=lambda step, _: journal.progress(0, 0, f"loss {step.loss:.4f}"),
            checkpoints=lambda block: _file(lab, f"block-{block}"),
            stopped=stopped,
            room=lab.room,
        )
    warn_of_frozen(lab.journal, _missing_operators(lab), len(solved.weights), finetuned)
    warn_of_divergence(lab.journal, finetuned)
    return finetuned


def _told_and_trained(lab: Laboratory, student: Distillation, found: Found, settings: FinetuneOptions) -> Finetuned:
    """Train the whole model. Other processes that torch's launcher started take their share."""
    plan, solved = found.planned.plan, found.solved
    tell_others((plan.to_json(), dict(solved.weights), dict(solved.biases), settings), lab.options.run.device)
    return _train(lab, student, plan, solved, settings)


def _train(
    lab: Laboratory,
    student: Distillation,
    plan: Plan,
    solved: Solved,
    settings: FinetuneOptions,
) -> Finetuned:
    from domino_onnx.finetuning import Processes, finetune, torch_device

    warn_of_few_samples(lab.journal, _split(lab))
    with lab.journal.stage("finetune"), _stopping(lab) as stopped:
        finetuned = finetune(
            student,
            solved.weights,
            settings,
            lab.options.run,
            biases=solved.biases,
            groups=_groups(lab, plan, solved),
            progress=lambda step, planned: _tell(lab, step, planned),
            checkpoint=_file(lab, "finetuning"),
            stopped=stopped,
            processes=Processes.current(torch_device(lab.options.run.device)),
        )
    warn_of_integers(lab.journal, finetuned)
    warn_of_divergence(lab.journal, finetuned)
    return finetuned


def _tell(lab: Laboratory, step: FinetuneStep, planned: int) -> None:
    held_out = "" if step.held_out is None else f", held-out {step.held_out:.4f}"
    lab.journal.progress(step.step, planned or 1, f"loss {step.loss:.4f}{held_out}")


def _split(lab: Laboratory) -> Split:
    if lab.source.split is None:
        raise FinetuneError(f"finetuning {why_no_samples(lab.options)}")
    return lab.source.split


def _stopping(lab: Laboratory) -> AbstractContextManager[Callable[[], bool]]:
    return stopping(lab.journal.tell, lambda: lab.checkpoint.is_ripe)


def _file(lab: Laboratory, name: str) -> TrainingState:
    return lab.checkpoint.file(name, lab.options.run.checkpoint_every)


def _groups(lab: Laboratory, plan: Plan, solved: Solved) -> dict[WeightKey, WeightGroups]:
    from domino_onnx.finetuning import WeightGroups

    layouts = {site.key: site.layout for site in lab.aim.inventory.sites}
    return {key: WeightGroups(layout=layouts[key], scheme=plan.schemes[key]) for key in solved.weights}
