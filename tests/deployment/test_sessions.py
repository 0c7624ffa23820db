"""Sessions of a deployed file with every operator in it: made and dropped many times, and run by several threads."""

from __future__ import annotations

import concurrent.futures
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper

from domino_onnx.deployment import Grid, find_layers, open_graph, rewritten_graph
from domino_onnx.pipeline import session

from .test_rewrite import normal, ops, sparse

Make = Callable[..., ModelProto]
_STATM = Path("/proc/self/statm")


@pytest.fixture
def deployed(make_model: Make) -> bytes:
    """Convolutions in bytes and in floats, products in bytes and in floats, a residual and activations."""
    node = helper.make_node
    model = make_model(
        [
            node("Conv", ["x", "w1"], ["a"], pads=[1, 1, 1, 1]),
            node("HardSwish", ["a"], ["h"]),
            node("Conv", ["h", "w2"], ["c"], pads=[1, 1, 1, 1]),
            node("Add", ["h", "c"], ["s"]),
            node("Conv", ["s", "w3"], ["d"]),
            node("Relu", ["d"], ["r"]),
            node("GlobalAveragePool", ["r"], ["p"]),
            node("Flatten", ["p"], ["f"]),
            node("Gemm", ["f", "w4", "b"], ["g"]),
            node("Sigmoid", ["g"], ["i"]),
            node("Mul", ["g", "i"], ["j"]),
            node("MatMul", ["j", "w5"], ["y"]),
        ],
        {"x": ("N", 32, "H", "W")},
        {"y": ("N", 16)},
        {
            "w1": sparse((32, 32, 3, 3), 1, 1),
            "w2": sparse((32, 32, 3, 3), 1, 2),
            "w3": sparse((48, 32, 1, 1), 1, 3),
            "w4": sparse((48, 64), 0, 4),
            "b": normal(64),
            "w5": sparse((64, 16), 0, 5),
        },
    )
    graph = open_graph(model)
    layers, _ = find_layers(graph, dict.fromkeys(("h", "c"), (2, 32, 9, 8)))
    kinds: Any = dict(zip(layers, ("int8", "int8", "float32", "int8", "float32"), strict=True))
    grids = {"x": Grid.of(-4, 4), "h": Grid.of(-1, 8), "s": Grid.of(-4, 9)}
    changed = rewritten_graph(model, graph, kinds, grids)
    expected = {"NmToBytes", "NmConvInt8", "NmToFloats", "NmConv", "NmMatMulInt8", "NmMatMul"}
    assert expected <= set(ops(changed))
    return bytes(changed.SerializeToString())


def _resident() -> int:
    gc.collect()
    return int(_STATM.read_text().split()[1]) * 4096


@pytest.mark.skipif(not _STATM.exists(), reason="only Linux tells how much memory a process holds")
def test_memory_stays_flat(deployed: bytes) -> None:
    """A thousand sessions took 8 KB here; a leak of a kilobyte in each of these would show."""
    x, held = normal(1, 32, 5, 4), []
    for count in (100, 300):
        for _ in range(count):
            session(deployed).run(None, {"x": x})  # type: ignore[arg-type]
        held.append(_resident())
    assert held[1] - held[0] < 256 << 10


def test_four_threads_run_one_session(deployed: bytes) -> None:
    """With inputs of different sizes, so that buffers of the threads grow at different times."""
    opened = session(deployed, threads=2)  # type: ignore[arg-type]
    inputs = [normal(1 + place % 3, 32, 3 + place % 9, 4 + place % 5) for place in range(24)]
    wanted = [opened.run(None, {"x": x})[0] for x in inputs]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda x: opened.run(None, {"x": x})[0], inputs * 6))
    for each, right in zip(found, wanted * 6, strict=True):
        np.testing.assert_array_equal(each, right)
