"""A model that shows its inner tensors, for a look in memory; it is never written."""

from __future__ import annotations

from collections.abc import Iterable

from onnx import ModelProto, ValueInfoProto

from domino_onnx.graph.io.read import OnnxFile

__all__ = ["probe"]

_MAX_BYTES = 1 << 30


def probe(file: OnnxFile, names: Iterable[str]) -> bytes | None:
    """The model with these tensors of its main graph among its outputs, after its own, serialised.

    None for a model of over 1 GiB, or with external data: looking takes copies of it.
    """
    if file.has_external_data or file.proto.ByteSize() > _MAX_BYTES:
        return None
    shown = ModelProto()
    shown.CopyFrom(file.proto)
    present = {value.name for value in shown.graph.output}
    shown.graph.output.extend(ValueInfoProto(name=name) for name in names if name not in present)
    return bytes(shown.SerializeToString())
