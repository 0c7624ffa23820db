"""What `compress` without --data leaves of a network: samples drawn, searched, refitted, and finetuned if asked.

usage: DOMINO_ONNX_SHARED=FOLDER python benchmarks/no_data.py NETWORK... --cache CACHE
       [--budget 0.5] [--seed 0] [--steps 1000|default]
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import click
from accuracy import commit, execute, shared_folder
from networks import NETWORKS, as_dense, prepare, score
from rows import RESULTS, Results, machine


def options(steps: int | str) -> list[str]:
    """Options of `compress` for so many steps of finetuning."""
    if steps == "default":
        return []
    return ["--finetune-steps", str(steps)] if steps else ["--no-finetune"]


@click.command(help=__doc__)
@click.argument("names", nargs=-1, type=click.Choice(list(NETWORKS)))
@click.option("--cache", type=click.Path(path_type=Path), default=Path("cache"))
@click.option("--budget", "budgets", type=float, multiple=True, default=(0.5, 0.75))
@click.option("--seed", "seeds", type=int, multiple=True, default=(0,))
@click.option("--steps", default="0", help="Of finetuning; 0: none; default: as many as the run plans itself.")
@click.option("--threads", type=int, default=1)
@click.option("--again", is_flag=True, help="Measure rows that are there as well, and replace them.")
def main(
    names: tuple[str, ...],
    cache: Path,
    budgets: tuple[float, ...],
    seeds: tuple[int, ...],
    steps: str,
    threads: int,
    again: bool,
) -> None:
    results = Results(RESULTS / "no_data.json", {"machine": machine()})
    shared = shared_folder()
    finetuned: int | str = int(steps) if steps.isdecimal() else steps
    for name in names:
        prepared = prepare(name, shared, cache)
        for budget in budgets:
            for seed in seeds:
                case = {"network": name, "budget": budget, "seed": seed, "steps": finetuned}
                if results.has(case) and not again:
                    continue
                with tempfile.TemporaryDirectory() as folder:
                    output = Path(folder) / "out.onnx"
                    words = ["compress", str(prepared.model), "--sparsity", str(budget), "--seed", str(seed)]
                    words += options(finetuned)
                    words += ["--batch-size", str(prepared.network.batch_size), "--threads", str(threads)]
                    done = execute([*words, "-o", str(output), "--json", "--quiet"], threads)
                    if done.returncode:
                        row = {"case": case, "commit": commit(), "failed": done.stderr.strip()[-300:]}
                    else:
                        document = json.loads(done.stdout)
                        row = {
                            "case": case,
                            "commit": commit(),
                            "score": score(prepared, output, threads),
                            "as_dense": as_dense(prepared, output, threads),
                            "drawn": document["drawn"],
                            "finetuning": document["finetuning"],
                            "seconds": document["seconds"],
                            "peak_rss_bytes": document["peak_rss_bytes"],
                        }
                results.put(row)
                print(json.dumps(row), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
