"""The stage that writes the file with its manifest."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from domino_onnx._version import __version__
from domino_onnx.graph import quantisers, write_model
from domino_onnx.options import CompressOptions
from domino_onnx.precision import converted
from domino_onnx.report.results import WeightRecord
from domino_onnx.scheme import (
    Inventory,
    Manifest,
    ManifestEntry,
    Plan,
    Site,
    WeightArrays,
    WeightKey,
)
from domino_onnx.stages.choosing import Found
from domino_onnx.stages.laboratory import Laboratory
from domino_onnx.stages.reading.read import Output, conversion
from domino_onnx.stages.solving import overlaid
from domino_onnx.stages.writing.audit import Audit
from domino_onnx.stages.writing.comparing import Judge, judge_of
from domino_onnx.stages.writing.form_notes import dense_notes, ir_notes
from domino_onnx.targets import TwoFourCost

if TYPE_CHECKING:
    from domino_onnx.finetuning import Finetuned
    from domino_onnx.search import LossTable

__all__ = ["Made", "write"]

_MOST_TO_RUN = 1 << 31
"""Bytes of a model that is run on random inputs; larger ones may not fit into memory."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A file that was written, and how it came to be. It holds nothing of the model itself.

    Attributes
    ----------
    records
        What each site got.
    zeros
        Of each weight that counts, as they are written.
    two_four
        What TensorRT's rule would cost, where the target is another.
    drawn
        What each input was taken to be where samples were drawn.
    is_sampled
        Whether random groups are looked at instead of running the model: nothing but random inputs would judge it, and
        it is too large to be run without need.
    """

    model: Path
    dense: Path
    output: Path
    found: Found
    inventory: Inventory
    records: tuple[WeightRecord, ...]
    zeros: Mapping[WeightKey, int]
    nbytes: int
    finetuned: Finetuned | None
    two_four: TwoFourCost | None
    judge: Judge
    drawn: tuple[str, ...]
    options: CompressOptions
    losses: LossTable | None
    is_sampled: bool


def write(lab: Laboratory, found: Found, output: Output, finetuned: Finetuned | None = None) -> Made:
    """Write what finetuning gave, or else what was solved.

    Raises
    ------
    OutputError
        If the file can't be written.
    ModelError
        If it can't be converted as the options ask for.
    """
    weights, biases = _values(found, finetuned)
    inventory, plan, form = lab.aim.inventory, found.planned.plan, lab.options.output.format
    audit = Audit(
        overlaid(weights, biases),
        inventory.sites,
        plan.schemes,
        scales=quantisers(lab.source.file, {site.key for site in inventory.sites}),
        fours=lab.aim.target == "generic",
    )

    def manifest() -> Manifest:
        return _manifest(lab, plan, audit.entries, set(biases) - set(weights))

    wanted = conversion(lab.options)
    ir_version, holder = lab.source.file.proto.ir_version, lab.source.file
    size = sum(path.stat().st_size for path in (lab.source.path, *lab.source.file.data_files))
    with lab.journal.stage("write"):
        if wanted.is_needed:
            made = converted(lab.source.file, audit, manifest(), wanted)
            holder = made.file
            written = write_model(
                made.file, made.values, made.manifest, output.path, form=form, replacing=output.replacing
            )
            zeros_made, notes = made.zeros, made.notes
        else:
            written = write_model(lab.source.file, audit, manifest, output.path, form=form, replacing=output.replacing)
            zeros_made, notes = {}, ()
    entries = audit.entries
    judge = judge_of(lab, refitted=found.solved.learned, finetuned=finetuned is not None)
    for note in (*notes, *dense_notes(form, written.weight_forms), *ir_notes(ir_version, holder)):
        lab.journal.warn(note)
    read = {weight.key: weight.zeros for weight in inventory.counted}
    zeros = {**read, **{entry.key: entry.zeros for entry in entries}, **zeros_made}
    return Made(
        model=lab.source.path,
        dense=lab.dense,
        output=output.path,
        found=_without_arrays(found),
        inventory=inventory,
        records=tuple(_record(site, found, zeros[site.key]) for site in inventory.sites),
        zeros=zeros,
        nbytes=written.nbytes,
        finetuned=finetuned,
        two_four=audit.two_four,
        judge=judge,
        drawn=lab.source.drawn,
        options=_that_repeat(lab.options, finetuned),
        losses=lab.known_losses(),
        is_sampled=judge.data is None and not found.solved.learned and not wanted.is_needed and size > _MOST_TO_RUN,
    )


def _values(found: Found, finetuned: Finetuned | None) -> tuple[WeightArrays, WeightArrays]:
    solved = found.solved
    if finetuned is None:
        return solved.weights, solved.biases
    values = finetuned.values
    return {key: values[key] for key in solved.weights}, {key: values[key] for key in solved.biases}


def _that_repeat(options: CompressOptions, finetuned: Finetuned | None) -> CompressOptions:
    """The options that lead to the same file again, also where time decided how many steps there were."""
    if finetuned is None:
        return options
    return dataclasses.replace(options, finetune=finetuned.repeated(options.finetune))


def _without_arrays(found: Found) -> Found:
    """What a report tells of. The weights lead to the model, which must not stay in memory."""
    return dataclasses.replace(found, solved=dataclasses.replace(found.solved, weights={}, biases={}))


def _manifest(lab: Laboratory, plan: Plan, entries: tuple[ManifestEntry, ...], changed: set[WeightKey]) -> Manifest:
    return Manifest(
        tool=f"domino-onnx {__version__}",
        source_sha256=plan.source_sha256 or lab.source.file.sha256,
        strategy=plan.strategy,
        budgets=plan.budgets,
        target=lab.aim.target,
        seed=plan.seed,
        entries=entries,
        also_changed=tuple(sorted(changed, key=str)),
    )


def _record(site: Site, found: Found, zeros: int) -> WeightRecord:
    return WeightRecord(
        name=site.name,
        weight=site.key.name,
        scope=site.key.scope,
        op=site.op,
        shape=site.layout.shape,
        scheme=found.planned.plan.schemes.get(site.key, site.schemes[0]),
        params=site.params,
        zeros=zeros,
        macs=site.macs,
        error=found.solved.errors.get(site.key),
    )
