"""Bytes of memory that a run has resident at most, and of the disk that it takes in addition to its output."""

from __future__ import annotations

from domino_onnx.forecast.backward import SAVED_SHARE, WITH_GRADIENTS
from domino_onnx.forecast.layers import Layer
from domino_onnx.forecast.work import Work
from domino_onnx.reconstruction.needs import drops_sessions, positions_wanted, working_memory
from domino_onnx.runtime.room import LEAST

__all__ = ["disk_needed", "memory_needed"]

_FLOAT = 4
_TORCH = 280 << 20
"""What torch takes, and its first steps."""
_OF_A_WEIGHT = 6
"""Copies of a weight in training: the student's, the optimizer's own and its two moments, the given and the best."""
_COPIES = 4
"""Of a piece's weights, while its session is made: as a model, as its bytes, and twice in ONNX Runtime."""
_LIBRARIES = 60 << 20
"""What the solvers, their libraries and their temporary arrays take."""


def memory_needed(work: Work, resident: int, budget: int | None) -> int:
    """Of the stage that needs most.

    Parameters
    ----------
    resident
        Bytes that the process has now.
    budget
        Bytes that it may have. Activations and refitted weights beyond it go to the disk.
    """
    solving = _beside(work)
    if work.refits or work.searches:
        room = _carried(work) if budget is None else max(min(_carried(work), budget - resident - solving), 0)
        solving += room
    training, _ = _training(work, None if budget is None else budget - resident)
    return resident + max(solving, training)


def disk_needed(work: Work, resident: int, budget: int | None) -> int:
    """Bytes of activations and of refitted weights that don't fit in the budget."""
    if budget is None:
        return 0
    _, trained = _training(work, budget - resident)
    if not (work.refits or work.searches):
        return trained
    return max(_carried(work) - max(budget - resident - _beside(work), 0), trained, 0)


def _carried(work: Work) -> int:
    """Activations of all samples in both networks, at the place where they are most, and refitted weights."""
    return (2 * work.samples * work.walk.live + (work.stored if work.refits else 0)) * _FLOAT


def _beside(work: Work) -> int:
    """A batch on its way, the weights as sessions have them, and the largest layer."""
    batch = int(work.samples / work.batches * work.walk.piece * _FLOAT)
    return (
        _LIBRARIES
        + batch
        + _sessions(work)
        + max((_working(layer, work.samples) for layer in work.walk.layers), default=0)
    )


def _sessions(work: Work) -> int:
    """Weights as sessions have them: of all pieces, or of the largest one where the others are dropped."""
    weights = [layer.blocks * layer.outputs * layer.features for layer in work.walk.layers]
    if work.searches or not drops_sessions(sum(weights)):
        return 2 * work.stored * _FLOAT
    return _COPIES * max(weights, default=0) * _FLOAT


def _working(layer: Layer, samples: int) -> int:
    positions = min(samples * layer.positions, positions_wanted(layer.features))
    return working_memory(layer.blocks, layer.outputs, layer.features, positions, clipped=layer.clipped)


def _training(work: Work, room: int | None) -> tuple[int, int]:
    """Memory and disk: torch, weights with what the optimizer keeps of them, and a batch's activations.

    Where the whole batch doesn't fit, the tensors that are saved for the way back go to the disk from a share of the
    room on. What is made between two layers is in memory always.
    """
    if work.training is None:
        return 0, 0
    fixed = _TORCH + _OF_A_WEIGHT * work.stored * _FLOAT
    saved = work.training.batch * work.walk.trained * _FLOAT
    whole = fixed + int(WITH_GRADIENTS * saved)
    if room is None or whole <= room:
        return whole, 0
    kept = min(max(int(SAVED_SHARE * (room - fixed)), LEAST), saved)
    return min(fixed + kept + work.training.batch * work.walk.piece * _FLOAT, whole), saved - kept
