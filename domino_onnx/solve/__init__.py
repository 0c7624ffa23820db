"""Masks and weights of every site under its scheme."""

from domino_onnx.solve.mask import keep_largest, magnitude_mask, obeys
from domino_onnx.solve.prune import PrunedWeights

__all__ = ["PrunedWeights", "keep_largest", "magnitude_mask", "obeys"]
