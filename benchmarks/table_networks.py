"""The tables of docs/results.md whose rows are those of benchmarks/accuracy.py, network by network."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

__all__ = [
    "STRATEGIES",
    "budgets",
    "cost_table",
    "decays",
    "failures",
    "finetuning_table",
    "legality_table",
    "network_table",
    "over_seeds",
    "peers_table",
    "percent",
    "policies",
    "summary",
    "table",
]

STRATEGIES = ("uniform", "erk", "domino", "domino-gradients", "measured-domino", "sensitivity")
SOLVERS = ("magnitude", "sparsegpt", "refit")
SEEDS = 3
TRIO = ("uniform", "domino", "sensitivity")
PLAIN = {"policy": "fixed-m", "decay": None, "finetune_steps": 0, "seed": 0, "threads": 1}

Row = dict[str, Any]
File = dict[str, Any]


def find(file: File, **wanted: Any) -> Row | None:
    """The measured row of a case; what isn't wanted otherwise is as by default."""
    case = PLAIN | {"measure": "params"} | wanted
    return next((row for row in file["rows"] if row["case"] == case and "failed" not in row), None)


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; lines without any figure are left out."""
    kept = [line for line in lines if any(line[1:])]
    rule = ["---"] + ["--:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *kept))


def percent(row: Row | None) -> str:
    """The scores of a row, one for each set."""
    return "" if row is None else " / ".join(f"{100 * value:.1f}" for value in row["score"].values())


def kept(file: File, row: Row) -> float:
    """The share of the dense score that is left, the mean over the network's sets."""
    return float(statistics.mean(row["score"][name] / dense for name, dense in file["dense"].items()))


def budgets(measured: list[File], measure: str = "params") -> list[float]:
    cases = [row["case"] for file in measured for row in file["rows"]]
    return sorted({case["budget"] for case in cases if case["measure"] == measure})


def summary(measured: list[File]) -> str:
    """The mean of what is kept, over the networks that have all strategies of the trio at a budget."""
    wanted = budgets(measured)

    def complete(budget: float) -> list[File]:
        return [
            file
            for file in measured
            if all(find(file, strategy=strategy, solver="refit", budget=budget) for strategy in TRIO)
        ]

    def cell(strategy: str, budget: float) -> str:
        pairs = [(file, find(file, strategy=strategy, solver="refit", budget=budget)) for file in complete(budget)]
        shares = [kept(file, row) for file, row in pairs if row is not None]
        return f"{100 * statistics.mean(shares):.1f}" if shares and len(shares) == len(pairs) else ""

    lines = [[f"`{strategy}`", *(cell(strategy, budget) for budget in wanted)] for strategy in STRATEGIES]
    lines.append(["networks", *(str(len(complete(budget)) or "") for budget in wanted)])
    return table(["", *(f"{100 * budget:g} %" for budget in wanted)], lines)


def network_table(file: File, measure: str) -> str:
    wanted = budgets([file], measure)
    lines = [
        [
            f"`{strategy}`, {solver}",
            *(percent(find(file, strategy=strategy, solver=solver, budget=b, measure=measure)) for b in wanted),
        ]
        for solver in SOLVERS
        for strategy in STRATEGIES
    ]
    dense = " / ".join(f"{100 * value:.1f}" for value in file["dense"].values())
    head = ["", *(f"{100 * budget:g} %" for budget in wanted)]
    return table(head, [["dense", *([dense] * len(wanted))], *lines])


def cost_table(measured: list[File]) -> str:
    """Seconds of search and refit, also over ten forward passes, and the peak of memory: medians over the budgets."""

    def cells(file: File, strategy: str) -> list[str]:
        rows = [find(file, strategy=strategy, solver="refit", budget=budget) for budget in budgets([file])]
        found = [row for row in rows if row is not None]
        if not found:
            return ["", "", ""]
        seconds = [row["seconds"].get("search", 0.0) + row["seconds"].get("refit", 0.0) for row in found]
        ratios = [spent / (10 * row["forward_seconds"]) for spent, row in zip(seconds, found, strict=True)]
        peak = max(row["peak_rss_bytes"] for row in found) / 2**30
        return [f"{statistics.median(seconds):.0f}", f"{statistics.median(ratios):.2f}", f"{peak:.1f}"]

    return table(
        ["", "seconds", "/ (10 forward passes)", "peak GiB"],
        [[f"{file['title']}, `{name}`", *cells(file, name)] for file in measured for name in STRATEGIES],
    )


def peers_table(peers: Sequence[File]) -> str:
    """Other tools' rows and ours, scheme by scheme, ours last."""
    lines = []
    for file in peers:
        dense = " / ".join(f"{100 * value:.1f}" for value in file["dense"].values())
        for row in sorted(file["rows"], key=lambda row: (row["case"]["scheme"], row["case"]["tool"] == "domino-onnx")):
            case = row["case"]
            name = f"{file['title']} (dense {dense}), {case['scheme']}, {case['tool']} {case['method']}"
            if "failed" in row:
                lines.append([name, "failed", "", "", "", ""])
                continue
            size = f"{row['bytes'] / row['bytes_dense']:.2f}"
            spent, peak = f"{row['seconds']:.0f}", f"{row['peak_rss_bytes'] / 2**30:.1f}"
            broken = f"{row['groups_broken']:.0%}"
            lines.append([name, percent(row), f"{row['sparsity']:.1%}", broken, size, f"{spent} s, {peak} GiB"])
    return table(["", "score", "zeros", "groups with more than N", "file, of the dense one", "cost"], lines)


