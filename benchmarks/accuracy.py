"""Accuracy at a budget: strategy by strategy, solver by solver, each run a process of its own, each file checked.

usage: DOMINO_ONNX_SHARED=FOLDER python benchmarks/accuracy.py NETWORK... --cache CACHE
       [--budget 0.5] [--measure params] [--strategy sensitivity] [--solver refit] [--quick] [--force]

FOLDER holds models/, data/ and harness/score.py, which knows each network's preprocessing; without it nothing can be
measured here. CACHE keeps what is prepared from it. Rows go to benchmarks/results/NETWORK.json as they are measured;
what is there already is left out, so a stopped benchmark goes on where it was.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from checking import check
from networks import NETWORKS, Prepared, forward_seconds, prepare, score
from rows import RESULTS, Results, machine

STRATEGIES = {
    "uniform": {"strategy": "uniform"},
    "erk": {"strategy": "erk"},
    "domino": {"strategy": "domino", "gradients": False},
    "domino-gradients": {"strategy": "domino", "gradients": True},
    "measured-domino": {"strategy": "measured-domino"},
    "sensitivity": {"strategy": "sensitivity"},
}
POOLS = {"fixed-m": "1:16,2:16,4:16,8:16", "fixed-n": "1:2,1:4,1:8,1:16"}
SOLVERS = ("refit", "sparsegpt", "magnitude")
BUDGETS = (0.5, 0.75, 0.875)
GOAL = {"params": "sparsity", "flops": "flops_reduction"}

Case = dict[str, Any]


def shared_folder() -> Path:
    folder = Path(os.environ.get("DOMINO_ONNX_SHARED", ""))
    if not (folder / "harness" / "score.py").is_file():
        raise click.ClickException("DOMINO_ONNX_SHARED doesn't name a folder with models/, data/ and harness/")
    return folder


def recipe(case: Case, prepared: Prepared) -> str:
    """All options of one run, as TOML."""
    search = {**STRATEGIES[case["strategy"]], "pool": POOLS[case["policy"]]}
    domino = {} if case["decay"] is None else {"domino": {"decay": case["decay"]}}
    steps = case["finetune_steps"]
    groups = {
        "goal": {GOAL[case["measure"]]: case["budget"]},
        "data": {"calibration": str(prepared.data)},
        "target": {"runtime": case["target"]} if "target" in case else {},
        "search": {**search, **domino},
        "solver": {"method": case["solver"]},
        "finetune": {"steps": steps} if steps else {"enabled": False},
        "run": {"batch_size": prepared.network.batch_size, "seed": case["seed"], "threads": case["threads"]},
    }
    return toml(groups)


def toml(groups: Mapping[str, Mapping[str, Any]]) -> str:
    """Groups of fields as TOML; a group may hold another one."""
    lines: list[str] = []
    for name, fields in groups.items():
        inner = {f"{name}.{field}": value for field, value in fields.items() if isinstance(value, Mapping)}
        plain = [f"{field} = {json.dumps(value)}" for field, value in fields.items() if not isinstance(value, Mapping)]
        lines += [f"[{name}]", *plain, *([toml(inner)] if inner else [])]
    return "\n".join(lines) + "\n"


def arguments(case: Case, prepared: Prepared, output: Path) -> list[str]:
    """The command line of one run, whose recipe is written next to the output."""
    path = output.with_suffix(".toml")
    path.write_text(recipe(case, prepared), encoding="utf-8")
    return ["compress", str(prepared.model), "-o", str(output), "--recipe", str(path), "--force", "--json", "--quiet"]


def execute(words: list[str], threads: int) -> subprocess.CompletedProcess[str]:
    """Run the program in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    program = [sys.executable, "-m", "domino_onnx", *words]
    return subprocess.run(program, capture_output=True, text=True, check=False, env=environment)


