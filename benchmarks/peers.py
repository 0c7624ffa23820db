"""Another tool on the same networks and the same calibration data: onnxsim's pruning, at one scheme everywhere.

usage: DOMINO_ONNX_SHARED=FOLDER python benchmarks/peers.py NETWORK... --cache CACHE [--python INTERPRETER]

INTERPRETER is a Python with onnxsim 0.8.1 or later (and ONNX Runtime), if this one hasn't them. It runs in a process of
its own, on the data that benchmarks/accuracy.py gives to this package, and its files are scored as ours are. Beside its
rows stands one of this package with the same scheme everywhere. Rows go to benchmarks/results/NETWORK.peers.json.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
from accuracy import commit, execute, header, shared_folder
from checking import check, share_of_zeros
from networks import NETWORKS, Prepared, prepare, score
from rows import RESULTS, Results

METHODS = ("magnitude", "wanda", "sparsegpt")
SCHEMES = ("2:4", "4:16")

PRUNE = """
import json, resource, sys, time
import numpy as np, onnx, onnxsim
method, model, data, output, n, m, batch = sys.argv[1:]
with np.load(data) as archive:
    arrays = dict(archive)
count, batch = len(next(iter(arrays.values()))), int(batch)
feeds = [{key: value[i:i + batch] for key, value in arrays.items()} for i in range(0, count, batch)]
start = time.perf_counter()
options = dict(n=int(n), m=int(m))
if method != "magnitude":
    options |= dict(calibration_data=feeds, num_samples=len(feeds))
pruned = getattr(onnxsim, f"apply_{method}_pruning")(model, **options)
seconds = time.perf_counter() - start
onnx.save(pruned, output)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps(dict(seconds=round(seconds, 3), peak_rss_bytes=peak, version=onnxsim.__version__)))
"""

Row = dict[str, Any]


def peer(case: dict[str, Any], prepared: Prepared, python: str) -> Row:
    """One row of the other tool."""
    n, m = case["scheme"].split(":")
    batch = str(prepared.network.batch_size)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "out.onnx"
        words = [case["method"], str(prepared.model), str(prepared.data), str(output), n, m, batch]
        program = ["sh", "-c", '"$@"; exit $?', "sh", python, "-c", PRUNE, *words]
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


def ours(case: dict[str, Any], prepared: Prepared) -> Row:
    """One row of this package, with the same scheme everywhere."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "out.onnx"
        words = ["compress", str(prepared.model), "-o", str(output), "--json", "--quiet", "--no-recover"]
        words += ["--scheme", case["scheme"], "--solver", case["method"], "--data", str(prepared.data)]
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
@click.option("--python", default=sys.executable, help="A Python that has onnxsim.")
@click.option("--method", "methods", type=click.Choice(METHODS), multiple=True, default=METHODS)
@click.option("--scheme", "schemes", type=click.Choice(SCHEMES), multiple=True, default=SCHEMES)
@click.option("--force", is_flag=True, help="Measure again what is in the results.")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, help="Folder of the results.")
def main(
    names: tuple[str, ...],
    cache: Path,
    python: str,
    methods: tuple[str, ...],
    schemes: tuple[str, ...],
    force: bool,
    results: Path,
) -> None:
    shared = shared_folder()
    for name in names:
        prepared = prepare(name, shared, cache)
        kept = Results(results / f"{name}.peers.json", header(name, prepared, score(prepared, prepared.model)))
        wanted = [{"tool": "onnxsim", "method": method, "scheme": scheme} for scheme in schemes for method in methods]
        wanted += [{"tool": "domino-onnx", "method": "refit", "scheme": scheme} for scheme in schemes]
        for case in wanted:
            if force or not kept.has(case):
                row = peer(case, prepared, python) if case["tool"] == "onnxsim" else ours(case, prepared)
                kept.put(row)
                print(name, row.get("score", row.get("failed")), case, row.get("seconds"), flush=True)


if __name__ == "__main__":
    main()
