"""What a model's outputs are, and how far two models' outputs are apart."""

from domino_onnx.outputs.divergence import OutputDivergence, tells_classes
from domino_onnx.outputs.metrics import Comparison, Tally

__all__ = ["Comparison", "OutputDivergence", "Tally", "tells_classes"]
