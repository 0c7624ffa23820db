"""Do TensorRT-RTX and Polygraphy take what `--target tensorrt` writes? No GPU is needed: the builder works without.

usage: DOMINO_ONNX_SHARED=FOLDER python benchmarks/tensorrt.py [MODEL...] [--python INTERPRETER]

INTERPRETER is a Python with tensorrt-rtx and Polygraphy, if this one hasn't them. Every model of FOLDER/models and of
sample_models/ is parsed and built as it is, and pruned without data at each budget: parsed, built with the flag for
sparse weights, and shown to `polygraphy inspect sparsity`. The fours of its weights are counted here, by code of its
own. Rows go to benchmarks/results/tensorrt.json.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
from accuracy import commit, execute, shared_folder, toml
from numpy.typing import NDArray
from rows import RESULTS, Results, machine

BUDGETS = (0.5, 0.75, 0.875)
SECONDS = 900
UNKNOWN = (64, 512, 1)
"""What an unknown size may be, tried in turn; the first axis is taken to be 1."""

BUILD = """
import json, sys, time
import tensorrt_rtx as trt

class Errors(trt.ILogger):
    def __init__(self):
        trt.ILogger.__init__(self)
        self.said = []

    def log(self, severity, message):
        if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
            self.said.append(message)

def build(path, sparse, size):
    logger = Errors()
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(path):
        return dict(parsed=False, why=parser.get_error(0).desc()[:300])
    config = builder.create_builder_config()
    if sparse:
        config.set_flag(trt.BuilderFlag.SPARSE_WEIGHTS)
    profile = builder.create_optimization_profile()
    for place in range(network.num_inputs):
        tensor = network.get_input(place)
        names = [tensor.get_dimension_name(axis) or "" for axis in range(len(tensor.shape))]
        single = [axis == 0 or "batch" in name.lower() for axis, name in enumerate(names)]
        shape = [(1 if one else size) if length < 0 else length for one, length in zip(single, tensor.shape)]
        if -1 in tuple(tensor.shape):
            profile.set_shape(tensor.name, shape, shape, shape)
    config.add_optimization_profile(profile)
    start = time.perf_counter()
    engine = builder.build_serialized_network(network, config)
    seconds = round(time.perf_counter() - start, 1)
    why = {} if engine is not None else {"why": " ".join(logger.said)[:300]}
    return dict(parsed=True, built=engine is not None, size=size, seconds=seconds, **why)

path, sparse, *sizes = sys.argv[1:]
for size in map(int, sizes):
    found = build(path, sparse == "sparse", size)
    if found.get("built") or not found["parsed"]:
        break
print(json.dumps(dict(found, version=trt.__version__)))
"""

Row = dict[str, Any]


def built(path: Path, python: str, *, sparse: bool) -> Row:
    """What TensorRT-RTX's parser and ahead-of-time builder say, in a process of its own."""
    words = [str(path), "sparse" if sparse else "dense", *map(str, UNKNOWN)]
    try:
        done = subprocess.run(
            [python, "-I", "-c", BUILD, *words], capture_output=True, text=True, check=False, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        return {"built": False, "why": f"took longer than {SECONDS} s"}
    if done.returncode != 0:
        return {"built": False, "why": done.stderr.strip()[-300:] or f"exit code {done.returncode}"}
    found: Row = json.loads(done.stdout.splitlines()[-1])
    return found


def polygraphy(path: Path, python: str) -> dict[str, bool]:
    """Weight to whether `polygraphy inspect sparsity` finds it 2:4."""
    program = [str(Path(python).with_name("polygraphy")), "inspect", "sparsity", str(path)]
    done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=SECONDS)
    found = re.findall(r"Found (non-)?sparse tensor: (.*)", done.stdout + done.stderr)
    return {name.strip(): not non for non, name in found}


def broken_fours(model: onnx.ModelProto) -> dict[str, int]:
    """Of every weight that sparse kernels can take, and that is pruned: how many fours hold more than two non-zeros."""
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            stored[node.output[0]] = onnx.numpy_helper.to_array(node.attribute[0].t)
    found = {}
    for node in model.graph.node:
        attributes = {attribute.name: attribute.i for attribute in node.attribute}
        weight = stored.get(node.input[1]) if len(node.input) > 1 else None
        if weight is None:
            continue
        rows: NDArray[Any]
        if node.op_type == "Conv" and attributes.get("group", 1) == 1:
            rows, outputs = np.moveaxis(weight, 1, -1), weight.shape[0]
        elif node.op_type == "Gemm" or (node.op_type == "MatMul" and weight.ndim >= 2):
            transposed = bool(attributes.get("transB", 0))
            rows, outputs = (weight, weight.shape[0]) if transposed else (weight.swapaxes(-1, -2), weight.shape[-1])
        else:
            continue
        if outputs >= 16 and rows.shape[-1] >= 16 and rows.shape[-1] % 16 == 0 and (rows == 0).mean() > 0.1:
            fours = (rows != 0).reshape(-1, 4).sum(axis=1)
            found[node.input[1]] = int((fours > 2).sum())
    return found


def pruned(model: Path, budget: float, strategy: str, python: str) -> Row:
    """One row: the model at one budget."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "out.onnx"
        words = ["compress", str(model), "-o", str(output), "--json", "--quiet", "--no-finetune"]
        recipe = Path(folder) / "recipe.toml"
        recipe.write_text(toml({"search": {"strategy": strategy}}), encoding="utf-8")
        words += ["--sparsity", str(budget), "--recipe", str(recipe), "--target", "tensorrt", "--threads", "1"]
        done = execute(words, 1)
        if done.returncode != 0:
            return {"failed": done.stderr.strip()[-300:]}
        fours, verdict = broken_fours(onnx.load(output)), polygraphy(output, python)
        return {
            "sparsity": round(json.loads(done.stdout)["sparsity"], 6),
            "weights": len(fours),
            "broken_fours": sum(fours.values()),
            "doctor": execute(["doctor", str(output), "--strict", "--quiet"], 1).returncode,
            "verify": execute(["verify", str(output), "--quiet"], 1).returncode,
            "polygraphy_sparse": sum(verdict.get(name, False) for name in fours),
            "polygraphy_not_sparse": sorted(name for name in fours if verdict.get(name) is False),
            "polygraphy_not_seen": sorted(name for name in fours if name not in verdict),
            "engine": built(output, python, sparse=True),
        }


@click.command()
@click.argument("names", nargs=-1)
@click.option("--python", default=sys.executable, help="A Python that has tensorrt-rtx and Polygraphy.")
@click.option(
    "--strategy", default="uniform", show_default=True, help="One that needs no data: uniform, erk or domino."
)
@click.option("--force", is_flag=True, help="Measure again what is in the results.")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, help="Folder of the results.")
def main(names: tuple[str, ...], python: str, strategy: str, force: bool, results: Path) -> None:
    shared = shared_folder()
    samples = Path(__file__).parents[1] / "sample_models"
    models = sorted([*(shared / "models").glob("*.onnx"), *samples.glob("*.onnx")])
    kept = Results(results / "tensorrt.json", {"target": "tensorrt", "machine": machine()})
    for model in models:
        if names and model.stem not in names:
            continue
        for budget in (0.0, *BUDGETS):
            case = {"model": model.stem, "budget": budget, "strategy": strategy if budget else None}
            if not force and kept.has(case):
                continue
            row = pruned(model, budget, strategy, python) if budget else {"engine": built(model, python, sparse=False)}
            kept.put({"case": case, "commit": commit(), **row})
            print(json.dumps({"case": case, **row}), flush=True)


if __name__ == "__main__":
    main()
