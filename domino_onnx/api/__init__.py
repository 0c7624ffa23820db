"""The functions that Python code calls: a thin skin over the library, as `domino_onnx.cli` is one for a shell."""

from domino_onnx.api.checking import benchmark, convert, deploy, doctor, evaluate, inspect, session, verify
from domino_onnx.api.findings import (
    BenchmarkResult,
    DoctorResult,
    EvaluateResult,
    InspectResult,
    SearchResult,
    SweepResult,
    VerifyResult,
)
from domino_onnx.api.models import WrittenModel
from domino_onnx.api.progress import DominoWarning, Progress
from domino_onnx.api.pruning import apply, compress, finetune, search, sweep
from domino_onnx.api.written import CompressResult, ConvertResult, DeployResult

__all__ = [
    "BenchmarkResult",
    "CompressResult",
    "ConvertResult",
    "DeployResult",
    "DoctorResult",
    "DominoWarning",
    "EvaluateResult",
    "InspectResult",
    "Progress",
    "SearchResult",
    "SweepResult",
    "VerifyResult",
    "WrittenModel",
    "apply",
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
