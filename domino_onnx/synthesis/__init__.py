"""Calibration inputs without data: drawn from what a model's graph shows of its inputs."""

from domino_onnx.synthesis.describe import InputDescription, InputKind, describe_inputs
from domino_onnx.synthesis.guess import Guess
from domino_onnx.synthesis.opening import open_synthesis
from domino_onnx.synthesis.preparation import Preparation
from domino_onnx.synthesis.samples import KEPT_BYTES
from domino_onnx.synthesis.synthesis import Synthesis

__all__ = [
    "KEPT_BYTES",
    "Guess",
    "InputDescription",
    "InputKind",
    "Preparation",
    "Synthesis",
    "describe_inputs",
    "open_synthesis",
]
