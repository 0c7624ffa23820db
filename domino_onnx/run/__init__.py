"""One pass over a model: what is wanted, what every stage shares, and the stages, one a module."""

from domino_onnx.run.choosing import choose
from domino_onnx.run.context import Run, torch_missing
from domino_onnx.run.options import CompressOptions, Observer, Solver, Strategy
from domino_onnx.run.permuting import permute
from domino_onnx.run.planning import Planned, fitted
from domino_onnx.run.recovering import assist, is_assistant, recover, recover_if_possible
from domino_onnx.run.resuming import open_checkpoint, solved_once
from domino_onnx.run.shapes import shapes_seen
from domino_onnx.run.solving import Solved, solve
from domino_onnx.run.trials import Trials
from domino_onnx.run.writing import finish, why_dense

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
    "permute",
    "recover",
    "recover_if_possible",
    "shapes_seen",
    "solve",
    "solved_once",
    "torch_missing",
    "why_dense",
]
