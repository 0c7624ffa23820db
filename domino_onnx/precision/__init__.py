"""A model in fewer bits, by ONNX Runtime's own tools: float16 throughout, weights as 8-bit integers."""

from domino_onnx.precision.lower import KEEP, Lowered, Lowering, Precision, WeightType, check_lowering, lower

__all__ = ["KEEP", "Lowered", "Lowering", "Precision", "WeightType", "check_lowering", "lower"]
