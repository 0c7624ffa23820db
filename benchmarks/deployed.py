"""What do deployed files answer, and how fast, where the weights are real?

usage: OMP_NUM_THREADS=1 python benchmarks/deployed.py NETWORK... --shared FOLDER --cache CACHE [--sparsity S ...]

Each network is pruned and refitted on real data once a budget, without finetuning. That file is deployed with each
precision, and scored on inputs that nothing saw before. Seconds are of one run with one sample and one thread, all
files in turns, on the processor's clock. Rows go to benchmarks/results/deployed.json, their table to docs/cpu.md.
"""

from __future__ import annotations

import functools
import json
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
from networks import NETWORKS, Prepared, outputs_on, prepare, score
from rows import RESULTS, Results, machine, put_between

from domino_onnx.data import input_specs
from domino_onnx.deployment import clock_for, measure
from domino_onnx.options import CompressOptions, DataOptions, FinetuneOptions, Goal, RunOptions
from domino_onnx.pipeline import compress, deploy
from domino_onnx.report.results import DeployPrecision
from domino_onnx.runtime import Session

PRECISIONS: tuple[DeployPrecision, ...] = ("auto", "int8")
SECONDS = 4.0
PAGE = Path(__file__).parents[1] / "docs" / "cpu.md"
Row = dict[str, Any]


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(sorted(NETWORKS)))
@click.option("--shared", type=click.Path(path_type=Path), required=True, envvar="DOMINO_ONNX_SHARED")
@click.option("--cache", type=click.Path(path_type=Path), required=True, help="Where prepared data are kept.")
@click.option("--sparsity", "budgets", type=float, multiple=True, default=(0.75,), show_default=True)
def main(names: tuple[str, ...], shared: Path, cache: Path, budgets: tuple[float, ...]) -> None:
    packages = {name: metadata.version(name) for name in ("onnx", "onnxruntime")}
    results = Results(RESULTS / "deployed.json", {"machine": machine(), "packages": packages})
    for name in names:
        prepared = prepare(name, shared, cache)
        for budget in budgets:
            for row in measured(name, prepared, budget):
                print(json.dumps(row), flush=True)
                results.put(row)
    put_table(results.rows)


def measured(name: str, prepared: Prepared, budget: float) -> list[Row]:
    """A row for each precision."""
    options = CompressOptions(
        goal=Goal(sparsity=budget),
        data=DataOptions(calibration=prepared.data),
        finetune=FinetuneOptions(enabled=False),
        run=RunOptions(batch_size=prepared.network.batch_size, threads=1, device="cpu"),
    )
    with tempfile.TemporaryDirectory() as folder:
        files = {"dense": prepared.model, "pruned": Path(folder) / "pruned.onnx"}
        compress(files["dense"], files["pruned"], options)
        for precision in PRECISIONS:
            files[precision] = Path(folder) / f"{precision}.onnx"
            deploy(files["pruned"], files[precision], options, precision=precision)
        with np.load(prepared.data) as archive:
            inputs = {spec.name: archive[spec.name][:1] for spec in input_specs(onnx.load(prepared.model))}
        sessions = {kind: Session(path, device="cpu", threads=1, timed=True) for kind, path in files.items()}
        taken = measure([functools.partial(each.run, inputs) for each in sessions.values()], SECONDS, clock_for(1))
        seconds = {kind: each.low for kind, each in zip(sessions, taken, strict=True)}
        scores = {kind: score(prepared, path) for kind, path in files.items()}
        answers = {kind: answers_of(prepared, path) for kind, path in files.items()}
        operators = {kind: [node.op_type for node in onnx.load(files[kind]).graph.node] for kind in PRECISIONS}
    return [
        {
            "case": {"network": name, "sparsity": budget, "precision": precision},
            "seconds": {kind: seconds[kind] for kind in ("dense", precision)},
            "score": {kind: scores[kind] for kind in ("dense", "pruned", precision)},
            "same": float(np.mean(answers["pruned"] == answers[precision])),
            "int8_operators": sum(each in ("NmConvInt8", "NmMatMulInt8") for each in operators[precision]),
            "operators": sum(each.startswith(("NmConv", "NmMatMul")) for each in operators[precision]),
        }
        for precision in PRECISIONS
    ]


def answers_of(prepared: Prepared, model: Path) -> Any:
    """The largest output of each sample of the first evaluation set."""
    return outputs_on(prepared, next(iter(prepared.evaluation)), model).argmax(axis=-1)


def put_table(rows: list[Row]) -> None:
    """Put the rows into docs/cpu.md."""
    names = (
        "zeros",
        "precision",
        "products in 8 bits",
        "over dense",
        "dense file",
        "pruned",
        "deployed",
        "same answers",
    )
    lines = [
        f"| network | {' | '.join(names)} |",
        "| --- | --: | --- | --: | --: | --: | --: | --: | --: |",
        *map(line, sorted(rows, key=lambda row: tuple(row["case"].values()))),
    ]
    put_between(PAGE, "benchmarks/deployed.py", lines)


def line(row: Row) -> str:
    case, precision = row["case"], row["case"]["precision"]
    network = NETWORKS[case["network"]]
    shown = [
        " / ".join(f"{100 * value:.1f}" for value in row["score"][kind].values())
        for kind in ("dense", "pruned", precision)
    ]
    gain = row["seconds"]["dense"] / row["seconds"][precision]
    same = f"{row['same']:.1%}" if network.metric.startswith("top-1") else ""
    return (
        f"| {network.title}, {network.metric} | {case['sparsity']:.1%} | {precision} | "
        f"{row['int8_operators']} of {row['operators']} | {gain:.2f} | {' | '.join(shown)} | {same} |"
    )


if __name__ == "__main__":
    main()
