"""Layer-wise reconstruction without labels: how much each site loses under each scheme, and refitted weights."""

from domino_onnx.reconstruction.dense import prune_like_sparsegpt
from domino_onnx.reconstruction.in_order import Reconstruction, Scarcity, reconstruct
from domino_onnx.reconstruction.network import Network
from domino_onnx.reconstruction.sensitivity import SensitivityOptions, measure_sensitivity

__all__ = [
    "Network",
    "Reconstruction",
    "Scarcity",
    "SensitivityOptions",
    "measure_sensitivity",
    "prune_like_sparsegpt",
    "reconstruct",
]
