"""The way through a model, counted from its graph, against the activations that ONNX Runtime really makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from domino_onnx.forecast.backward import SAME_NUMBERS
from domino_onnx.forecast.layers import walk_through
from domino_onnx.options import CompressOptions, DataOptions
from domino_onnx.reconstruction import Network
from domino_onnx.runtime import Session
from domino_onnx.stages import Journal, open_laboratory, read


def _made_of_a_sample(path: Path, inputs: dict[str, Any]) -> int:
    """Numbers in the outputs of all nodes, as ONNX Runtime makes them, but for those that other shapes hold again."""
    model = onnx.load(path)
    nodes = [node for node in model.graph.node if node.op_type not in ("Constant", *SAME_NUMBERS)]
    names = [name for node in nodes for name in node.output]
    known = {value.name for value in model.graph.output}
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names if name not in known)
    outputs = Session(model.SerializeToString(), device="cpu").run(inputs)
    return sum(outputs[name].size for name in names)


@pytest.mark.parametrize("name", ["digits_resnet", "digits_transformer"])
def test_sizes_are_those_of_a_real_run(name: str, samples: Path) -> None:
    options = CompressOptions(data=DataOptions(calibration=samples / "digits_calibration.npz"))
    source = read(samples / f"{name}.onnx", options, Journal(), "prune")
    lab = open_laboratory(source, options, Journal())
    assert source.split is not None
    fit = source.split.fit.subset(np.arange(4))
    network = Network(source.file, lab.aim.inventory, fit, batch_size=4)
    walk = walk_through(source.file, lab.aim.inventory, source.table)

    assert [layer.site.key for layer in walk.layers] == [start.reached.site.key for start in network.starts]
    (live,) = network.begin(network.scratch())
    most = 0
    for layer, start in zip(walk.layers, network.starts, strict=True):
        assert (layer.blocks, layer.outputs, layer.features) == start.reached.shape
        most = max(most, sum(value.size for value in live.values()))
        assert layer.read == live[start.use.data].size // 4
        live, made = network.pass_start(start, live)
        assert layer.positions == start.view.positions(made[start.use.output]) // 4
    assert walk.live == pytest.approx(most / 4, rel=0.02)  # constants of shapes are live too
    assert walk.made == pytest.approx(_made_of_a_sample(source.path, fit.take(np.arange(4))) / 4, rel=0.02)
    assert walk.piece >= max(layer.positions * layer.blocks * layer.outputs for layer in walk.layers)
