"""What can be done with a model, each thing one function. All of them raise errors of :mod:`domino_onnx.errors`.

The stages say which errors, and when.
"""

from domino_onnx.pipeline.checking import benchmark, convert, deploy, doctor, evaluate, inspect, session, verify
from domino_onnx.pipeline.pruning import apply, assist, compress, finetune, search, sweep

__all__ = [
    "apply",
    "assist",
    "benchmark",
    "compress",
    "convert",
    "deploy",
    "doctor",
    "evaluate",
    "finetune",
    "inspect",
    "search",
    "session",
    "sweep",
    "verify",
]
