"""One pass over a model: what is wanted (`CompressOptions`), the stages, and what they took."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from domino_onnx._version import __version__
from domino_onnx.errors import DependencyError, DominoError, ModelError, PlanError, RecoveryError
from domino_onnx.graph import (
    Selection,
    ShapeTable,
    infer_shapes,
    read_model,
    stored_tensors,
    take_inventory,
    write_model,
)
from domino_onnx.report.results import CompressResult, WeightRecord
from domino_onnx.scheme import (
    Budget,
    Inventory,
    Manifest,
    ManifestEntry,
    NMScheme,
    Plan,
    SchemePool,
    WeightKey,
    WeightLayout,
    mask_sha256,
)
from domino_onnx.search import Decision, DominoOptions, GradientSource, search_domino, search_erk, search_uniform
from domino_onnx.solve import PrunedWeights

if TYPE_CHECKING:
    from domino_onnx.calibration import Dataset, Device
    from domino_onnx.evaluate import Evaluation
    from domino_onnx.recovery import Distillation, Recovery

__all__ = ["CompressOptions", "Observer", "Run", "Strategy"]

_log = logging.getLogger(__name__)
Strategy = Literal["uniform", "erk", "domino"]
_Weights = Mapping[WeightKey, NDArray[np.generic]]


class Observer(Protocol):
    """Who wants to hear of progress; `compress` and its sisters are silent without one."""

    def stage(self, name: str) -> None:
        """A stage begins."""

    def progress(self, done: float, total: float, text: str) -> None:
        """How far the stage is."""

    def warn(self, message: str) -> None:
        """Something the user should know, that doesn't stop the work."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CompressOptions:
    """What to do with a model; the command line's options, one by one.

    Attributes
    ----------
    budget
        What the model must come down to. None with a `plan` or a `scheme`.
    pool
        The schemes that sites may get.
    scheme
        One for all sites, and the whole pool: `budget`, `strategy` and `pool` don't count then.
    search_with_data
        Whether `domino` uses gradients where there are data.
    recover
        Finetune after pruning, where there are data and torch.
    """

    budget: Budget | None = None
    strategy: Strategy = "domino"
    pool: SchemePool = dataclasses.field(default_factory=SchemePool.fixed_m)
    scheme: NMScheme | None = None
    domino: DominoOptions = dataclasses.field(default_factory=DominoOptions)
    selection: Selection = dataclasses.field(default_factory=Selection)
    input_shapes: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    data: Path | None = None
    eval_data: Path | None = None
    search_with_data: bool = True
    plan: Path | None = None
    recover: bool = True
    recover_steps: int = 500
    recover_lr: float | None = None
    batch_size: int = 32
    device: Device = "auto"
    threads: int = 0
    seed: int = 0
    force: bool = False

    def __post_init__(self) -> None:
        if self.scheme is not None:
            object.__setattr__(self, "pool", SchemePool.single(self.scheme))


