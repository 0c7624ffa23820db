"""Parity, accuracy and legality of a written file."""

from domino_onnx.evaluate.evaluate import Evaluation, evaluate_models, meanings_on, random_inputs, top1
from domino_onnx.evaluate.metric import Metric, load_metric
from domino_onnx.evaluate.verify import Finding, Verdict, verify_file

__all__ = [
    "Evaluation",
    "Finding",
    "Metric",
    "Verdict",
    "evaluate_models",
    "load_metric",
    "meanings_on",
    "random_inputs",
    "top1",
    "verify_file",
]
