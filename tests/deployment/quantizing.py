"""Files as ONNX Runtime quantises them, and what they say: its run of them without any optimisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import ModelProto

from domino_onnx.deployment import Layer, find_layers, open_graph, rewritten_graph

Arrays = Mapping[str, np.ndarray]


def quantized(model: ModelProto, samples: Sequence[Arrays], folder: Path, **options: Any) -> ModelProto:
    """What `quantize_static` writes: by default weights by channel, and unsigned activations."""
    from onnxruntime import quantization as q

    class Reader(q.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = list(samples)

        def get_next(self) -> Any:
            return self.left.pop() if self.left else None

    folder.mkdir(exist_ok=True)
    onnx.save(model, folder / "floats.onnx")
    usual = {"per_channel": True, "weight_type": q.QuantType.QInt8, "activation_type": q.QuantType.QUInt8}
    q.quantize_static(folder / "floats.onnx", folder / "bytes.onnx", Reader(), **{**usual, **options})
    return onnx.load(folder / "bytes.onnx")


def told(model: ModelProto, inputs: Arrays, names: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """The model's outputs, and activations by their names, by ONNX Runtime's operators as they are in the file."""
    import domino_onnx_kernels

    shown = ModelProto()
    shown.CopyFrom(model)
    outputs = {value.name for value in model.graph.output}
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in outputs)
    options = ort.SessionOptions()
    options.register_custom_ops_library(domino_onnx_kernels.library_path())
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(shown.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = session.run(None, dict(inputs))
    return {value.name: array for value, array in zip(session.get_outputs(), found, strict=True)}


def shapes_of(model: ModelProto, inputs: Arrays) -> dict[str, tuple[int, ...]]:
    """Of all float32 activations."""
    names = [name for node in model.graph.node for name in node.output]
    seen = {**told(model, inputs, names), **inputs}
    return {name: value.shape for name, value in seen.items() if value.dtype == np.float32}


def deployed_in_bytes(
    model: ModelProto, inputs: Arrays, only: str | None = None
) -> tuple[ModelProto, list[Layer], list[str]]:
    """The model with all of its quantised layers deployed, or the one with a name; these; and why others aren't."""
    shapes, graph = shapes_of(model, inputs), open_graph(model)
    layers, kept = find_layers(graph, shapes)
    taken = [layer for layer in layers if layer.file is not None and only in (None, layer.name)]
    changed = rewritten_graph(model, graph, dict.fromkeys(taken, "quantized"), {}, shapes)
    return changed, taken, [each.reason for each in kept]