def commit() -> str:
    """The commit that the measured package is at."""
    import domino_onnx

    def git(*words: str) -> str:
        command = ["git", "-C", str(Path(domino_onnx.__file__).parent), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    dirty = git("status", "--porcelain", "--untracked-files=no", ".")
    return git("rev-parse", "--short", "HEAD") + ("-dirty" if dirty else "")


def measure(case: Case, prepared: Prepared) -> dict[str, Any]:
    """One row: run, check, score. A run that fails is a row that says so."""
    row: dict[str, Any] = {"case": case, "commit": commit()}
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "out.onnx"
        start = time.perf_counter()
        done = execute(arguments(case, prepared, output), case["threads"])
        wall = time.perf_counter() - start
        if done.returncode != 0:
            return {**row, "failed": done.stderr.strip()[-500:] or f"exit code {done.returncode}"}
        document = json.loads(done.stdout)
        row |= {
            "score": score(prepared, output, case["threads"]),
            "check": check(prepared.model, output, document["sites"]),
        }
    row |= {
        "sparsity": document["sparsity"],
        "flops_saved": document["flops_saved"],
        "divergence": document["divergence"],
        "prediction": document["prediction"],
        "parity": {key: document["parity"][key] for key in ("cosine", "agreement", "kl")},
        "seconds": document["seconds"],
        "wall_seconds": round(wall, 2),
        "forward_seconds": round(forward_seconds(prepared, case["threads"]), 3),
        "peak_rss_bytes": document["peak_rss_bytes"],
        "solved_by": document["solver"],
        "schemes": {site["weight"]: f"{site['n']}:{site['m']}" for site in document["sites"]},
        "warnings": document["warnings"],
    }
    if document["finetuning"]:
        row["finetuning"] = {key: document["finetuning"][key] for key in ("lr", "best_step", "before", "after")}
    return row


def cases(
    measures: tuple[str, ...],
    budgets: tuple[float, ...],
    strategies: tuple[str, ...],
    solvers: tuple[str, ...],
    **rest: Any,
) -> Iterator[Case]:
    """Every combination, the budgets last, so that a stopped benchmark has whole rows of tables."""
    for budget_measure, solver, strategy, budget in itertools.product(measures, solvers, strategies, budgets):
        yield {"measure": budget_measure, "budget": budget, "strategy": strategy, "solver": solver, **rest}


@click.command()
@click.argument("names", type=click.Choice(list(NETWORKS)), nargs=-1, required=True)
@click.option("--cache", type=click.Path(path_type=Path), required=True, help="Where prepared data are kept.")
@click.option("--budget", "budgets", type=float, multiple=True, default=BUDGETS, show_default=True)
@click.option("--measure", "measures", type=click.Choice(list(GOAL)), multiple=True, default=["params"])
@click.option("--strategy", "strategies", type=click.Choice(list(STRATEGIES)), multiple=True, default=list(STRATEGIES))
@click.option("--solver", "solvers", type=click.Choice(SOLVERS), multiple=True, default=list(SOLVERS))
@click.option("--policy", type=click.Choice(list(POOLS)), default="fixed-m", show_default=True)
@click.option("--decay", type=float, help="domino: strength of the penalty, if not the default.")
@click.option("--target", type=click.Choice(["tensorrt"]), help="Whose rules masks follow, if any.")
@click.option("--finetune-steps", type=int, default=0, show_default=True, help="Finetuning steps; 0 for none.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--threads", type=int, default=1, show_default=True)
@click.option("--quick", is_flag=True, help="sensitivity and uniform with refit at 0.75 alone.")
@click.option("--force", is_flag=True, help="Measure again what is in the results.")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, help="Folder of the results.")
def main(
    names: tuple[str, ...],
    cache: Path,
    budgets: tuple[float, ...],
    measures: tuple[str, ...],
    strategies: tuple[str, ...],
    solvers: tuple[str, ...],
    target: str | None,
    quick: bool,
    force: bool,
    results: Path,
    **rest: Any,
) -> None:
    if target is not None:  # rows without a target name none
        rest["target"] = target
    if quick:
        budgets, strategies, solvers = (0.75,), ("uniform", "sensitivity"), ("refit",)
    shared = shared_folder()
    for name in names:
        prepared = prepare(name, shared, cache)
        dense = score(prepared, prepared.model, rest["threads"])
        print(f"{name} dense {dense}", flush=True)
        kept = Results(results / f"{name}.json", header(name, prepared, dense))
        for case in cases(measures, budgets, strategies, solvers, **rest):
            if force or not kept.has(case):
                row = measure(case, prepared)
                kept.put(row)
                print(told(row), flush=True)


def header(name: str, prepared: Prepared, dense: dict[str, float]) -> dict[str, Any]:
    """What all rows of a network share."""
    set_name, count = prepared.network.calibration
    return {
        "network": name,
        "title": prepared.network.title,
        "metric": prepared.network.metric,
        "dense": dense,
        "calibration": {"set": set_name, "samples": count, "labels": False},
        "batch_size": prepared.network.batch_size,
        "machine": machine(),
    }


def told(row: dict[str, Any]) -> str:
    """A row as one line of progress."""
    case = row["case"]
    what = f"{case['measure']} {case['budget']} {case['strategy']} {case['solver']}"
    if "failed" in row:
        return f"{what}: FAILED {row['failed']}"
    held = row["check"]
    wrong = held["broken_weights"] or held["unread_weights"] or not held["rest_identical"]
    checked = f"CHECK {held}" if wrong else "checked"
    return f"{what}: {row['score']} zeros {row['sparsity']:.4f} {checked} {row['wall_seconds']} s"


if __name__ == "__main__":
    main()
