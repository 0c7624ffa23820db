"""Write docs/results.md from the rows in benchmarks/results.

usage: python benchmarks/table.py
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import table_words as words
from networks import NETWORKS
from rows import RESULTS
from table_extras import few_data_table, large_table, nearness_table, no_data_table, prediction_table, samples_table
from table_networks import (
    budgets,
    cost_table,
    decays,
    failures,
    finetuning_table,
    legality_table,
    network_table,
    peers_table,
    policies,
    summary,
)

PAGE = Path(__file__).parents[1] / "docs" / "results.md"

Row = dict[str, Any]
File = dict[str, Any]


def files(ending: str = "") -> list[File]:
    """The result files of the networks that were measured, in the benchmark's order."""
    paths = [RESULTS / f"{name}{ending}.json" for name in NETWORKS]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()]


def told(text: str, **values: object) -> str:
    """A paragraph in lines as long as the other pages have them."""
    return textwrap.fill(text.strip().format(**values), 140, break_long_words=False, break_on_hyphens=False)


def page() -> str:
    """The whole page."""
    measured, peers = files(), files(".peers")
    rows = [row for file in measured for row in file["rows"]]
    facts = {
        "machine": measured[0]["machine"],
        "commits": ", ".join(sorted({row["commit"] for row in rows})),
        "checked": sum("check" in row for row in rows),
    }
    parts = ["# Results", told(words.INTRODUCTION), told(words.MEASURED, **facts), told(words.STRATEGIES_SAID)]
    parts += ["## What is kept, by strategy", told(words.SUMMARY), summary(measured), told(words.BEHIND)]
    parts += ["## Network by network"]
    for file in measured:
        parts += network_part(file)
    parts += extra("no_data.json", "## Without data", words.NO_DATA, no_data_table)
    parts += extra("no_data.json", "### What finetuning without data is worth", words.NEARNESS, nearness_table)
    parts += extra("few_data.json", "### A few real samples", words.FEW_DATA, few_data_table)
    parts += extra("predicting.json", "## Predicted and found", words.PREDICTED, prediction_table)
    parts += extra("big.json", "## Large models", words.LARGE, large_table)
    parts += ["## After finetuning", told(words.FINETUNING), finetuning_table(measured)]
    parts += extra("samples.json", "### What more samples are worth", words.SAMPLES, samples_table)
    legal = legality_table(measured)
    if legal.count("\n") > 1:
        parts += ["## Legal for TensorRT", told(words.LEGAL), legal]
    parts += ["## What it costs", told(words.COST), cost_table(measured), *studies(measured)]
    if peers:
        parts += ["## Compared with other tools", told(words.PEERS), told(words.GROUPS_SAID), peers_table(peers)]
    wrong = failures([*measured, *peers])
    if wrong:
        parts += ["## What failed", "\n".join(wrong)]
    return "\n\n".join(parts) + "\n"


def extra(name: str, heading: str, text: str, make: Callable[[list[Row]], str]) -> list[str]:
    """A section of a benchmark of its own, where that was run."""
    path = RESULTS / name
    if not path.exists():
        return []
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return [heading, told(text), make([row for row in rows if "failed" not in row])]


def network_part(file: File) -> list[str]:
    """A network's heading, what its figures are, and its tables."""
    seen, sets, metric = file["calibration"], " / ".join(file["dense"]), file["metric"]
    calibrated = f"Calibrated on {seen['samples']} samples of {seen['set']}, unlabelled."
    what = f"{metric[0].upper()}{metric[1:]}, on {sets}. {calibrated}"
    parts = [f"### {file['title']}", told(what), network_table(file, "params")]
    if budgets([file], "flops"):
        parts += ["By MACs saved:", network_table(file, "flops")]
    return parts


def studies(measured: list[File]) -> list[str]:
    """The two questions that DominoSearch's authors ask as well, on ResNet-20."""
    file = next((file for file in measured if file["network"] == "resnet20_cifar10jpg"), None)
    if file is None:
        return []
    return [
        "## N or M, and the strength of the penalty",
        "These are rows of ResNet-20 with refit. The pools are the paper's: M fixed and N chosen, or the reverse.",
        policies(file),
        "This is `domino` without data. Its penalty (`search.domino.decay`, default 1) goes from 0.1 to 10:",
        decays(file),
    ]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
