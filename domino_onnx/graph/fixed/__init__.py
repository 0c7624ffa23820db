"""Is a weight a fixed function, which was written down and never trained?"""

from domino_onnx.graph.fixed.judge import fixed_function

__all__ = ["fixed_function"]
