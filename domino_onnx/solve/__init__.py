"""Masks and weights of every site under its scheme."""

from domino_onnx.solve.blas import one_blas_thread
from domino_onnx.solve.inputs import FewInputs, Inputs
from domino_onnx.solve.mask import keep_largest, magnitude_mask, obeys
from domino_onnx.solve.prune import PrunedWeights
from domino_onnx.solve.quadratic import Quadratic
from domino_onnx.solve.select import MaskRule, choose_mask, sparsegpt, swap

__all__ = [
    "FewInputs",
    "Inputs",
    "MaskRule",
    "PrunedWeights",
    "Quadratic",
    "choose_mask",
    "keep_largest",
    "magnitude_mask",
    "obeys",
    "one_blas_thread",
    "sparsegpt",
    "swap",
]
