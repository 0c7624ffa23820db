"""Peak memory and seconds of `compress`, by network, number of samples and --memory; whether the bytes are the same.

usage: DOMINO_ONNX_SHARED=FOLDER python benchmarks/memory.py NETWORK... --cache CACHE
       [--samples 256] [--memory 1GB --memory default] [--sparsity 0.5] [--max-drop 0.02] [--drawn 0] [--finetune]

Seconds are the processor's, as the machine may have other work. Rows go to benchmarks/results/memory.json, their table
to docs/data.md.
"""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
from accuracy import commit, execute, shared_folder
from networks import NETWORKS, prepare
from rows import RESULTS, Results, machine, put_between

PAGE = Path(__file__).parents[1] / "docs" / "data.md"
DEFAULT = "default"
Row = dict[str, Any]


@click.command(help=__doc__)
@click.argument("names", nargs=-1, type=click.Choice(list(NETWORKS)))
@click.option("--cache", type=click.Path(path_type=Path), default=Path("cache"))
@click.option("--samples", "counts", type=int, multiple=True, default=(256,))
@click.option("--memory", "limits", multiple=True, default=("1GB", DEFAULT))
@click.option("--sparsity", type=float, default=0.5)
@click.option("--max-drop", type=float, help="In place of --sparsity.")
@click.option("--drawn", type=int, help="Images that join the samples. Default: what the program takes.")
@click.option("--finetune", is_flag=True)
@click.option("--threads", type=int, default=1)
def main(
    names: tuple[str, ...],
    cache: Path,
    counts: tuple[int, ...],
    limits: tuple[str, ...],
    sparsity: float,
    max_drop: float | None,
    drawn: int | None,
    finetune: bool,
    threads: int,
) -> None:
    results = Results(RESULTS / "memory.json", {"machine": machine()})
    goal = ["--sparsity", str(sparsity)] if max_drop is None else ["--max-drop", str(max_drop)]
    for name in names:
        prepared = prepare(name, shared_folder(), cache)
        with tempfile.TemporaryDirectory() as folder:
            for count in counts:
                data = _repeated(prepared.data, count, Path(folder))
                for limit in limits:
                    output = Path(folder) / "out.onnx"
                    words = ["compress", str(prepared.model), "--data", str(data), *goal, "-o", str(output), "--force"]
                    words += ["--threads", str(threads), *([] if limit == DEFAULT else ["--memory", limit])]
                    words += [] if finetune else ["--no-finetune"]
                    words += [] if drawn is None else ["--recipe", str(_recipe(drawn, Path(folder)))]
                    row = {
                        "case": {"network": name, "samples": count, "memory": limit, "goal": " ".join(goal)}
                        | {"drawn": drawn, "finetuned": finetune},
                        "commit": commit(),
                        **_measured(words, output, threads),
                    }
                    results.put(row)
                    print(json.dumps(row), file=sys.stderr, flush=True)
    put_between(PAGE, "benchmarks/memory.py", _table(results.rows))


def _measured(words: list[str], output: Path, threads: int) -> Row:
    """What one run takes, and the bytes that it gives."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = execute([*words, "--json", "--quiet"], threads)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = {"seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1)}
    if done.returncode:
        return seconds | {"failed": done.stderr.strip()[-300:]}
    document = json.loads(done.stdout)
    return seconds | {
        "sparsity": document["sparsity"],
        "memory_forecast": document["forecast"]["memory_bytes"],
        "peak_rss_bytes": document["peak_rss_bytes"],
        "sha256": hashlib.sha256(output.read_bytes()).hexdigest(),
    }


def _recipe(drawn: int, folder: Path) -> Path:
    """So many drawn samples, as a recipe says it."""
    path = folder / "drawn.toml"
    path.write_text(f"[data]\ndrawn = {drawn}\n", encoding="utf-8")
    return path


def _table(rows: list[Row]) -> list[str]:
    """A row a run, as Markdown; a network's runs in the order in which they were made."""
    order = list(NETWORKS)
    kept = [row for row in rows if "failed" not in row]
    return [
        "| network | samples | goal | `--memory` | peak |",
        "| --- | --: | --- | --: | --: |",
        *map(_line, sorted(kept, key=lambda row: (order.index(row["case"]["network"]), row["case"]["samples"]))),
    ]


def _line(row: Row) -> str:
    case = row["case"]
    network, limit = (
        NETWORKS[case["network"]].title.split(",")[0],
        case["memory"].replace("MB", " MB").replace("GB", " GB"),
    )
    peak = f"{row['peak_rss_bytes'] / 1e9:.2f} GB"
    return f"| {network} | {case['samples']:,} | `{case['goal']}` | {limit} | {peak} |"


def _repeated(calibration: Path, count: int, folder: Path) -> Path:
    """So many samples as a folder of .npy files, which are memory-mapped; beyond those that there are they repeat."""
    made = folder / f"samples{count}"
    made.mkdir()
    with np.load(calibration) as arrays:
        for name in arrays.files:
            array = arrays[name]
            whole = np.lib.format.open_memmap(made / f"{name}.npy", "w+", array.dtype, shape=(count, *array.shape[1:]))
            for start in range(0, count, len(array)):
                whole[start : start + len(array)] = array[: count - start]
    return made


if __name__ == "__main__":
    main()