class Run:
    """One pass over a model: the stages, what they took, and what there is to warn of."""

    def __init__(self, model: Path, options: CompressOptions, observer: Observer | None) -> None:
        self._model = model
        self._options = options
        self._observer = observer
        self._distillation: Distillation | None = None
        self._eval_data: Dataset | None = None
        self.data: Dataset | None = None
        self.decisions: tuple[Decision, ...] = ()
        self.seconds: dict[str, float] = {}
        self.warnings: list[str] = []

    def read(self) -> None:
        """Read the model and the data, and take the inventory."""
        with self._stage("read"):
            self.file = read_model(self._model)
            if self._options.device == "cuda":
                self._require_cuda()
            shapes = dict(self._options.input_shapes)
            if self._options.data is not None:
                self.data = self._load_data(self._options.data)
                shapes = {**self.data.shapes(), **shapes}
            if self._options.eval_data is not None:
                self._eval_data = self._load_data(self._options.eval_data)
            table = self._observed(infer_shapes(self.file.proto, shapes))
            self._shapes = shapes
            self._table = table
            self.inventory = take_inventory(self.file, self._options.pool, table, self._options.selection)
            self._tensors = stored_tensors(self.file.proto)
            for note in self.inventory.notes:
                self._warn(note)

    def _require_cuda(self) -> None:
        from domino_onnx.calibration import require_cuda

        require_cuda()

    def _observed(self, table: ShapeTable) -> ShapeTable:
        """Shapes that only a run on the data can tell; what inference found, where it can't be run."""
        if self.data is None:
            return table
        from domino_onnx.calibration import observe_shapes

        try:
            return observe_shapes(self.file, table, self.data.take(np.arange(self.data.batch_size(1))))
        except (DependencyError, ModelError) as error:
            _log.info("shapes stay as inference found them: %s", error)
            return table

    def load(self, key: WeightKey) -> NDArray[np.generic]:
        """A weight as the file has it."""
        return self.file.array(self._tensors[key])

    def search(self) -> Plan:
        """The plan that the options ask for: read from a file, or found by a strategy."""
        options = self._options
        if options.plan is not None:
            plan = Plan.load(options.plan)
            return self.fitted(plan)
        if options.scheme is not None:
            everywhere = {site.key: site.schemes[-1] for site in self.inventory.sites}
            if not everywhere:
                raise PlanError(f"no weight of the model can have {options.scheme}; domino-onnx inspect says why")
            return Plan(source_sha256=self.file.sha256, strategy="uniform", schemes=everywhere, seed=options.seed)
        if options.budget is None:
            raise PlanError(
                "nothing says how sparse the model shall be: give --sparsity, --flops-reduction, --scheme or --plan"
            )
        with self._stage("search"):
            schemes = self._schemes(options.budget)
        return Plan(
            source_sha256=self.file.sha256,
            strategy=options.strategy,
            schemes=schemes,
            budget=options.budget,
            seed=options.seed,
        )

    def admit(self, schemes: Mapping[WeightKey, NMScheme]) -> None:
        """Make sites of the weights that only a scheme outside the pool fits: 3:6 on an axis of 18."""
        if any(self.inventory.site(key) is None for key in schemes):
            pool = self._options.pool.including(schemes.values())
            self.inventory = take_inventory(self.file, pool, self._table, self._options.selection)

    def fitted(self, plan: Plan) -> Plan:
        """A plan that was given, checked against the model; without its budget where an edit has left that behind."""
        self.admit(plan.schemes)
        plan.check_fits(self.inventory, self.file.sha256)
        budget = plan.budget
        if budget is None or budget.kept(self.inventory, plan.schemes) <= budget.limit(self.inventory):
            return plan
        achieved = budget.achieved(self.inventory, plan.schemes)
        self._warn(
            f"the plan reduces {budget.measure} by {achieved:.4g}, not by the {budget.reduction:g} that it names"
        )
        return dataclasses.replace(plan, budget=None)

    def _schemes(self, budget: Budget) -> Mapping[WeightKey, NMScheme]:
        options = self._options
        if options.strategy == "uniform":
            return search_uniform(self.inventory, budget)
        if options.strategy == "erk":
            return search_erk(self.inventory, budget)
        result = search_domino(
            self.inventory,
            budget,
            self.load,
            options.domino,
            gradients=self._gradients() if options.search_with_data and self.inventory.sites else None,
            progress=lambda achieved: self._progress(achieved, budget.reduction, f"{achieved:.1%} of {budget.measure}"),
        )
        self.decisions = result.decisions
        return result.schemes

    def _gradients(self) -> GradientSource | None:
        """Gradients for `domino` where there are data and the model has a torch counterpart, else None."""
        distillation = self._distill(self._model, "the search runs without gradients")
        if distillation is None:
            return None
        from domino_onnx.recovery import DistillationGradients

        keys = [site.key for site in self.inventory.sites]
        return DistillationGradients(distillation, keys, batch_size=self._options.batch_size, seed=self._options.seed)

    def pruned(self, plan: Plan) -> PrunedWeights:
        """The weights of the plan's sites, masked by magnitude."""
        layouts = {site.key: site.layout for site in self.inventory.sites}
        return PrunedWeights(plan.schemes, layouts, self.load)

    def recover(self, weights: _Weights) -> Recovery | None:
        """Finetune if that is possible; a warning that says why, if not."""
        if not weights:
            return None
        if self._distill(self._model, "recovery is skipped") is None:
            return None
        try:
            return self.finetune(weights, self._model)
        except (ModelError, RecoveryError) as error:
            self._warn(f"recovery is skipped: {error}")
            return None

    def finetune(self, weights: _Weights, teacher: Path) -> Recovery:
        """Finetune `weights`; errors are the caller's."""
        from domino_onnx.recovery import RecoveryOptions, RecoveryStep, finetune

        options = self._options
        steps = options.recover_steps

        def tell(step: RecoveryStep) -> None:
            held_out = "" if step.held_out is None else f", held-out {step.held_out:.4f}"
            self._progress(step.step, steps, f"loss {step.loss:.4f}{held_out}")

        with self._stage("recover"):
            distillation = self._distillation = self._distillation or self._open(teacher)
            if np.array_equal(np.sort(distillation.train), np.sort(distillation.held_out)):
                self._warn("too few samples to hold any out: recovery is judged by the samples that it learns from")
            settings = RecoveryOptions(
                steps=steps, batch_size=options.batch_size, lr=options.recover_lr, seed=options.seed
            )
            recovery = finetune(distillation, weights, settings, tell)
        if recovery.diverged:
            self._warn(f"finetuning diverged; the best state before that, of step {recovery.best_step}, is used")
        return recovery

    def _distill(self, teacher: Path, consequence: str) -> Distillation | None:
        """The student and its teacher, once for all stages; None with a warning where that can't be."""
        if self._distillation is not None:
            return self._distillation
        if self.data is None:
            self._warn(f"no --data: {consequence}")
            return None
        with self._stage("bridge"):
            try:
                self._distillation = self._open(teacher)
            except (DependencyError, ModelError, RecoveryError) as error:
                self._warn(f"{consequence}: {error}")
        return self._distillation

    def _open(self, teacher: Path) -> Distillation:
        if self.data is None:
            raise RecoveryError("finetuning needs data: give --data")
        try:
            from domino_onnx.recovery import open_distillation
        except ImportError as error:
            raise DependencyError(f"torch is missing ({error}): pip install 'domino-onnx[recover]'") from None
        options = self._options
        return open_distillation(
            self.file, teacher, self.data, device=options.device, threads=options.threads, seed=options.seed
        )

    def write(self, output: Path, plan: Plan, weights: _Weights) -> tuple[WeightRecord, ...]:
        """Write the model with these weights and their manifest; what each site got."""
        sites = {site.key: site for site in self.inventory.sites}
        records: list[WeightRecord] = []
        entries: list[ManifestEntry] = []
        with self._stage("write"):
            for site in sites.values():
                scheme = plan.schemes.get(site.key, site.schemes[0])
                values = weights.get(site.key)
                zeros = site.zeros if values is None else values.size - int(np.count_nonzero(values))
                if values is not None:
                    entries.append(_entry(site.key, site.layout, scheme, values))
                records.append(
                    WeightRecord(
                        name=site.name,
                        weight=site.key.name,
                        scope=site.key.scope,
                        op=site.op,
                        shape=site.layout.shape,
                        scheme=scheme,
                        params=site.params,
                        zeros=zeros,
                        macs=site.macs,
                    )
                )
            manifest = Manifest(
                tool=f"domino-onnx {__version__}",
                source_sha256=plan.source_sha256 or self.file.sha256,
                strategy=plan.strategy,
                budget=plan.budget,
                target="generic",
                seed=plan.seed,
                entries=tuple(entries),
            )
            write_model(self.file, weights, manifest, output, force=self._options.force)
        return tuple(records)

    def evaluate(self, output: Path, reference: Path | None = None) -> Evaluation | None:
        """Compare the written file with the dense one; a warning if ONNX Runtime can't run them."""
        # The written model is on disk: its copy in memory and the student's make room for ONNX Runtime's.
        held_out = None if self._distillation is None else self._distillation.held_out
        self._distillation = None
        with self._stage("evaluate"):
            try:
                return self._evaluate(reference or self._model, output, held_out)
            except (DependencyError, ModelError) as error:
                self._warn(f"the written file was not compared with the dense one: {error}")
            except DominoError as error:
                self._warn(f"the written file was not run: {error}")
        return None

    def _evaluate(self, reference: Path, output: Path, held_out: NDArray[np.int64] | None) -> Evaluation:
        from domino_onnx.calibration import input_specs
        from domino_onnx.evaluate import evaluate_models

        options = self._options
        specs = input_specs(self.file.proto)
        data = self._eval_data
        if data is None:
            data = self.data if self.data is None or held_out is None else self.data.subset(held_out)
        self._tensors = {}
        del self.file
        return evaluate_models(
            reference,
            output,
            data,
            specs=specs,
            shapes=self._shapes,
            device=options.device,
            threads=options.threads,
            batch_size=options.batch_size,
            seed=options.seed,
        )

    def result(
        self,
        output: Path,
        plan: Plan,
        records: tuple[WeightRecord, ...],
        recovery: Recovery | None,
        parity: Evaluation | None,
    ) -> CompressResult:
        """Everything about this run in one value."""
        skipped = [skip for skip in self.inventory.skips if skip.counted]
        site_zeros, site_params = sum(r.zeros for r in records), sum(r.params for r in records)
        zeros = site_zeros + sum(skip.zeros for skip in skipped)
        return CompressResult(
            model=self._model,
            output=output,
            plan=plan,
            inventory=self.inventory,
            weights=records,
            sparsity=zeros / self.inventory.params if self.inventory.params else 0.0,
            sparsity_sites=site_zeros / site_params if site_params else 0.0,
            flops_reduction=_flops_reduction(self.inventory, plan),
            decisions=self.decisions,
            recovery=recovery,
            parity=parity,
            seconds=dict(self.seconds),
            warnings=tuple(self.warnings),
            peak_rss_bytes=peak_rss_bytes(),
        )

    def _load_data(self, path: Path) -> Dataset:
        from domino_onnx.calibration import load_data

        return load_data(path, self.file.proto)

    @contextlib.contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        if self._observer is not None:
            self._observer.stage(name)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def _progress(self, done: float, total: float, text: str) -> None:
        if self._observer is not None:
            self._observer.progress(done, total, text)

    def _warn(self, message: str) -> None:
        if message not in self.warnings:
            self.warnings.append(message)
            _log.info("%s", message)
            if self._observer is not None:
                self._observer.warn(message)


def _entry(key: WeightKey, layout: WeightLayout, scheme: NMScheme, values: NDArray[np.generic]) -> ManifestEntry:
    kept = values != 0
    zeros = kept.size - int(np.count_nonzero(kept))
    return ManifestEntry(key=key, layout=layout, scheme=scheme, zeros=zeros, mask_sha256=mask_sha256(kept))


def _flops_reduction(inventory: Inventory, plan: Plan) -> float | None:
    if not inventory.macs:
        return None
    return Budget(measure="flops", reduction=0.0).achieved(inventory, plan.schemes)


def peak_rss_bytes() -> int | None:
    """The most memory this process has had resident; None on systems that don't say."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