def study(file: File, label: Callable[[Row], str], fits: Callable[[Row], bool]) -> str:
    """Rows of one network that differ from the default in one option, by budget; nothing if there are none."""
    rows = [row for row in file["rows"] if "failed" not in row and fits(row)]
    if not rows:
        return ""
    wanted = sorted({row["case"]["budget"] for row in rows})
    labels = list(dict.fromkeys(map(label, rows)))

    def cell(name: str, budget: float) -> str:
        return next((percent(row) for row in rows if label(row) == name and row["case"]["budget"] == budget), "")

    return table(
        ["", *(f"{100 * budget:g} %" for budget in wanted)],
        [[name, *(cell(name, b) for b in wanted)] for name in labels],
    )


def only(row: Row, *free: str, **wanted: Any) -> bool:
    """Whether all but the `free` options are as by default, or as wanted."""
    case = row["case"]
    return all(case[key] == value for key, value in (PLAIN | {"measure": "params"} | wanted).items() if key not in free)


def policies(file: File) -> str:
    said = {"fixed-m": "M = 16, N of {1, 2, 4, 8}", "fixed-n": "N = 1, M of {2, 4, 8, 16}"}
    return study(
        file,
        lambda row: f"{said[row['case']['policy']]}, `{row['case']['strategy']}`",
        lambda row: only(row, "policy", solver="refit") and row["case"]["strategy"] in ("domino", "sensitivity"),
    )


def decays(file: File) -> str:
    rows = sorted(file["rows"], key=lambda row: row["case"]["decay"] or 1.0)
    return study(
        {**file, "rows": rows},
        lambda row: f"`decay = {row['case']['decay'] or 1.0:g}`",
        lambda row: only(row, "decay", solver="refit", strategy="domino"),
    )


def finetuning_table(measured: list[File]) -> str:
    """A line for each network, budget and strategy that was finetuned, two columns for each number of steps."""
    steps = sorted({row["case"]["finetune_steps"] for file in measured for row in file["rows"]} - {0})
    lines = []
    for file, budget, strategy in itertools.product(measured, budgets(measured), STRATEGIES):
        line = [over_seeds(same_but_seeds(file, budget, strategy, 0))]
        for count in steps:
            rows = same_but_seeds(file, budget, strategy, count)
            seconds = [row["seconds"]["finetune"] for row in rows]
            line += [over_seeds(rows), f"{statistics.median(seconds):.0f}" if rows else ""]
        if any(line[1:]):
            lines.append([f"{file['title']}, {100 * budget:g} %, `{strategy}`", *line])
    head = ["", "refit", *(text for count in steps for text in (f"{count:,} steps", "seconds"))]
    return table(head, lines)


def same_but_seeds(file: File, budget: float, strategy: str, steps: int) -> list[Row]:
    """The rows of a case with all seeds that it was measured with."""
    wanted = {"budget": budget, "strategy": strategy, "solver": "refit", "finetune_steps": steps}
    found = (find(file, **wanted, seed=seed) for seed in range(SEEDS))
    return [row for row in found if row is not None]


def legality_table(measured: list[File]) -> str:
    """What masks cost that TensorRT's sparse kernels can take, network by network."""
    lines = []
    for file in measured:
        for budget in budgets([file]):
            wanted = {"budget": budget, "strategy": "sensitivity", "solver": "refit"}
            legal = find(file, **wanted, target="tensorrt")
            if legal is not None:
                name = f"{file['title']}, {100 * budget:g} %"
                lines.append([name, percent(find(file, **wanted)), percent(legal)])
    return table(["", "generic", "`--target tensorrt`"], lines)


def over_seeds(rows: list[Row]) -> str:
    """The mean over the seeds, one for each set, and by how much the seeds differ at most."""
    if len(rows) < 2:
        return percent(next(iter(rows), None))
    sets = [[100 * row["score"][name] for row in rows] for name in rows[0]["score"]]
    apart = max(max(scores) - min(scores) for scores in sets)
    means = " / ".join(f"{statistics.mean(scores):.1f}" for scores in sets)
    return f"{means} ({len(rows)} seeds, {apart:.1f} apart)"


def failures(measured: list[File]) -> list[str]:
    """What went wrong: runs that ended in an error, and files that didn't pass the check."""
    lines = []
    for file in measured:
        for row in file["rows"]:
            case = row["case"]
            words = (
                str(case[key]) for key in ("budget", "strategy", "solver", "tool", "method", "scheme") if key in case
            )
            what = f"- {file['title']}, {', '.join(words)}: "
            held = row.get("check")
            if "failed" in row:
                lines.append(what + row["failed"].splitlines()[-1])
            elif held and (held["broken_weights"] or held["unread_weights"] or not held["rest_identical"]):
                lines.append(what + f"the check found {held}")
    return lines
