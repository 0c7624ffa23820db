"""One pass over a model: what was read, and what every stage shares."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import re
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from domino_onnx.errors import DependencyError, ModelError, PlanError, RecoveryError
from domino_onnx.graph import read_model, replaced, stored_tensors, take_inventory
from domino_onnx.precision import check_lowering
from domino_onnx.scheme import FrozenMapping, Inventory, Plan, SchemePool, WeightKey
from domino_onnx.stages.options import CompressOptions, Observer
from domino_onnx.stages.shapes import shapes_seen
from domino_onnx.targets import TARGETS, Target, adapt, adapted, known

if TYPE_CHECKING:
    from domino_onnx.data import Dataset
    from domino_onnx.finetuning import Distillation
    from domino_onnx.reconstruction import Network
    from domino_onnx.search import LossTable

__all__ = ["ONLY_INTEGERS", "Run", "peak_rss_bytes", "torch_missing"]

ONLY_INTEGERS = "all weights to be pruned are integers, which no gradient moves"

_log = logging.getLogger(__name__)


class Run:
    """The model, the data, the clock and the warnings of one pass.

    The stages are functions over it, in the modules beside this one.

    Attributes
    ----------
    target
        What masks must suit: the options' choice, or else that of the plan.
    changed
        Stored tensors whose values in memory are no longer the file's: their channels were permuted.
    losses
        What each scheme of each site costs, once that was measured.
    seconds, peaks
        Of each stage: how long it took, and the most memory the process had had by its end, in bytes.
    """

    def __init__(self, model: Path, options: CompressOptions, observer: Observer | None) -> None:
        self.model = model
        self.options = options
        self._observer = observer
        self._distillation: Distillation | None = None
        self._network: Network | None = None
        self._network_failed = False
        self.data: Dataset | None = None
        self.eval_data: Dataset | None = None
        self.seconds: dict[str, float] = {}
        self.peaks: dict[str, int] = {}
        self.warnings: list[str] = []
        self.changed: frozenset[WeightKey] = frozenset()
        self.losses: LossTable | None = None
        self.target: Target = options.target or "generic"
        self.inventory: Inventory

    def read(self) -> None:
        """Read the model and the data, and take the inventory."""
        options = self.options
        with self.stage("read"):
            self.file = read_model(self.model)
            check_lowering(self.file, options.lowering)  # before hours of work are put into what can't be written
            if options.device == "cuda":
                self._require_cuda()
            shapes = dict(options.input_shapes)
            if options.data is not None:
                self.data = self._load_data(options.data)
                shapes = {**self.data.shapes(), **shapes}
            if options.eval_data is not None:
                self.eval_data = self._load_data(options.eval_data)
            self.shapes = shapes
            self._table = shapes_seen(self.file, shapes, self.data, seed=options.seed)
            self._take_inventory(options.pool)
            self._tensors = stored_tensors(self.file.proto)
            for note in self.inventory.notes:
                self.warn(note)

    def admit(self, plan: Plan) -> Plan:
        """The plan as its target wants it, and sites for weights that no scheme of the pool fits: 3:6 on an axis of 18.

        The run takes over the target, unless its options name one.

        Raises
        ------
        PlanError
            If the target is unknown, or a scheme has no form that is legal for it.
        """
        target = self.options.target or plan.target
        if not known(target):
            raise PlanError(f"the target {target!r} is unknown; this program knows {', '.join(TARGETS)}")
        self.target = target
        self.inventory = adapt(self._found, target, speed_only=self.options.speed_only)
        if any(self.inventory.site(key) is None for key in plan.schemes):
            self._take_inventory(self.options.pool.including(plan.schemes.values()))
        return dataclasses.replace(
            plan, target=target, schemes=FrozenMapping(adapted(plan.schemes, self._found, target))
        )

    def _take_inventory(self, pool: SchemePool) -> None:
        self._found = take_inventory(self.file, pool, self._table, self.options.selection)
        self.inventory = adapt(self._found, self.target, speed_only=self.options.speed_only)

    def load(self, key: WeightKey) -> NDArray[np.generic]:
        """A stored tensor as the file has it; ModelError if it has none of this name."""
        if key not in self._tensors:
            raise ModelError(f"{self.model} has no tensor {str(key)!r}, which its manifest or plan names")
        return self.file.array(self._tensors[key])

    def floats(self, key: WeightKey) -> NDArray[np.generic]:
        """What a site's weight stands for, whatever it is stored as."""
        site = self.inventory.site(key)
        return self.load(key) if site is None else site.grid.floats(self.load(key))

    def change(self, values: Mapping[WeightKey, NDArray[np.generic]]) -> None:
        """Go on with other values of some stored tensors, which are inline."""
        self.file = dataclasses.replace(self.file, proto=replaced(self.file.proto, values))
        self._tensors = stored_tensors(self.file.proto)
        self.changed = frozenset(values)

    @property
    def learning(self) -> list[WeightKey]:
        """The sites that gradients reach: those that aren't integers."""
        return [site.key for site in self.inventory.sites if site.learns]

    def network(self, consequence: str) -> Network | None:
        """The model cut up at its sites, once for all stages; None with a warning where that can't be."""
        if self._network is not None or self._network_failed or self.data is None or not self.inventory.sites:
            return self._network
        from domino_onnx.reconstruction import Network

        options = self.options
        try:
            network = Network(
                self.file,
                self.inventory,
                self.data,
                batch_size=options.batch_size,
                device=options.device,
                threads=options.threads,
                seed=options.seed,
                fisher=self._fisher(),
            )
            self._warn_of_limits(network)
        except (DependencyError, ModelError) as error:
            self.give_up_network(consequence, error)
        else:
            self._network = network
        return self._network

    def _fisher(self) -> Mapping[WeightKey, NDArray[np.float32]] | None:
        """What `--saliency fisher` goes by; None with a warning where the model has no torch counterpart."""
        if self.options.saliency != "fisher":
            return None
        consequence = "masks go by activations, for want of gradients"
        if not self.learning:
            self.warn(f"{consequence}: {ONLY_INTEGERS}")
            return None
        distillation = self.distillation(self.model, consequence)
        if distillation is None:
            return None
        from domino_onnx.finetuning import fisher_information

        keys = self.learning
        with self.stage("fisher"):
            return fisher_information(distillation, keys, batch_size=self.options.batch_size, seed=self.options.seed)

    def _warn_of_limits(self, network: Network) -> None:
        """What a network can't do; ModelError if it can't even be run."""
        for key, reason in network.left_out.items():
            self.warn(f"no statistics of {str(key)!r}: {reason}; its mask goes by magnitude")
        if network.affordable < network.batches:
            share = network.affordable / network.batches
            self.warn(f"memory allows {share:.0%} of the data at a time: the refit learns from that part")

    def give_up_network(self, consequence: str, error: Exception) -> None:
        """The model can't be run piece by piece: say so, once, and don't try again."""
        self._network, self._network_failed = None, True
        self.warn(f"{consequence}: {error}")

    def distillation(self, teacher: Path, consequence: str) -> Distillation | None:
        """The student and its teacher, once for all stages; None with a warning where that can't be."""
        if self._distillation is not None:
            return self._distillation
        if self.data is None:
            self.warn(f"no --data: {consequence}")
            return None
        with self.stage("bridge"):
            try:
                self.open_distillation(teacher)
            except (DependencyError, ModelError, RecoveryError) as error:
                self.warn(f"{consequence}: {error}")
        return self._distillation

    def open_distillation(self, teacher: Path) -> Distillation:
        """The same, with errors for whoever can't do without."""
        if self._distillation is not None:
            return self._distillation
        if self.data is None:
            raise RecoveryError("finetuning needs data: give --data")
        try:
            from domino_onnx.finetuning import LossOptions, open_distillation
        except ImportError as error:
            raise torch_missing(error) from None
        options = self.options
        self._distillation = open_distillation(
            self.file,
            teacher,
            self.data,
            device=options.device,
            threads=options.threads,
            seed=options.seed,
            loss=LossOptions(
                kind=options.recover_loss,
                temperature=options.recover_temperature,
                label_weight=options.recover_label_weight,
                feature_weight=options.recover_feature_weight,
                mix=options.recover_mix,
            ),
            precision=options.recover_precision,
        )
        return self._distillation

    def close(self) -> Dataset | None:
        """Drop all copies of the model, and hand out the data to judge the written file by."""
        data = self.eval_data
        if data is None:
            data = self.data
            if data is not None and self._distillation is not None:
                data = data.subset(self._distillation.held_out)
        self._distillation = self._network = None
        self._tensors = {}
        del self.file
        return data

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Tell the observer, and keep the time and the memory."""
        if self._observer is not None:
            self._observer.stage(name)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
            peak = peak_rss_bytes()
            if peak is not None:
                self.peaks[name] = peak

    def progress(self, done: float, total: float, text: str) -> None:
        """Tell the observer how far the stage is."""
        if self._observer is not None:
            self._observer.progress(done, total, text)

    def warn(self, message: str) -> None:
        """Something the user should know; each message once."""
        if message not in self.warnings:
            self.warnings.append(message)
            _log.info("%s", message)
            if self._observer is not None:
                self._observer.warn(message)

    def _require_cuda(self) -> None:
        from domino_onnx.runtime import require_cuda

        require_cuda()

    def _load_data(self, path: Path) -> Dataset:
        from domino_onnx.data import load_data

        return load_data(path, self.file.proto)


def torch_missing(error: ImportError) -> DependencyError:
    """What to tell whoever asks for finetuning without torch."""
    return DependencyError(f"torch is missing ({error}): pip install 'domino-onnx[recover]'")


def peak_rss_bytes() -> int | None:
    """The most memory this process has had resident; None on systems that don't say.

    Linux keeps it for the program (VmHWM); what getrusage tells there has the peak of whoever started it in it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text(encoding="ascii", errors="replace"))
        if found is not None:
            return int(found[1]) * 1024
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
