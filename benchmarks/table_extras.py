"""The tables of docs/results.md that have a benchmark of their own each."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from networks import NETWORKS
from table_networks import STRATEGIES, over_seeds, percent, table

__all__ = ["few_data_table", "large_table", "nearness_table", "no_data_table", "prediction_table", "samples_table"]

Row = dict[str, Any]


def no_data_table(rows: list[Row]) -> str:
    """A line a network and how long it was finetuned; over the seeds that there are."""
    shares = sorted({row["case"]["budget"] for row in rows})
    kinds = {(row["case"]["network"], row["case"]["steps"]) for row in rows}
    lines = []
    for name, steps in sorted(kinds, key=lambda kind: (list(NETWORKS).index(kind[0]), str(kind[1]))):
        cells = []
        for share in shares:
            wanted = {"network": name, "budget": share, "steps": steps}
            cells.append(over_seeds([row for row in rows if wanted.items() <= row["case"].items()]))
        lines.append([NETWORKS[name].title + _finetuned(steps), *cells])
    return table(["", *(f"{100 * share:g} %" for share in shares)], lines)


def _finetuned(steps: int | str) -> str:
    """What to say of so many steps behind a network's name."""
    if steps == "default":
        return ", finetuned"
    return f", {steps:,} steps" if steps else ""


def nearness_table(rows: list[Row]) -> str:
    """A line a network and a share of zeros: how near it is to the dense network as refitted, and finetuned."""
    lines = []
    for before, after in ((before, after) for before in rows for after in rows):
        case = before["case"]
        pair = {**case, "steps": 0} == case and {**case, "steps": "default"} == after["case"]
        if not pair or not before.get("as_dense") or not after.get("as_dense"):
            continue
        cells = [_near(row, key) for key in ("agreement", "divergence") for row in (before, after)]
        lines.append([NETWORKS[case["network"]].title, f"{100 * case['budget']:g} %", *cells])
    head = ("same answer, %", "finetuned", "divergence, nats", "finetuned")
    return table(["", "zeros", *head], sorted(lines))


def _near(row: Row, key: str) -> str:
    """One figure of `as_dense`, on each set."""
    values = [near[key] for near in row["as_dense"].values()]
    return " / ".join(f"{100 * value:.1f}" if key == "agreement" else f"{value:.3f}" for value in values)


def few_data_table(rows: list[Row]) -> str:
    """A line a network, a share of zeros, and what is drawn; a column a count of real samples."""
    counts = sorted({row["case"]["count"] for row in rows})
    keys = ("network", "budget", "drawn")
    kinds = {tuple(row["case"][key] for key in keys) for row in rows}
    lines = []
    for name, share, drawn in sorted(kinds, key=lambda kind: (list(NETWORKS).index(kind[0]), *kind[1:])):
        joined = f"and {drawn} drawn" if drawn else "alone"
        wanted = dict(zip(keys, (name, share, drawn), strict=True))
        chosen = [row for row in rows if wanted.items() <= row["case"].items()]
        cells = [over_seeds([row for row in chosen if row["case"]["count"] == count]) for count in counts]
        lines.append([f"{NETWORKS[name].title}, {100 * share:g} %, {joined}", *cells])
    return table(["real samples", *map(str, counts)], lines)


def large_table(rows: list[Row]) -> str:
    """A line a run."""
    lines = [
        [
            f"{row['case']['gigabytes']:g} GB, `--{row['case']['goal']}`",
            str(row["case"]["samples"] or "none"),
            row["case"]["memory"] or "default",
            f"{row['seconds']:,.0f}",
            f"{row['processor_seconds']:,.0f}",
            f"{100 * row['copy_speed']:.0f} %",
            f"{row['own_megabytes']:,}",
            f"{row['groups_checked']:,}",
        ]
        for row in rows
    ]
    return table(
        ["", "samples", "`--memory`", "seconds", "processor", "speed of a copy", "peak MB", "groups checked"], lines
    )


def samples_table(rows: list[Row]) -> str:
    """A line a count of samples; refitted and finetuned, for each strategy."""
    strategies = [name for name in reversed(STRATEGIES) if any(row["case"]["strategy"] == name for row in rows)]
    lines = []
    for count in sorted({row["case"]["count"] for row in rows}):
        cells = []
        for strategy in strategies:
            wanted = {"count": count, "strategy": strategy}
            row = next((row for row in rows if wanted.items() <= row["case"].items()), None)
            done = None if row is None else row["finetuning"]
            cells += ["", "", ""] if row is None else [f"{100 * mean(row['refit']):.1f}", percent(row), ran(done)]
        lines.append([f"{count:,}", *cells])
    head = (text for name in strategies for text in (f"`{name}`, refit", "finetuned", "steps"))
    return table(["samples", *head], lines)


def mean(scores: Mapping[str, float]) -> float:
    return statistics.mean(scores.values())


def ran(finetuning: Row | None) -> str:
    """How many steps were taken, and of how many where it ended early."""
    if finetuning is None:
        return ""
    steps, planned = finetuning["steps"], finetuning["planned"]
    said = f"{steps:,}" if steps == planned else f"{steps:,} of {planned:,}"
    return said if finetuning["best_step"] else f"{said}, no gain"


def prediction_table(rows: list[Row]) -> str:
    lines = []
    for row in rows:
        case, said = row["case"], row["prediction"]
        predicted = "none" if said is None else f"{100 * said['score']:.1f}"
        if said is not None and said["standard_error"]:
            predicted += f" ± {100 * said['standard_error']:.1f}"
        found = " / ".join(f"{100 * value:.1f}" for value in row["found"].values() if value is not None)
        title = NETWORKS[case["network"]].title
        lines.append([title, str(case["count"]), f"{100 * case['budget']:g} %", predicted, found])
    return table(["", "samples", "zeros", "predicted", "found"], lines)
