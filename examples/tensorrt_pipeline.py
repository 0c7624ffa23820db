#!/usr/bin/env python3
"""From a trained model to a file that TensorRT runs on sparse tensor cores.

onnx-graphsurgeon edits the graph, domino-onnx prunes it to 2:4 and stores it in half precision, `doctor` checks it.
Where TensorRT is installed, an engine is built, and its log says which layers run sparse.

    python examples/tensorrt_pipeline.py model.onnx calibration.npz fast.onnx
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

import onnx
import onnx_graphsurgeon as gs

import domino_onnx


def without_identities(graph: Any) -> Any:
    """An edit that pipelines make: Identity nodes go, and what they leave behind is tidied up."""
    for node in list(graph.nodes):
        if node.op == "Identity" and node.outputs[0] not in graph.outputs:
            for consumer in list(node.outputs[0].outputs):
                consumer.inputs = [node.inputs[0] if each is node.outputs[0] else each for each in consumer.inputs]
    return graph.cleanup().toposort()


def build(model: onnx.ModelProto) -> bytes | None:
    """A serialized engine; None where TensorRT isn't installed."""
    try:
        trt = importlib.import_module("tensorrt")
    except ImportError:
        return None
    logger = trt.Logger(trt.Logger.VERBOSE)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model.SerializeToString()):
        raise SystemExit(f"TensorRT can't read the model: {parser.get_error(0)}")
    config = builder.create_builder_config()
    config.set_flag(trt.BuilderFlag.SPARSE_WEIGHTS)
    return bytes(builder.build_serialized_network(network, config))


def main() -> int:
    """Run it: 0 done, 3 if no weight can run sparse."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path, help="calibration samples, as domino-onnx takes them")
    parser.add_argument("output", type=Path)
    given = parser.parse_args()

    graph = without_identities(gs.import_onnx(onnx.load(given.model)))
    pruned = domino_onnx.compress(graph, scheme="2:4", target="tensorrt", data=given.data, finetune=False)
    print(f"pruned: {pruned!r}")
    half = domino_onnx.convert(pruned, precision="fp16")
    checked = domino_onnx.doctor(half)
    print(f"checked: {checked!r}")
    saved = half.save(given.output, force=True)
    print(f"saved: {saved}, {half.nbytes_before:,} -> {half.nbytes:,} bytes")
    engine = build(half.model)
    print("TensorRT isn't installed: no engine" if engine is None else f"engine: {len(engine):,} bytes")
    return 0 if checked.passes else domino_onnx.errors.CheckFailed.exit_code


if __name__ == "__main__":
    sys.exit(main())
