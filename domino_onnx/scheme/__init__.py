"""The values that pass between stages: pure, frozen, numpy only."""

from domino_onnx.scheme.arrays import NamedArrays, WeightArrays
from domino_onnx.scheme.budget import OPTION, Budget, Measure, nothing_to_prune, require_reachable, share_hint
from domino_onnx.scheme.frozen import FrozenMapping
from domino_onnx.scheme.key import WeightKey
from domino_onnx.scheme.layout import WeightLayout
from domino_onnx.scheme.manifest import (
    MANIFEST_KEY,
    NODE_KEY,
    PREFIX,
    Manifest,
    ManifestEntry,
    mask_sha256,
    scales_sha256,
    values_sha256,
)
from domino_onnx.scheme.nm import NMScheme, SchemePool
from domino_onnx.scheme.plan import Plan
from domino_onnx.scheme.site import NO_SHAPES_IN_FUNCTIONS, Inventory, Site, Skip
from domino_onnx.scheme.stored_numbers import StoredNumbers

__all__ = [
    "MANIFEST_KEY",
    "NODE_KEY",
    "NO_SHAPES_IN_FUNCTIONS",
    "OPTION",
    "PREFIX",
    "Budget",
    "FrozenMapping",
    "Inventory",
    "Manifest",
    "ManifestEntry",
    "Measure",
    "NMScheme",
    "NamedArrays",
    "Plan",
    "SchemePool",
    "Site",
    "Skip",
    "StoredNumbers",
    "WeightArrays",
    "WeightKey",
    "WeightLayout",
    "mask_sha256",
    "nothing_to_prune",
    "require_reachable",
    "scales_sha256",
    "share_hint",
    "values_sha256",
]
