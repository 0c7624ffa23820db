"""Block after block: what can be trained around operators that can't, and models that don't fit as a whole.

The dense and the pruned network walk through the graph side by side in ONNX Runtime. Each block, a stretch of nodes
that torch has counterparts for, learns to make the dense network's activations out of what the pruned network before
it gives; what lies between blocks only runs. Batches of held-out samples walk along, and judge each block.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from domino_onnx.data import Split
from domino_onnx.errors import FinetuneError
from domino_onnx.finetuning.finetune import Stored, finetune
from domino_onnx.finetuning.masks import WeightGroups
from domino_onnx.finetuning.networks import Networks
from domino_onnx.finetuning.results import Finetuned, FinetuneStep, joined
from domino_onnx.finetuning.state import CheckpointFile
from domino_onnx.graph import OnnxFile
from domino_onnx.options import Device, FinetuneOptions, RunOptions
from domino_onnx.scheme import WeightKey

__all__ = ["finetune_blocks"]

_MOST_WEIGHTS = 8
"""Weights that are trained in one block; more make another."""


def finetune_blocks(
    file: OnnxFile,
    split: Split,
    weights: Stored,
    options: FinetuneOptions | None = None,
    run: RunOptions | None = None,
    *,
    biases: Stored | None = None,
    groups: Mapping[WeightKey, WeightGroups] | None = None,
    progress: Callable[[FinetuneStep], None] | None = None,
    checkpoints: Callable[[int], CheckpointFile] | None = None,
    stopped: Callable[[], bool] | None = None,
    most_weights: int = _MOST_WEIGHTS,
    device: Device = "auto",
    threads: int = 0,
) -> Finetuned:
    """Train each block's weights and biases for `steps` steps towards the dense activations behind it.

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
    CheckpointError, KeyboardInterrupt
        As from `finetune`.
    """
    settings, shared, others = options or FinetuneOptions(), run or RunOptions(), biases or {}
    networks = Networks(
        file,
        split,
        weights,
        others,
        batch_size=shared.batch_size,
        most_weights=most_weights,
        device=device,
        threads=threads,
    )
    results: list[Finetuned] = []
    trained: set[WeightKey] = set()
    for block in range(1, networks.count):
        wanted = networks.pass_dense(block)
        own = networks.own(block)
        student = networks.student(block, wanted) if own else None
        reached = set() if student is None else student.reached(own) & weights.keys()
        if student is not None and reached:
            held = {key: networks.values[key] for key in own if key in student.module.weights}
            result = finetune(
                student,
                {key: value for key, value in held.items() if key in weights},
                settings,
                shared,
                biases={key: value for key, value in held.items() if key in others},
                groups=groups,
                progress=_after(results, progress),
                checkpoint=None if checkpoints is None else checkpoints(block),
                stopped=stopped,
            )
            networks.change(result.values)
            results.append(result)
            trained |= reached
        networks.pass_pruned(block)
    if not results:
        raise FinetuneError("no block of the model that holds a pruned weight alone can be trained")
    return joined(results, networks.values, tuple(key for key in weights if key not in trained))


def _after(
    results: list[Finetuned], progress: Callable[[FinetuneStep], None] | None
) -> Callable[[FinetuneStep], None] | None:
    """The progress of a block, with its steps counted from those of the blocks before."""
    if progress is None:
        return None
    done = sum(result.steps for result in results)
    return lambda step: progress(dataclasses.replace(step, step=done + step.step))
