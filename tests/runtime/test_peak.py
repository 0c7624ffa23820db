"""The memory that a run's largest process had, whichever that was."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peaks of children are told on Linux")

MIB = 1 << 20
SCRIPT = """
import subprocess, sys
from pathlib import Path
import numpy as np
from domino_onnx.runtime import ChildSession, peak_memory

told = [peak_memory()]
with ChildSession(Path(sys.argv[1]), threads=1) as session:
    session.run({"x": np.ones((1, 8), np.float32)})
    told.append(peak_memory())
told.append(peak_memory())
subprocess.run([sys.executable, "-c", "bytearray(600 << 20)"], check=True)
told.append(peak_memory())
own = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(own.split()[1]) * 1024, *told)
"""


def test_children_count_while_they_run_and_afterwards(
    make_model: Callable[..., onnx.ModelProto], save: Callable[..., Path]
) -> None:
    """A child that is kept fills 256 MiB with two tensors; one that ends takes 600 MiB; this process takes less."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Mul", ["shape", "many"], ["wide"]),
        helper.make_node("ConstantOfShape", ["wide"], ["zeros"]),
        helper.make_node("Exp", ["zeros"], ["ones"]),
        helper.make_node("ReduceSum", ["ones"], ["y"], keepdims=0),
    ]
    model = save(make_model(nodes, {"x": ["n", 8]}, {"y": []}, {"many": np.array([1 << 13, 1 << 9])}))
    ran = subprocess.run([sys.executable, "-c", SCRIPT, str(model)], capture_output=True, text=True, check=True)
    own, before, running, kept, ended = (int(word) / MIB for word in ran.stdout.split())
    assert max(before, own) < 128
    assert all(256 <= peak < 500 for peak in (running, kept))
    assert 600 <= ended < 900
