"""What drawn images are worth where real ones are few: refitted under one plan on so many, alone and filled up.

usage: DOMINO_ONNX_SHARED=FOLDER python benchmarks/few_data.py NETWORK... --cache CACHE
       [--budget 0.75] [--count 16] [--seed 0]

The plan is that of a search on the whole calibration set, so that the refit alone tells samples apart. Rows go to
results/few_data.json; a row that is there isn't measured again.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
from accuracy import commit, execute, shared_folder, toml
from networks import NETWORKS, Prepared, prepare, score
from rows import RESULTS, Results, machine

Row = dict[str, Any]


def plan(prepared: Prepared, budget: float, threads: int) -> Path:
    """Found once, and kept next to the calibration data."""
    path = prepared.data.with_name(f"plan_{budget:g}.json")
    if not path.exists():
        words = ["search", str(prepared.model), "--data", str(prepared.data), "--sparsity", str(budget)]
        words += ["--batch-size", str(prepared.network.batch_size), "--threads", str(threads), "--quiet"]
        done = execute([*words, "-o", str(path)], threads)
        if done.returncode:
            raise click.ClickException(done.stderr.strip()[-500:])
    return path


def measure(case: Row, prepared: Prepared, schemes: Path, threads: int) -> Row:
    """One row. The samples are the first of an order that the seed decides."""
    with tempfile.TemporaryDirectory() as folder:
        data, output, recipe = (Path(folder) / name for name in ("few.npz", "out.onnx", "recipe.toml"))
        with np.load(prepared.data) as archive:
            arrays = dict(archive)
        order = np.random.default_rng(case["seed"]).permutation(len(next(iter(arrays.values()))))
        chosen = np.sort(order[: case["count"]])
        np.savez(data, **{name: array[chosen] for name, array in arrays.items()})  # type: ignore[arg-type]
        options: Row = {"run": {"seed": case["seed"], "threads": threads, "batch_size": prepared.network.batch_size}}
        recipe.write_text(toml(options | {"data": {"drawn": case["drawn"]}}), encoding="utf-8")
        words = ["apply", str(prepared.model), str(schemes), "--data", str(data), "--recipe", str(recipe)]
        done = execute([*words, "-o", str(output), "--json", "--quiet"], threads)
        if done.returncode:
            return {"case": case, "commit": commit(), "failed": done.stderr.strip()[-300:]}
        document = json.loads(done.stdout)
        row = {"score": score(prepared, output, threads), "seconds": document["seconds"]}
        return {"case": case, "commit": commit(), **row}


@click.command(help=__doc__)
@click.argument("names", nargs=-1, type=click.Choice(list(NETWORKS)))
@click.option("--cache", type=click.Path(path_type=Path), default=Path("cache"))
@click.option("--budget", "budgets", type=float, multiple=True, default=(0.75,))
@click.option("--count", "counts", type=int, multiple=True, default=(16, 64, 256, 1000))
@click.option("--drawn", type=int, multiple=True, default=(0, 512), help="Drawn images that join the real samples.")
@click.option("--seed", "seeds", type=int, multiple=True, default=(0,))
@click.option("--threads", type=int, default=1)
def main(
    names: tuple[str, ...],
    cache: Path,
    budgets: tuple[float, ...],
    counts: tuple[int, ...],
    drawn: tuple[int, ...],
    seeds: tuple[int, ...],
    threads: int,
) -> None:
    results = Results(RESULTS / "few_data.json", {"machine": machine()})
    for name in names:
        prepared = prepare(name, shared_folder(), cache)
        for budget in budgets:
            schemes = plan(prepared, budget, threads)
            for count, seed, joined in ((c, s, d) for c in counts for s in seeds for d in drawn):
                case = {"network": name, "budget": budget, "count": count, "drawn": joined, "seed": seed}
                if not results.has(case):
                    row = measure(case, prepared, schemes, threads)
                    results.put(row)
                    print(json.dumps(row), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
