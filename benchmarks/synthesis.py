"""What is left of a network that was searched and refitted on drawn inputs, without finetuning.

usage: DOMINO_ONNX_SHARED=FOLDER OMP_NUM_THREADS=1 python benchmarks/synthesis.py NETWORK... [--count 1024]
       [--sparsity 0.5 0.75] [--seed 0]

FOLDER holds models/NETWORK.onnx and harness/score.py. The inputs are prepared as the program guesses.
Rows go to results/synthesis.json; a row that is there isn't measured again. accuracy.py measures on real images.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from rows import RESULTS, Results, machine

from domino_onnx.data import input_specs
from domino_onnx.graph import read_model
from domino_onnx.runtime import Session
from domino_onnx.synthesis import open_synthesis

Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="+", help="names without .onnx")
    parser.add_argument("--sparsity", nargs="+", type=float, default=[0.5, 0.75, 0.875])
    parser.add_argument("--count", type=int, default=1024)
    parser.add_argument("--seed", nargs="+", type=int, default=[0])
    given = parser.parse_args()
    shared = Path(os.environ["DOMINO_ONNX_SHARED"])
    results = Results(RESULTS / "synthesis.json", {"machine": machine()})
    for network in given.networks:
        for seed in given.seed:
            case = {"network": network, "count": given.count, "seed": seed}
            missing = [each for each in given.sparsity if not results.has({**case, "sparsity": each})]
            for row in measured(shared, case, missing) if missing else ():
                print(json.dumps(row), flush=True)
                results.put(row)


def measured(shared: Path, case: Row, sparsities: list[float]) -> list[Row]:
    """One row a sparsity, all from the same drawn inputs."""
    model = shared / "models" / f"{case['network']}.onnx"
    file = read_model(model)
    start = time.perf_counter()
    synthesis = open_synthesis(file, input_specs(file.proto), seed=case["seed"], run=Session(model, threads=1).run)
    opened = time.perf_counter()
    inputs = synthesis.take(np.arange(case["count"]))
    seconds = {"open": round(opened - start, 1), "draw": round(time.perf_counter() - opened, 1)}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "drawn.npz"
        np.savez(data, **inputs)  # type: ignore[arg-type]
        del inputs
        return [
            {
                "case": {**case, "sparsity": sparsity},
                "inputs": synthesis.lines,
                "seconds": seconds,
                "score": score(shared, model, data, sparsity, Path(folder) / "out.onnx"),
            }
            for sparsity in sparsities
        ]


def score(shared: Path, model: Path, data: Path, sparsity: float, output: Path) -> dict[str, float]:
    """Top-1 of the pruned network on each set that fits it."""
    program = [sys.executable, "-m", "domino_onnx", "compress", str(model), "--data", str(data), "-o", str(output)]
    options = ["--sparsity", str(sparsity), "--no-finetune", "--threads", "1", "--force", "--quiet", "--json"]
    subprocess.run([*program, *options], check=True, capture_output=True)
    judge = [sys.executable, str(shared / "harness" / "score.py"), str(output), "--as", model.stem]
    said = subprocess.run(judge, check=True, capture_output=True, text=True).stdout
    words = [line.split() for line in said.splitlines()]
    return {line[1]: float(line[3]) for line in words}


if __name__ == "__main__":
    main()
