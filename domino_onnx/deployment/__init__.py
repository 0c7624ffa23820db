"""How does a pruned model run faster on the CPU: which layers become operators that skip zeros, and what is gained?"""

from domino_onnx.deployment.alone import with_activations
from domino_onnx.deployment.attention import with_attention
from domino_onnx.deployment.grids import KEPT_SHARES, Grid, Ranges, seen_ranges
from domino_onnx.deployment.latency import Latency, clock_for, measure
from domino_onnx.deployment.layer import Kept, Layer
from domino_onnx.deployment.layers import find_layers
from domino_onnx.deployment.means import InputMeans
from domino_onnx.deployment.operators import Kind
from domino_onnx.deployment.rewrite import rewritten_graph
from domino_onnx.deployment.surgeon import exported, open_graph, require_surgeon
from domino_onnx.deployment.timing import Seconds, time_layer

__all__ = [
    "KEPT_SHARES",
    "Grid",
    "InputMeans",
    "Kept",
    "Kind",
    "Latency",
    "Layer",
    "Ranges",
    "Seconds",
    "clock_for",
    "exported",
    "find_layers",
    "measure",
    "open_graph",
    "require_surgeon",
    "rewritten_graph",
    "seen_ranges",
    "time_layer",
    "with_activations",
    "with_attention",
]
