"""Block after block: what can be trained around operators that can't, and models that don't fit as a whole.

The dense and the pruned network walk through the graph side by side in ONNX Runtime. Each block, a stretch of nodes
that torch has counterparts for, learns to make the dense network's activations out of what the pruned network before
it gives; what lies between blocks only runs. Batches of held-out samples walk along, and judge each block.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence

from domino_onnx.bridge.gpu import full_memory_in_words
from domino_onnx.data import Split
from domino_onnx.errors import FinetuneError
from domino_onnx.finetuning.block_student import BlockStudent
from domino_onnx.finetuning.finetune import finetune
from domino_onnx.finetuning.masks import WeightGroups
from domino_onnx.finetuning.networks import Networks
from domino_onnx.finetuning.results import Finetuned, FinetuneStep, joined
from domino_onnx.finetuning.saved import CheckpointFile
from domino_onnx.graph import OnnxFile
from domino_onnx.options import DEFAULT_TIME, FinetuneOptions, RunOptions
from domino_onnx.runtime import Activations, Room
from domino_onnx.scheme import WeightArrays, WeightKey

__all__ = ["finetune_blocks"]

_log = logging.getLogger(__name__)
_MOST_WEIGHTS = 8
"""Weights that are trained in one block; more make another."""


def finetune_blocks(
    file: OnnxFile,
    split: Split,
    weights: WeightArrays,
    options: FinetuneOptions | None = None,
    run: RunOptions | None = None,
    *,
    biases: WeightArrays | None = None,
    groups: Mapping[WeightKey, WeightGroups] | None = None,
    progress: Callable[[FinetuneStep, int], None] | None = None,
    checkpoints: Callable[[int], CheckpointFile] | None = None,
    stopped: Callable[[], bool] | None = None,
    most_weights: int = _MOST_WEIGHTS,
    room: Room | None = None,
) -> Finetuned:
    """Train each block's weights and biases towards the dense activations behind it.

    All blocks take as many steps. Where time decides, it is shared evenly, and the pace of the first block counts.

    Parameters
    ----------
    file
        The dense model.
    split
        The samples to learn from and to judge by.
    weights, biases, groups, stopped
        As `finetune` has them.
    checkpoints
        Where a block goes on from and saves to, by its number; blocks that were finished aren't trained again.
    most_weights
        Weights in one block.
    room
        Where the activations between blocks are kept. By default in memory.

    Returns
    -------
    Losses are mean square errors over the variance, summed over the blocks' outputs and the blocks; `frozen` names the
    weights that no block holds alone, with those that no gradient reaches. Each block is never worse than it was given.

    Raises
    ------
    FinetuneError
        If no block can be trained.
    ModelError
        If ONNX Runtime can't run the model in segments.
    DeviceMemoryError
        If a block with a batch is too large for the GPU's memory.
    CheckpointError, KeyboardInterrupt
        As from `finetune`.
    """
    shared, others = run or RunOptions(), biases or {}
    networks = Networks(
        file,
        split,
        weights,
        others,
        batch_size=shared.batch_size,
        most_weights=most_weights,
        device=shared.device,
        threads=shared.threads,
        room=room or Room(),
    )
    training = _BlockTraining(
        networks,
        frozenset(weights),
        options or FinetuneOptions(),
        shared,
        groups=groups or {},
        progress=progress or (lambda _, __: None),
        checkpoints=checkpoints or (lambda _: None),
        stopped=stopped,
    )
    with full_memory_in_words("finetuning block by block"):
        for block in range(1, networks.count):
            training.train(block, networks.pass_dense(block))
            networks.pass_pruned(block)
    return training.result()


class _BlockTraining:
    """What is trained of the pruned network, and what came of each block."""

    def __init__(
        self,
        networks: Networks,
        weights: frozenset[WeightKey],
        options: FinetuneOptions,
        run: RunOptions,
        *,
        groups: Mapping[WeightKey, WeightGroups],
        progress: Callable[[FinetuneStep, int], None],
        checkpoints: Callable[[int], CheckpointFile | None],
        stopped: Callable[[], bool] | None,
    ) -> None:
        self._networks = networks
        self._weights = weights
        self._options = options
        self._run = run
        self._groups = groups
        self._progress = progress
        self._checkpoints = checkpoints
        self._stopped = stopped
        self._left = sum(bool(networks.own(block)) for block in range(1, networks.count))
        self._results: list[Finetuned] = []
        self._trained: set[WeightKey] = set()

    def train(self, block: int, wanted: Sequence[Activations]) -> None:
        """Train the block towards `wanted`, if it holds a weight alone that torch can train."""
        own = self._networks.own(block)
        if own:
            self._train_own(block, own, wanted)
            self._left -= 1

    def _train_own(self, block: int, own: Sequence[WeightKey], wanted: Sequence[Activations]) -> None:
        student = self._networks.student(block, wanted)
        if student is None:
            return
        reached = student.reached(own) & self._weights
        if not reached:
            return
        try:
            result = self._finetuned(block, student, own)
        except FinetuneError as error:
            _log.warning("block %d stays as it is: %s", block, error)
            return
        self._networks.change(result.values)
        self._results.append(result)
        self._trained |= reached

    def result(self) -> Finetuned:
        """Of all blocks together."""
        if not self._results:
            raise FinetuneError("no block of the model that holds a pruned weight alone can be trained")
        values = self._networks.values
        frozen = tuple(key for key in values if key in self._weights and key not in self._trained)
        return joined(self._results, values, frozen)

    def _finetuned(self, block: int, student: BlockStudent, own: Sequence[WeightKey]) -> Finetuned:
        held = {key: self._networks.values[key] for key in own if key in student.module.weights}
        done = sum(result.steps for result in self._results)

        def tell(step: FinetuneStep, planned: int) -> None:
            """Count the steps on from those of the blocks before."""
            self._progress(dataclasses.replace(step, step=done + step.step), done + planned * self._left)

        return finetune(
            student,
            {key: value for key, value in held.items() if key in self._weights},
            self._steps_of_a_block(),
            self._run,
            biases={key: value for key, value in held.items() if key not in self._weights},
            groups=self._groups,
            progress=tell,
            checkpoint=self._checkpoints(block),
            stopped=self._stopped,
        )

    def _steps_of_a_block(self) -> FinetuneOptions:
        """As many as the first block took; for that one a share of the time."""
        options = self._options
        if options.steps is not None:
            return options
        if self._results:
            return self._results[0].repeated(options)
        return dataclasses.replace(options, time=(options.time or DEFAULT_TIME).shared(self._left))
