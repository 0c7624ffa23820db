"""One pass over a model: what is wanted, what every stage shares, and the stages, one a module."""

from domino_onnx.run.context import Run, torch_missing
from domino_onnx.run.options import CompressOptions, Observer, Solver, Strategy
from domino_onnx.run.permuting import permute
from domino_onnx.run.planning import Planned, choose_plan, fitted
from domino_onnx.run.recovering import finetune, recover_if_possible
from domino_onnx.run.solving import Solved, solve
from domino_onnx.run.writing import finish

__all__ = [
    "CompressOptions",
    "Observer",
    "Planned",
    "Run",
    "Solved",
    "Solver",
    "Strategy",
    "choose_plan",
    "finetune",
    "finish",
    "fitted",
    "permute",
    "recover_if_possible",
    "solve",
    "torch_missing",
]
