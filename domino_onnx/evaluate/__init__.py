"""Parity, accuracy and legality of a written file."""

from domino_onnx.evaluate.evaluate import Evaluation, evaluate_models, kinds_on, random_inputs
from domino_onnx.evaluate.verify import Finding, Verdict, verify_file

__all__ = ["Evaluation", "Finding", "Verdict", "evaluate_models", "kinds_on", "random_inputs", "verify_file"]
