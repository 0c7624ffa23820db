"""One pass over a model: what is wanted, what every stage shares, and the stages, one a module."""

from domino_onnx.stages.choosing import choose
from domino_onnx.stages.context import Run, torch_missing
from domino_onnx.stages.options import CompressOptions, Observer, Solver, Strategy
from domino_onnx.stages.planning import Planned, fitted
from domino_onnx.stages.recovering import assist, is_assistant, recover, recover_if_possible
from domino_onnx.stages.resuming import open_checkpoint, solved_once
from domino_onnx.stages.shapes import shapes_seen
from domino_onnx.stages.solving import Solved, solve
from domino_onnx.stages.trials import Trials
from domino_onnx.stages.writing import finish, why_dense

__all__ = [
    "CompressOptions",
    "Observer",
    "Planned",
    "Run",
    "Solved",
    "Solver",
    "Strategy",
    "Trials",
    "assist",
    "choose",
    "finish",
    "fitted",
    "is_assistant",
    "open_checkpoint",
    "recover",
    "recover_if_possible",
    "shapes_seen",
    "solve",
    "solved_once",
    "torch_missing",
    "why_dense",
]
