"""The values that pass between stages: pure, frozen, numpy only."""

from domino_onnx.scheme.budget import Budget, Measure
from domino_onnx.scheme.key import WeightKey
from domino_onnx.scheme.layout import WeightLayout
from domino_onnx.scheme.manifest import MANIFEST_KEY, NODE_KEY, PREFIX, Manifest, ManifestEntry, mask_sha256
from domino_onnx.scheme.nm import NMScheme, SchemePool
from domino_onnx.scheme.plan import Plan
from domino_onnx.scheme.site import Inventory, Site, Skip

__all__ = [
    "MANIFEST_KEY",
    "NODE_KEY",
    "PREFIX",
    "Budget",
    "Inventory",
    "Manifest",
    "ManifestEntry",
    "Measure",
    "NMScheme",
    "Plan",
    "SchemePool",
    "Site",
    "Skip",
    "WeightKey",
    "WeightLayout",
    "mask_sha256",
]
