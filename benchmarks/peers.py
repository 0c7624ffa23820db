"""Other tools on the same networks and the same calibration data, at one scheme everywhere: onnxsim and ModelOpt.

usage: DOMINO_ONNX_SHARED=FOLDER python benchmarks/peers.py NETWORK... --cache CACHE [--TOOL PYTHON]...

TOOL is onnxsim (0.8.1 or later) or modelopt (nvidia-modelopt, 0.47 or later), PYTHON an interpreter that has it and
onnx; ModelOpt also imports requests and huggingface_hub, without requiring them. A tool that isn't named isn't
measured. It runs in a process of its own, on the data that benchmarks/accuracy.py gives to this package, and its files
are scored as ours are. ModelOpt prunes torch modules, so it gets ResNet-20 alone. Next to their rows is one of this
package with the same scheme everywhere. Rows go to benchmarks/results/NETWORK.peers.json.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
from accuracy import commit, execute, header, shared_folder, toml
from checking import check, share_of_zeros
from networks import NETWORKS, Prepared, prepare, score
from rows import RESULTS, Results

PRUNING = Path(__file__).parent / "other_tools.py"
METHODS = {
    "onnxsim": ("magnitude", "wanda", "sparsegpt"),
    "modelopt": ("magnitude", "sparsegpt"),
    "domino-onnx": ("refit",),
}
SCHEMES = {"onnxsim": ("2:4", "4:16"), "modelopt": ("2:4",), "domino-onnx": ("2:4", "4:16")}
IN_TORCH = "resnet20_cifar10jpg"

Row = dict[str, Any]


def cases(name: str, tools: Iterable[str]) -> list[dict[str, str]]:
    """What is measured of a network: each scheme by each method of each of the `tools` that can prune it."""
    return [
        {"tool": tool, "method": method, "scheme": scheme}
        for tool in tools
        if tool != "modelopt" or name == IN_TORCH
        for scheme in SCHEMES[tool]
        for method in METHODS[tool]
    ]


def peer(case: dict[str, str], prepared: Prepared, python: str) -> Row:
    """One row of another tool."""
    n, m = case["scheme"].split(":")
    batch = str(prepared.network.batch_size)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "out.onnx"
        words = [case["tool"], case["method"], str(prepared.model), str(prepared.data), str(output), n, m, batch]
        program = ["sh", "-c", '"$@"; exit $?', "sh", python, str(PRUNING), *words]
        done = subprocess.run(program, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return {"case": case, "failed": done.stderr.strip()[-500:]}
        told = json.loads(done.stdout.splitlines()[-1])
        return {
            "case": case,
            **told,
            "score": score(prepared, output),
            "sparsity": round(share_of_zeros(onnx.load(output)), 6),
            "groups_broken": round(broken_groups(output, int(n), int(m)), 4),
            "bytes": output.stat().st_size,
            "bytes_dense": prepared.model.stat().st_size,
        }


def broken_groups(path: Path, n: int, m: int) -> float:
    """Share of the groups of M input channels, in pruned weights of Conv nodes, that hold more than N weights."""
    model = onnx.load(path)
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    groups = bad = 0
    for node in model.graph.node:
        weight = tensors.get(node.input[1]) if node.op_type == "Conv" else None
        if weight is None or weight.shape[1] % m or not (weight == 0).any():
            continue
        kept = np.count_nonzero(np.moveaxis(weight, 1, -1).reshape(-1, m), axis=1)
        groups, bad = groups + len(kept), bad + int((kept > n).sum())
    return bad / groups if groups else 0.0


def ours(case: dict[str, str], prepared: Prepared) -> Row:
    """One row of this package, with the same scheme everywhere."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "out.onnx"
        words = ["compress", str(prepared.model), "-o", str(output), "--json", "--quiet", "--no-finetune"]
        recipe = Path(folder) / "recipe.toml"
        recipe.write_text(toml({"solver": {"method": case["method"]}}), encoding="utf-8")
        words += ["--scheme", case["scheme"], "--recipe", str(recipe), "--data", str(prepared.data)]
        words += ["--threads", "1", "--batch-size", str(prepared.network.batch_size)]
        done = execute(words, 1)
        row: Row = {"case": case, "commit": commit()}
        if done.returncode != 0:
            return {**row, "failed": done.stderr.strip()[-500:]}
        document = json.loads(done.stdout)
        return {
            **row,
            "seconds": round(document["seconds"].get("refit", 0.0), 3),
            "peak_rss_bytes": document["peak_rss_bytes"],
            "score": score(prepared, output),
            "check": check(prepared.model, output, document["sites"]),
            "sparsity": document["sparsity"],
            "groups_broken": round(broken_groups(output, *map(int, case["scheme"].split(":"))), 4),
            "bytes": output.stat().st_size,
            "bytes_dense": prepared.model.stat().st_size,
        }


@click.command()
@click.argument("names", type=click.Choice(list(NETWORKS)), nargs=-1, required=True)
@click.option("--cache", type=click.Path(path_type=Path), required=True, help="Where prepared data are kept.")
@click.option("--onnxsim", help="A Python that has onnxsim.")
@click.option("--modelopt", help="A Python that has nvidia-modelopt.")
@click.option("--force", is_flag=True, help="Measure again what is in the results.")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, help="Folder of the results.")
def main(
    names: tuple[str, ...], cache: Path, onnxsim: str | None, modelopt: str | None, force: bool, results: Path
) -> None:
    shared = shared_folder()
    pythons = {tool: python for tool, python in {"onnxsim": onnxsim, "modelopt": modelopt}.items() if python}
    for name in names:
        prepared = prepare(name, shared, cache)
        kept = Results(results / f"{name}.peers.json", header(name, prepared, score(prepared, prepared.model)))
        for case in cases(name, [*pythons, "domino-onnx"]):
            if force or not kept.has(case):
                python = pythons.get(case["tool"])
                row = peer(case, prepared, python) if python else ours(case, prepared)
                kept.put(row)
                print(name, row.get("score", row.get("failed")), case, row.get("seconds"), flush=True)


if __name__ == "__main__":
    main()
