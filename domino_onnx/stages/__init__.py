"""One pass over a model: what is wanted, what every stage shares, and the stages, one a module."""

from domino_onnx.stages.choosing import choose
from domino_onnx.stages.context import Run, torch_missing
from domino_onnx.stages.finetuning import assist, finetune_if_possible, finetune_or_raise, is_assistant
from domino_onnx.stages.options import CompressOptions, Observer, Solver, Strategy
from domino_onnx.stages.permuting import permute
from domino_onnx.stages.planning import Planned, fitted
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
    "finetune_if_possible",
    "finetune_or_raise",
    "finish",
    "fitted",
    "is_assistant",
    "open_checkpoint",
    "permute",
    "shapes_seen",
    "solve",
    "solved_once",
    "torch_missing",
    "why_dense",
]
