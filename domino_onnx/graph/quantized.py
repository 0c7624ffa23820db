"""Weights that are stored as 8-bit integers behind DequantizeLinear: where their zeros are, for whoever judges them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import NodeProto, TensorProto

from domino_onnx.graph.index import Derived, GraphIndex, Scope, Stored, Use
from domino_onnx.graph.inventory import PRUNABLE, operator_of, use_layout, use_site
from domino_onnx.graph.read import OnnxFile
from domino_onnx.scheme import SchemePool, Site, WeightKey

__all__ = ["quantized_sites"]


def quantized_sites(file: OnnxFile, pool: SchemePool) -> tuple[Site, ...]:
    """The int8 weights whose DequantizeLinear Conv, ConvTranspose, Gemm or MatMul reads, as sites to be looked at.

    Only symmetric ones, whose zero points are all 0 or absent: of others a zero is no zero. Weights that consumers sum
    over differently are left out.

    Raises
    ------
    ModelError
        If a weight can't be read.
    """
    index = GraphIndex(file.proto)
    found: dict[WeightKey, Site | None] = {}
    for use, stored in _reads(index, file):
        layout = use_layout(use, stored, operator_of(use))
        if layout is None:
            continue
        site = use_site(use, stored, layout, file.array(stored.tensor), pool)
        known = found.setdefault(stored.key, site)
        if known is not None and known.layout != layout:
            found[stored.key] = None
    return tuple(site for site in found.values() if site is not None)


def _reads(index: GraphIndex, file: OnnxFile) -> Iterator[tuple[Use, Stored]]:
    for use in index.uses():
        if use.node is None or use.position not in PRUNABLE.get(operator_of(use), ()):
            continue
        if not isinstance(index.value(use), Derived):
            continue
        found = use.scope.locate(use.node.input[use.position])
        node = None if found is None else _past_casts(*found)
        if node is None:
            continue
        scope, maker = node
        stored = index.trace(scope, maker.input[0]) if maker.op_type == "DequantizeLinear" else None
        if isinstance(stored, Stored) and _is_symmetric(index, scope, maker, stored, file):
            yield use, stored


def _past_casts(scope: Scope, name: str) -> tuple[Scope, NodeProto] | None:
    """The node that makes a value, but for casts."""
    while name in scope.producers:
        node = scope.nodes[scope.producers[name]]
        if node.op_type != "Cast":
            return scope, node
        found = scope.locate(node.input[0])
        if found is None:
            return None
        scope, name = found
    return None


def _is_symmetric(index: GraphIndex, scope: Scope, node: NodeProto, stored: Stored, file: OnnxFile) -> bool:
    if stored.tensor.data_type != TensorProto.INT8:
        return False
    if len(node.input) < 3 or not node.input[2]:
        return True
    zero_point = index.trace(scope, node.input[2])
    return isinstance(zero_point, Stored) and not np.any(file.array(zero_point.tensor))
