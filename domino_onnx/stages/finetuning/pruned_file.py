"""A file that domino-onnx pruned before: its manifest as a plan, its weights as what was found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from domino_onnx.errors import ModelError, PlanError
from domino_onnx.graph import read_model
from domino_onnx.options import CompressOptions
from domino_onnx.scheme import FrozenMapping, Manifest, Plan
from domino_onnx.stages.checkpoints.checkpoint import Checkpoint
from domino_onnx.stages.choosing import Found
from domino_onnx.stages.finetuning.finetune import finetune
from domino_onnx.stages.finetuning.gate import passed
from domino_onnx.stages.journal import Journal
from domino_onnx.stages.laboratory import Laboratory, open_laboratory
from domino_onnx.stages.planning import Planned
from domino_onnx.stages.reading.purpose import manifest_to_finetune
from domino_onnx.stages.reading.source import Source
from domino_onnx.stages.resuming import claim_checkpoint
from domino_onnx.stages.solving import Solved

if TYPE_CHECKING:
    from domino_onnx.finetuning import Finetuned

__all__ = ["finetune_file", "found_in_file", "open_pruned"]


def open_pruned(
    source: Source, options: CompressOptions, journal: Journal, teacher: Path, checkpoint: Checkpoint | None = None
) -> Laboratory:
    """A laboratory that aims at the plan that the file's manifest tells of.

    Raises
    ------
    PlanError
        If the file has no manifest that can be finetuned, or its manifest doesn't fit it.
    """
    return open_laboratory(source, options, journal, _plan_of(manifest_to_finetune(source.file)), teacher, checkpoint)


def found_in_file(lab: Laboratory) -> Found:
    """The pruned weights as the file has them.

    Raises
    ------
    PlanError
        If the manifest doesn't fit the file, or prunes nothing.
    CheckpointError
        If the checkpoint is of another run.
    """
    manifest = manifest_to_finetune(lab.source.file)
    found = _found(lab, manifest)
    claim_checkpoint(lab, "finetune", teacher_sha256=_teacher_sha256(lab, manifest))
    return found


def finetune_file(lab: Laboratory, found: Found) -> Finetuned | None:
    """What finetuning makes of the weights that were found in the file; undone if that isn't better.

    Raises
    ------
    FinetuneError, DependencyError, ModelError
        As `finetune`.
    """
    try:
        return passed(lab, found, finetune(lab, found))
    except ModelError as error:
        raise _advised(error, lab.source, manifest_to_finetune(lab.source.file)) from None


def _plan_of(manifest: Manifest) -> Plan:
    """The plan that a manifest tells of."""
    return Plan(
        source_sha256=manifest.source_sha256,
        strategy=manifest.strategy,
        schemes=FrozenMapping((entry.key, entry.scheme) for entry in manifest.entries),
        budgets=manifest.budgets,
        target=manifest.target,
        seed=manifest.seed,
    )


def _found(lab: Laboratory, manifest: Manifest) -> Found:
    """The pruned weights as the file has them."""
    plan = lab.aim.plan or _plan_of(manifest)
    plan.check_fits(lab.aim.inventory, manifest.source_sha256)
    if all(scheme.is_dense for scheme in plan.schemes.values()):
        raise PlanError(f"{lab.source.path} has no pruned weight, so there is nothing to finetune")
    load = lab.source.load
    weights = {key: load(key) for key, scheme in plan.schemes.items() if not scheme.is_dense}
    biases = {key: load(key) for key in manifest.also_changed}
    return Found(planned=Planned(plan=plan), solved=Solved(weights=weights, biases=biases, solver="file"))


def _teacher_sha256(lab: Laboratory, manifest: Manifest) -> str:
    """The teacher's hash; a warning if the file was made from another one."""
    teacher = read_model(lab.dense)
    if manifest.source_sha256 and not teacher.fingerprint.is_named(manifest.source_sha256):
        lab.journal.warn(
            f"{lab.source.path} was made from another model than the teacher {lab.dense}, whose answers it learns now"
        )
    return teacher.sha256


def _advised(error: ModelError, source: Source, manifest: Manifest) -> ModelError:
    """The same error; with a way out if the file is in half precision."""
    if manifest.precision == "keep":
        return error
    remedy = f"Finetune the file that it was made from, with --precision {manifest.precision}, or compress again"
    return ModelError(f"{error}. {source.path} is in half precision. {remedy}")
