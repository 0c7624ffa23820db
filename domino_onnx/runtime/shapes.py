"""Shapes that inference can't know (a Reshape to a computed shape), seen by running the model once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray
from onnx import ModelProto

from domino_onnx.graph import OnnxFile, Shape, ShapeTable, with_outputs
from domino_onnx.runtime.child_session import ChildSession

__all__ = ["observe_shapes"]

_COUNTED = {"Conv": "output", "ConvTranspose": "input", "Gemm": "output", "MatMul": "output"}
_SECONDS = 60.0


def observe_shapes(file: OnnxFile, table: ShapeTable, inputs: Mapping[str, NDArray[Any]]) -> ShapeTable:
    """`table` with the shapes that the MACs of the main graph still lack, from one run of ONNX Runtime.

    Nothing is observed in models of over 1 GiB, or with external data: the run needs a copy of the model.

    Raises
    ------
    ModelError
        If ONNX Runtime can't run the model.
    """
    lacking = _lacking(file.proto, table)
    shown = with_outputs(file, lacking) if lacking else None
    if shown is None:
        return table
    with ChildSession(shown, lean=True) as session:
        outputs = session.run(inputs, seconds=_SECONDS)
    seen: dict[tuple[tuple[str, ...], str], Shape] = {((), name): tuple(outputs[name].shape) for name in lacking}
    return {**table, **seen}


def _lacking(model: ModelProto, table: ShapeTable) -> list[str]:
    names = (
        getattr(node, _COUNTED[node.op_type])[0]
        for node in model.graph.node
        if node.op_type in _COUNTED and node.input and node.output
    )
    return [name for name in dict.fromkeys(names) if None in table.get(((), name), (None,))]
