"""A model in fewer bits, by ONNX Runtime's own tools: float16 throughout."""

from domino_onnx.precision.lower import KEEP, Lowered, Lowering, Precision, check_lowering, lower

__all__ = ["KEEP", "Lowered", "Lowering", "Precision", "check_lowering", "lower"]
