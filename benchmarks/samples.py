"""What more samples are worth: refitted on so many, then finetuned on them, with mixed schemes and uniform ones.

usage: DOMINO_ONNX_SHARED=FOLDER python benchmarks/samples.py --cache CACHE [--count 1000] [--strategy sensitivity]
       [--budget 0.875] [--network resnet20_cifar10jpg] [--steps 3000]

Rows go to benchmarks/results/samples.json as they are measured. The samples decide how many steps there are, so that a
row is the same on any machine; --steps sets a limit. The refit takes 4,000 samples at most, for the sake of its time.
"""

from __future__ import annotations

import itertools
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import click
from accuracy import STRATEGIES, commit, execute, shared_folder, toml
from checking import check
from networks import NETWORKS, Prepared, calibration, prepare, score
from rows import RESULTS, Results, machine

COUNTS = (256, 1000, 4000, 10_000)
MOST_REFITTED = 4000
UNLIMITED = "10h"

Row = dict[str, Any]


def run(command: str, words: list[str], recipe: dict[str, Any], output: Path, threads: int) -> Row:
    """The report of one run of the program."""
    path = output.with_suffix(".toml")
    path.write_text(toml(recipe), encoding="utf-8")
    done = execute([command, *words, "-o", str(output), "--recipe", str(path), "--json", "--quiet"], threads)
    if done.returncode:
        raise click.ClickException(done.stderr.strip()[-500:])
    report: Row = json.loads(done.stdout)
    return report


def measure(case: Row, prepared: Prepared, refitting: Path, learning: Path) -> Row:
    """One row: refit, score, finetune, check, score."""
    training = {"steps": case["steps"], "early_stop": True} if "steps" in case else {"time": UNLIMITED}
    row: Row = {"case": case, "commit": commit(), "refitted_on": min(case["count"], MOST_REFITTED)}
    model, threads = str(prepared.model), case["threads"]
    shared = {"run": {"seed": case["seed"], "threads": threads, "batch_size": prepared.network.batch_size}}
    with tempfile.TemporaryDirectory() as folder:
        refitted, finetuned = Path(folder) / "refitted.onnx", Path(folder) / "finetuned.onnx"
        goal = {"goal": {"sparsity": case["budget"]}, "search": STRATEGIES[case["strategy"]]}
        words = [model, "--data", str(refitting)]
        first = run("compress", words, shared | goal | {"finetune": {"enabled": False}}, refitted, threads)
        words = [str(refitted), "--teacher", model, "--data", str(learning)]
        second = run("finetune", words, shared | {"finetune": training}, finetuned, threads)
        return row | {
            "refit": score(prepared, refitted, threads),
            "score": score(prepared, finetuned, threads),
            "check": check(prepared.model, finetuned, second["sites"]),
            "sparsity": second["sparsity"],
            "finetuning": second["finetuning"],
            "warnings": [*first["warnings"], *second["warnings"]],
            "seconds": {"refit": first["seconds"], "finetune": second["seconds"]},
            "peak_rss_bytes": {"refit": first["peak_rss_bytes"], "finetune": second["peak_rss_bytes"]},
        }


@click.command()
@click.option("--cache", type=click.Path(path_type=Path), required=True, help="Where prepared data are kept.")
@click.option("--network", type=click.Choice(list(NETWORKS)), default="resnet20_cifar10jpg", show_default=True)
@click.option("--count", "counts", type=int, multiple=True, default=COUNTS, show_default=True)
@click.option("--strategy", "strategies", multiple=True, default=["sensitivity", "uniform"], show_default=True)
@click.option("--budget", "budgets", type=float, multiple=True, default=[0.875], show_default=True)
@click.option("--steps", type=int, help="Of finetuning. Default: as the samples allow.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--threads", type=int, default=1, show_default=True)
@click.option("--force", is_flag=True, help="Measure again what is in the results.")
def main(
    cache: Path,
    network: str,
    counts: tuple[int, ...],
    strategies: tuple[str, ...],
    budgets: tuple[float, ...],
    steps: int | None,
    seed: int,
    threads: int,
    force: bool,
) -> None:
    shared = shared_folder()
    prepared = prepare(network, shared, cache)
    kept = Results(RESULTS / "samples.json", {"machine": machine()})
    for budget, strategy, count in itertools.product(budgets, strategies, counts):
        case = {"network": network, "budget": budget, "strategy": strategy, "count": count, "seed": seed}
        case |= {"threads": threads} if steps is None else {"threads": threads, "steps": steps}
        if kept.has(case) and not force:
            continue
        refitting, learning = (calibration(network, shared, cache, each) for each in (min(count, MOST_REFITTED), count))
        kept.put(measure(case, prepared, refitting, learning))
        row = kept.rows[-1]
        done = row["finetuning"] or {}
        print(
            case, row["refit"], row["score"], {key: done.get(key) for key in ("steps", "lr", "best_step")}, flush=True
        )


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
