"""Parity, accuracy and legality of a written file."""

from domino_onnx.evaluate.evaluate import (
    Evaluation,
    evaluate_models,
    meanings_on,
    random_inputs,
    top1,
    try_metric,
)
from domino_onnx.evaluate.metric import Metric, load_metric
from domino_onnx.evaluate.sampled import SampledCheck, check_sample
from domino_onnx.evaluate.verify import Finding, Verdict, verify_file

__all__ = [
    "Evaluation",
    "Finding",
    "Metric",
    "SampledCheck",
    "Verdict",
    "check_sample",
    "evaluate_models",
    "load_metric",
    "meanings_on",
    "random_inputs",
    "top1",
    "try_metric",
    "verify_file",
]
