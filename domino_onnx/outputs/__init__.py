"""What a model's outputs mean, and how far two models' outputs are apart."""

from domino_onnx.outputs.channels import scales_of
from domino_onnx.outputs.comparison import Comparison, CustomScores, OutputComparison
from domino_onnx.outputs.divergence import OutputDivergence
from domino_onnx.outputs.meanings import (
    LEARNED,
    Meanings,
    OutputKind,
    OutputMeaning,
    Outputs,
    class_output,
    require_outputs,
)
from domino_onnx.outputs.survey import BY_LABELS, Survey
from domino_onnx.outputs.tally import Tally

__all__ = [
    "BY_LABELS",
    "LEARNED",
    "Comparison",
    "CustomScores",
    "Meanings",
    "OutputComparison",
    "OutputDivergence",
    "OutputKind",
    "OutputMeaning",
    "Outputs",
    "Survey",
    "Tally",
    "class_output",
    "require_outputs",
    "scales_of",
]
