"""Domains and opset versions as files write them."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

__all__ = ["canonical", "imports", "opset_of"]


def canonical(domain: str) -> str:
    """Return a domain's one name: `ai.onnx` is the standard domain, whose name is the empty string."""
    return "" if domain == "ai.onnx" else domain


def imports(source: onnx.ModelProto | onnx.FunctionProto) -> Mapping[str, int]:
    """Return the opset version of each domain that a model or a function imports."""
    return {canonical(entry.domain): entry.version for entry in source.opset_import}


def opset_of(node: onnx.NodeProto, opsets: Mapping[str, int]) -> int:
    """Return the opset that a node is meant in; a domain that isn't imported counts as version 1."""
    return opsets.get(canonical(node.domain), 1)
