"""What `compress` predicts of new data, against what new data show.

usage: DOMINO_ONNX_SHARED=FOLDER python benchmarks/predicting.py NETWORK... --cache CACHE
       [--count 128] [--budget 0.5]

Each run sees so many samples. It prints a prediction, or none where its samples can't tell. Found is the share of
answers of another set that stay as they were, counted here by numpy.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
from accuracy import commit, execute, shared_folder
from networks import NETWORKS, Prepared, calibration, outputs_on, prepare
from numpy.typing import NDArray
from rows import RESULTS, Results, machine

COUNTS = {
    "default": (128, 256, 512),
    "resnet20_cifar10jpg": (256, 1024, 4096),
    "pretrainedResnet": (256, 1024, 4096),
    "magika_standard_v3_3": (128, 240),
    "ch_PP-OCRv4_rec_infer": (40, 100),
}


def found(metric: str, dense: NDArray[Any], pruned: NDArray[Any]) -> float | None:
    """The metric, counted by numpy; None if it counts no answers."""
    best, others = dense.argmax(-1), pruned.argmax(-1)
    if metric == "agreement":
        return float(np.mean(best == others))
    if metric == "sequence agreement":
        lines = [[row[(row != 0) & np.append(True, row[1:] != row[:-1])] for row in side] for side in (best, others)]
        return float(np.mean([np.array_equal(left, right) for left, right in zip(*lines, strict=True)]))
    if metric == "cosine":
        left, right = (rows / np.linalg.norm(rows, axis=-1, keepdims=True) for rows in (dense, pruned))
        return float(np.sum(left * right, axis=-1).mean())
    return None


def measure(prepared: Prepared, source: Path, count: int, budget: float, threads: int) -> dict[str, Any]:
    """One run, what it predicted, and what other data show."""
    with tempfile.TemporaryDirectory() as folder:
        data, output = Path(folder) / "data.npz", Path(folder) / "out.onnx"
        with np.load(source) as arrays:
            np.savez(data, **{name: array[:count] for name, array in arrays.items()})
        words = ["compress", str(prepared.model), "--sparsity", str(budget), "--data", str(data), "--no-finetune"]
        words += ["--batch-size", str(prepared.network.batch_size), "--threads", str(threads)]
        done = execute([*words, "-o", str(output), "--json", "--quiet"], threads)
        if done.returncode:
            return {"failed": done.stderr.strip()[-300:]}
        document = json.loads(done.stdout)
        metric = document["parity"]["outputs"][0]["metric"]
        shown = {
            name: found(metric, *(outputs_on(prepared, name, model, threads) for model in (prepared.model, output)))
            for name in prepared.evaluation
        }
    return {
        "metric": metric,
        "prediction": document["prediction"],
        "judged": {key: document["parity"][key] for key in ("samples", "drop", "fitted")},
        "found": shown,
        "seconds": document["seconds"],
    }


@click.command(help=__doc__)
@click.argument("names", nargs=-1, type=click.Choice(list(NETWORKS)))
@click.option("--cache", type=click.Path(path_type=Path), default=Path("cache"))
@click.option("--count", "counts", type=int, multiple=True)
@click.option("--budget", "budgets", type=float, multiple=True, default=(0.5, 0.75))
@click.option("--threads", type=int, default=1)
def main(
    names: tuple[str, ...], cache: Path, counts: tuple[int, ...], budgets: tuple[float, ...], threads: int
) -> None:
    results = Results(RESULTS / "predicting.json", {"machine": machine()})
    shared = shared_folder()
    for name in names:
        prepared = prepare(name, shared, cache)
        for count in counts or COUNTS.get(name, COUNTS["default"]):
            for budget in budgets:
                case = {"network": name, "count": count, "budget": budget}
                if results.has(case):
                    continue
                source = calibration(name, shared, cache, max(count, prepared.network.calibration[1]))
                row = {"case": case, "commit": commit(), **measure(prepared, source, count, budget, threads)}
                results.put(row)
                print(json.dumps(row)[:400], file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
