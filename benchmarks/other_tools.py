"""Prune an ONNX file with another tool; peers.py runs this in an interpreter that has the tool.

usage: python benchmarks/other_tools.py TOOL METHOD MODEL DATA OUTPUT N M BATCH

The last line printed is JSON: the seconds of the tool's own call, the process's peak of memory, the tool's version.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")
Batches = list[dict[str, np.ndarray]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to prune, and how; `batches` are calibration inputs by name."""

    method: str
    model: Path
    output: Path
    n: int
    m: int
    batches: Batches


def onnxsim(job: Job) -> tuple[float, str]:
    """ONNX in, ONNX out, any scheme."""
    import onnx
    import onnxsim

    options: dict[str, Any] = {"n": job.n, "m": job.m}
    if job.method != "magnitude":
        options |= {"calibration_data": job.batches, "num_samples": len(job.batches)}
    prune = getattr(onnxsim, f"apply_{job.method}_pruning")
    pruned, seconds = timed(lambda: prune(str(job.model), **options))
    onnx.save(pruned, job.output)
    return seconds, onnxsim.__version__


def modelopt(job: Job) -> tuple[float, str]:
    """NVIDIA's Model Optimizer prunes torch modules, to 2:4 only: ResNet-20 as a class, and back into its file."""
    import modelopt
    import torch
    from modelopt.torch import sparsity
    from resnet20 import read_weights, write_weights

    torch.set_num_threads(1)
    network = read_weights(job.model).eval()
    mode = {"magnitude": "sparse_magnitude", "sparsegpt": "sparsegpt"}[job.method]
    images = [torch.from_numpy(array) for batch in job.batches for array in batch.values()]
    options = {"data_loader": images, "collect_func": lambda batch: batch}
    pruned, seconds = timed(lambda: sparsity.export(sparsity.sparsify(network, mode, options)))
    write_weights(pruned, job.model, job.output)
    return seconds, modelopt.__version__


TOOLS = {"onnxsim": onnxsim, "modelopt": modelopt}


def timed(call: Callable[[], T]) -> tuple[T, float]:
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


def in_batches(data: str, size: int) -> Batches:
    with np.load(data) as archive:
        arrays = dict(archive)
    count = len(next(iter(arrays.values())))
    return [{name: array[i : i + size] for name, array in arrays.items()} for i in range(0, count, size)]


def main() -> None:
    tool, method, model, data, output, n, m, batch = sys.argv[1:]
    batches = in_batches(data, int(batch))
    job = Job(method=method, model=Path(model), output=Path(output), n=int(n), m=int(m), batches=batches)
    seconds, version = TOOLS[tool](job)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": round(seconds, 3), "peak_rss_bytes": peak, "version": version}))


if __name__ == "__main__":
    main()
