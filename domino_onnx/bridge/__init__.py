"""An ONNX graph evaluated in torch, with its initializers as parameters under their own names.

::

    module = build(onnx.load("model.onnx"))
    module.weights[WeightKey("conv1.weight")].requires_grad_(True)
    module({"input": images})["logits"].sum().backward()

Nothing is ever exported from torch: a trained weight goes back to the initializer it came from. Before a
build, :func:`missing_operators` says what has no torch counterpart; after it, :func:`check_parity` says how
close the module comes to ONNX Runtime.
"""

from domino_onnx.bridge.missing import missing_operators
from domino_onnx.bridge.module import GraphModule, build
from domino_onnx.bridge.parity import BridgeParity, check_parity

__all__ = ["BridgeParity", "GraphModule", "build", "check_parity", "missing_operators"]
