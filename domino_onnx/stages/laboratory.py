"""What stages work with and build only when they need it: the model cut up at its sites, and the model in torch."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from domino_onnx.errors import DataError, FinetuneError, ModelError, RunError
from domino_onnx.options import NO_DATA, CompressOptions
from domino_onnx.plurals import some_of
from domino_onnx.scheme import Plan, WeightKey
from domino_onnx.stages.checkpoints.checkpoint import Checkpoint
from domino_onnx.stages.devices import torch_missing
from domino_onnx.stages.journal import Journal
from domino_onnx.stages.kept.losses import kept_losses, losses_once
from domino_onnx.stages.once import Once
from domino_onnx.stages.reading.aim import Aim, take_aim
from domino_onnx.stages.reading.doubts import doubts_of_labels
from domino_onnx.stages.reading.drawing import draw_ahead, drawn_when_taken
from domino_onnx.stages.reading.source import Source

if TYPE_CHECKING:
    from domino_onnx.finetuning import Distillation
    from domino_onnx.outputs import Meanings
    from domino_onnx.reconstruction import Network
    from domino_onnx.runtime import Room
    from domino_onnx.search import LossTable

__all__ = ["ONLY_INTEGERS", "Laboratory", "open_laboratory", "why_no_samples"]

ONLY_INTEGERS = "all weights to be pruned are integers, which no gradient moves"

_T = TypeVar("_T")
_DOUBTFUL = "The model loads, so the values or sizes in --data may not suit it: mend them, or give --data none"


class Laboratory:
    """The parts of a run that are expensive to build: each is built when it is first asked for, and then kept.

    Attributes
    ----------
    source, aim, options, journal
        What the run is about. None of them is ever replaced.
    dense
        The dense model: it teaches, and its outputs tell what outputs are. `source` itself, unless that was pruned.
    checkpoint
        What is kept of the run, in case that it is interrupted; by default nothing.
    """

    def __init__(
        self,
        source: Source,
        aim: Aim,
        options: CompressOptions,
        journal: Journal,
        dense: Path | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self.source = source
        self.dense = dense or source.path
        self.aim = aim
        self.options = options
        self.journal = journal
        self.checkpoint = checkpoint or Checkpoint()
        self._meanings: Once[Meanings] = Once()
        self._network: Once[Network] = Once()
        self._losses: Once[LossTable] = Once()
        self._student: Once[Distillation] = Once()

    @property
    def trainable(self) -> list[WeightKey]:
        """The sites that gradients reach: those that aren't integers."""
        return [site.key for site in self.aim.inventory.sites if site.learns]

    @functools.cached_property
    def room(self) -> Room:
        """The memory and the folder that activations may fill, as much as there was when it was first asked for."""
        from domino_onnx.runtime import Room

        return Room.of(self.options.run.memory, self.options.run.scratch)

    @property
    def judged_by_drawn(self) -> bool:
        """Whether all samples that judge are drawn: what they show is no accuracy."""
        return bool(self.source.drawn) and self.options.data.evaluation is None

    @property
    def judges_in_words(self) -> str:
        """The samples that judge on the way, for people."""
        return "drawn samples" if self.judged_by_drawn else "samples that nothing learned from"

    def floats(self, key: WeightKey) -> NDArray[np.generic]:
        """A site's weight as floats, also where the file stores integers."""
        site = self.aim.inventory.site(key)
        return self.source.load(key) if site is None else site.numbers.floats(self.source.load(key))

    def meanings(self) -> Meanings:
        """What the model's outputs mean, decided once from the dense model's outputs on the data.

        Raises
        ------
        ModelError, DependencyError
            If ONNX Runtime can't run the model; each time the same error.
        DataError
            If it loads the model, and stops on the samples that the user gave.
        """
        return self._meanings.value(self._decide_meanings)

    def network(self) -> Network:
        """The model cut up at its sites, with the data to run through it.

        Raises
        ------
        ModelError, DependencyError
            If ONNX Runtime can't run the model piece by piece, or data reach no site; each time the same error.
        """
        return self._network.value(self._build_network)

    def losses(self) -> LossTable:
        """What each scheme of each site costs, measured once.

        Raises
        ------
        ModelError, DependencyError
            As `network`.
        """
        return self._losses.value(functools.partial(losses_once, self))

    def known_losses(self) -> LossTable | None:
        """What `losses` has measured, in this attempt or in an earlier one; None if that wasn't asked for."""
        return self._losses.known or kept_losses(self)

    def run(self, work: Callable[[Network], _T]) -> _T:
        """Do something with the network. If the model turns out not to run, `network` raises that error from then on.

        Raises
        ------
        ModelError, DependencyError
            As `network`.
        """
        network = self.network()
        try:
            return work(network)
        except ModelError as error:
            self._network.fail(error)
            raise

    def release_network(self) -> None:
        """Give back the memory that the network takes: search and refit are over."""
        from domino_onnx.runtime import give_back_memory

        self._network.forget()
        give_back_memory()

    def student(self) -> Distillation:
        """The model in torch, proved equal to ONNX Runtime, and the dense model as its teacher.

        Raises
        ------
        FinetuneError
            Without data.
        DependencyError
            Without torch.
        ModelError
            If the model can't be built or isn't reproduced; each time the same error.
        """
        return self._student.value(self._build_student)

    def _decide_meanings(self) -> Meanings:
        try:
            return self._meanings_on_data()
        except RunError as error:
            if self.source.drawn:
                raise
            raise DataError(f"{error}. {_DOUBTFUL}") from None

    def _meanings_on_data(self) -> Meanings:
        from domino_onnx.evaluate import meanings_on, top1, try_metric
        from domino_onnx.runtime import ChildSession

        run, split = self.options.run, self.source.split
        if split is None:
            raise ModelError("there are no data to run through the model")
        draw_ahead(drawn_when_taken(split, judges=self.judged_by_drawn), run.batch_size, self.journal)
        dense = ChildSession(self.dense, device=run.device, threads=run.threads)
        with dense as session, self.journal.stage("outputs"):
            metric = self.source.metric
            if metric is not None:
                judges, _ = split.judge(refitted=True, finetuned=False)
                try_metric(session, judges, run.batch_size, metric)
            given, drawn = self.options.data.output_kinds, bool(self.source.drawn)
            meanings = meanings_on(session, split.fit, run.batch_size, given, drawn=drawn, labelled=split.apart)
            for data in (split.fit, split.apart):
                if data is not None and data.labels is not None and metric is None:
                    right = top1(session, data, run.batch_size, meanings)
                    for doubt in doubts_of_labels(data.labels, right):
                        self.journal.warn(doubt)
        return meanings

    def _build_network(self) -> Network:
        from domino_onnx.reconstruction import Network

        source, run = self.source, self.options.run
        if source.split is None:
            raise ModelError("there are no data to run through the model")
        network = Network(
            source.file,
            self.aim.inventory,
            source.split.learned,
            batch_size=run.batch_size,
            device=run.device,
            threads=run.threads,
            seed=run.seed,
            meanings=self.meanings(),
            room=self.room,
        )
        if not network.starts:
            raise ModelError(f"data reach none of its weights ({_reasons(network)})")
        self._warn_of_limits(network)
        return network

    def _warn_of_limits(self, network: Network) -> None:
        if network.left_out:
            self.journal.warn(f"no statistics of {_reasons(network)}; these masks go by magnitude")

    def _build_student(self) -> Distillation:
        if self.source.split is None:
            raise FinetuneError(f"finetuning {why_no_samples(self.options)}")
        try:
            from domino_onnx.finetuning import open_distillation
        except ImportError as error:
            raise torch_missing(error) from None
        run = self.options.run
        with self.journal.stage("bridge"):
            return open_distillation(
                self.source.file,
                self.dense,
                self.source.split,
                self.options.finetune,
                device=run.device,
                threads=run.threads,
                meanings=self.meanings(),
                room=self.room,
            )


def open_laboratory(
    source: Source,
    options: CompressOptions,
    journal: Journal,
    plan: Plan | None = None,
    dense: Path | None = None,
    checkpoint: Checkpoint | None = None,
) -> Laboratory:
    """A laboratory that aims at the options' target, or at that of the plan that was given.

    Raises
    ------
    PlanError
        As `take_aim`.
    """
    return Laboratory(source, take_aim(source, options.target, plan), options, journal, dense, checkpoint)


def why_no_samples(options: CompressOptions) -> str:
    """What finetuning lacks where there are no samples to learn from, as the end of a sentence."""
    if options.data.calibration == NO_DATA:
        return f"needs samples, and --data {NO_DATA} takes none"
    return "needs data; give --data"


def _reasons(network: Network) -> str:
    """Which sites data can't be gathered for, one phrase a reason."""
    names: dict[str, list[str]] = defaultdict(list)
    for key, reason in network.left_out.items():
        names[reason].append(str(key))
    return "; ".join(f"{some_of(keys)}: {reason}" for reason, keys in names.items()) or "it has none"
