"""The last stages: the file is written, compared with the dense one, and everything is put together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from domino_onnx._version import __version__
from domino_onnx.errors import DominoError
from domino_onnx.graph import WeightForm, Written, write_model
from domino_onnx.report.results import CompressResult, Trial, WeightRecord
from domino_onnx.scheme import (
    Budget,
    Inventory,
    Manifest,
    ManifestEntry,
    NMScheme,
    Plan,
    Site,
    WeightKey,
    mask_sha256,
)
from domino_onnx.stages.context import Run, peak_rss_bytes
from domino_onnx.stages.lowering import lowered
from domino_onnx.stages.planning import Planned
from domino_onnx.stages.solving import Overlaid, Solved
from domino_onnx.storage import Form
from domino_onnx.targets import Toll

if TYPE_CHECKING:
    from domino_onnx.evaluate import Evaluation
    from domino_onnx.finetuning import Recovery

__all__ = ["finish", "why_dense"]


def finish(
    run: Run,
    output: Path,
    planned: Planned,
    solved: Solved,
    recovery: Recovery | None = None,
    reference: Path | None = None,
    trials: tuple[Trial, ...] = (),
) -> CompressResult:
    """Write what recovery gave, or else what was solved; compare with `reference` (the model itself); and sum up.

    `trials` are what was tried to find the plan.

    Raises
    ------
    OutputError
        If the file can't be written.
    """
    values = dict(recovery.values) if recovery is not None else None
    weights = solved.weights if values is None else {key: values[key] for key in solved.weights}
    biases = solved.biases if values is None else {key: values[key] for key in solved.biases}
    toll = Toll() if run.target == "generic" else None
    records, zeros, written = _write(run, output, planned.plan, weights, biases, solved, toll)
    fitted = run.data is not None and run.eval_data is None and solved.solver != "magnitude"
    parity = _compare(run, reference or run.model, output)
    site_zeros, site_params = sum(r.zeros for r in records), sum(r.params for r in records)
    return CompressResult(
        model=run.model,
        output=output,
        plan=planned.plan,
        inventory=run.inventory,
        weights=records,
        sparsity=zeros / run.inventory.params if run.inventory.params else 0.0,
        sparsity_sites=site_zeros / site_params if site_params else 0.0,
        flops_reduction=_flops_reduction(run.inventory, planned.plan),
        solver=solved.solver,
        divergence=solved.divergence,
        prediction=planned.prediction,
        decisions=planned.decisions,
        recovery=recovery,
        parity=parity,
        fitted=fitted,
        toll=toll,
        seconds=dict(run.seconds),
        peaks=dict(run.peaks),
        warnings=tuple(run.warnings),
        peak_rss_bytes=peak_rss_bytes(),
        form=run.options.form,
        nbytes=written.nbytes,
        max_drop=run.options.max_drop,
        trials=trials,
    )


def _write(
    run: Run,
    output: Path,
    plan: Plan,
    weights: Mapping[WeightKey, NDArray[np.generic]],
    biases: Mapping[WeightKey, NDArray[np.generic]],
    solved: Solved,
    toll: Toll | None,
) -> tuple[tuple[WeightRecord, ...], int, Written]:
    """Write the model with these values and their manifest, and add up the toll.

    What each site got, the zeros among all weights that count, and the files: zeros as they are written, which are more
    than were pruned where weights became integers.
    """
    zeros = {weight.key: weight.zeros for weight in run.inventory.counted}
    entries: list[ManifestEntry] = []
    with run.stage("write"):
        for site in run.inventory.sites:
            values = weights.get(site.key)
            if values is not None:
                entries.append(_entry(site, plan.schemes[site.key], values))
                zeros[site.key] = entries[-1].zeros
                if toll is not None:
                    toll.add(site, values)
        manifest = Manifest(
            tool=f"domino-onnx {__version__}",
            source_sha256=plan.source_sha256 or run.file.sha256,
            strategy=plan.strategy,
            budgets=plan.budgets,
            target=run.target,
            seed=plan.seed,
            entries=tuple(entries),
            also_changed=_also_changed(weights, biases),
        )
        form, force = run.options.form, run.options.force
        made = lowered(run, Overlaid(weights, biases), manifest)
        written = write_model(made.file, made.values, made.manifest, output, form=form, force=force)
        if form != "dense" and all(weight.kind == "dense" for weight in written.weight_forms):
            run.warn(why_dense(form, written.weight_forms))
    zeros = {key: made.zeros.get(key, count) for key, count in zeros.items()}
    records = tuple(
        _record(site, plan.schemes.get(site.key, site.schemes[0]), zeros[site.key], solved.errors.get(site.key))
        for site in run.inventory.sites
    )
    return records, sum(zeros.values()), written


def why_dense(form: Form, weights: Sequence[WeightForm]) -> str:
    """What to tell a user who asked for another form and gets a file in which all weights are dense."""
    reasons = Counter(weight.reason for weight in weights).most_common(1)
    why = f"{reasons[0][1]} of {len(weights)}: {reasons[0][0]}" if reasons else "there is none of a fitting type"
    return f"--format {form}: every weight stays dense; {why}"


def _also_changed(
    weights: Mapping[WeightKey, NDArray[np.generic]], biases: Mapping[WeightKey, NDArray[np.generic]]
) -> tuple[WeightKey, ...]:
    """Biases that were refitted, in order of names."""
    return tuple(sorted(biases.keys() - set(weights), key=str))


def _compare(run: Run, reference: Path, output: Path) -> Evaluation | None:
    """Compare the written file with the dense one; a warning if ONNX Runtime can't run them."""
    from domino_onnx.data import input_specs
    from domino_onnx.evaluate import evaluate_models

    options = run.options
    with run.stage("evaluate"):
        try:
            specs = input_specs(run.file.proto)
            data = run.close()  # the written model is on disk: its copies in memory make room for ONNX Runtime's
            return evaluate_models(
                reference,
                output,
                data,
                specs=specs,
                shapes=run.shapes,
                device=options.device,
                threads=options.threads,
                batch_size=options.batch_size,
                seed=options.seed,
            )
        except DominoError as error:
            run.warn(f"the written file was not compared with the dense one: {error}")
    return None


def _record(site: Site, scheme: NMScheme, zeros: int, error: float | None) -> WeightRecord:
    return WeightRecord(
        name=site.name,
        weight=site.key.name,
        scope=site.key.scope,
        op=site.op,
        shape=site.layout.shape,
        scheme=scheme,
        params=site.params,
        zeros=zeros,
        macs=site.macs,
        error=error,
    )


def _entry(site: Site, scheme: NMScheme, values: NDArray[np.generic]) -> ManifestEntry:
    kept = values != 0
    zeros = kept.size - int(np.count_nonzero(kept))
    return ManifestEntry(key=site.key, layout=site.layout, scheme=scheme, zeros=zeros, mask_sha256=mask_sha256(kept))


def _flops_reduction(inventory: Inventory, plan: Plan) -> float | None:
    if not inventory.macs:
        return None
    return Budget(measure="flops", reduction=0.0).achieved(inventory, plan.schemes)
