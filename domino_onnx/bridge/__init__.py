"""An ONNX graph evaluated in torch, with its initializers as parameters under their own names.

::

    module = build(onnx.load("model.onnx"))
    module.weights[WeightKey("conv1.weight")].requires_grad_(True)
    module({"input": images})["logits"].sum().backward()

Nothing is ever exported from torch: a trained weight goes back to the initializer it came from. Before a
build, :func:`missing_operators` says what has no torch counterpart; after it, :func:`prove_parity` says how
close the module comes to ONNX Runtime, and :func:`first_difference` where it goes wrong if it does.
"""

from domino_onnx.bridge.missing import missing_operators
from domino_onnx.bridge.module import GraphModule, build
from domino_onnx.bridge.parity import (
    BridgeParity,
    FirstDifference,
    check_parity,
    first_difference,
    mismatch,
    prove_parity,
)
from domino_onnx.bridge.readiness import Readiness, check_readiness

__all__ = [
    "BridgeParity",
    "FirstDifference",
    "GraphModule",
    "Readiness",
    "build",
    "check_parity",
    "check_readiness",
    "first_difference",
    "mismatch",
    "missing_operators",
    "prove_parity",
]
