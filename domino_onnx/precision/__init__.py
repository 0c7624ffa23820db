"""A model in fewer bits, by ONNX Runtime's own tools: float16 throughout, weights as 8-bit integers."""

from domino_onnx.precision.conversion import (
    KEEP,
    Conversion,
    Converted,
    check_conversion,
    converted,
    try_conversion,
)

__all__ = ["KEEP", "Conversion", "Converted", "check_conversion", "converted", "try_conversion"]
