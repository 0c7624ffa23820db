"""What a run has to tell: the values that reports are made from."""

from domino_onnx.report.results.compressed import CompressResult, FileSizes, WeightRecord
from domino_onnx.report.results.converted import ConvertResult
from domino_onnx.report.results.inspected import DoctorResult, InspectResult, OperatorShare, Port
from domino_onnx.report.results.searched import Prediction, SearchResult
from domino_onnx.report.results.speed import BenchmarkResult, BenchmarkRow, DeployedLayer, DeployPrecision, DeployResult
from domino_onnx.report.results.trials import SweepResult, Trial

__all__ = [
    "BenchmarkResult",
    "BenchmarkRow",
    "CompressResult",
    "ConvertResult",
    "DeployPrecision",
    "DeployResult",
    "DeployedLayer",
    "DoctorResult",
    "FileSizes",
    "InspectResult",
    "OperatorShare",
    "Port",
    "Prediction",
    "SearchResult",
    "SweepResult",
    "Trial",
    "WeightRecord",
]
