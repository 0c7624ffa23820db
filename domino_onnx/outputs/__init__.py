"""What a model's outputs are, and how far two models' outputs are apart."""

from domino_onnx.outputs.divergence import OutputDivergence
from domino_onnx.outputs.kinds import (
    CLASSES,
    OutputKind,
    OutputKinds,
    Outputs,
    class_output,
    decide_kinds,
    spread_outputs,
)
from domino_onnx.outputs.metrics import Comparison, Tally
from domino_onnx.outputs.variance import variances

__all__ = [
    "CLASSES",
    "Comparison",
    "OutputDivergence",
    "OutputKind",
    "OutputKinds",
    "Outputs",
    "Tally",
    "class_output",
    "decide_kinds",
    "spread_outputs",
    "variances",
]
