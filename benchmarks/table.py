"""Write docs/results.md from the rows in benchmarks/results.

usage: python benchmarks/table.py
"""

from __future__ import annotations

import itertools
import json
import statistics
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from networks import NETWORKS
from rows import RESULTS

PAGE = Path(__file__).parents[1] / "docs" / "results.md"
STRATEGIES = ("uniform", "erk", "domino", "domino-gradients", "measured-domino", "sensitivity")
SOLVERS = ("magnitude", "sparsegpt", "refit")
SEEDS = 3
TRIO = ("uniform", "domino", "sensitivity")
PLAIN = {"policy": "fixed-m", "decay": None, "finetune_steps": 0, "seed": 0, "threads": 1}

Row = dict[str, Any]
File = dict[str, Any]


def files(ending: str = "") -> list[File]:
    """The result files of the networks that were measured, in the benchmark's order."""
    paths = [RESULTS / f"{name}{ending}.json" for name in NETWORKS]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()]


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


def peers_table() -> str:
    """Other tools' rows and ours, scheme by scheme, ours last."""
    lines = []
    for file in files(".peers"):
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
    """The mean over the seeds, with the least and the most."""
    if len(rows) < 2:
        return percent(next(iter(rows), None))
    scores = [100 * statistics.mean(row["score"].values()) for row in rows]
    return f"{statistics.mean(scores):.1f} ({min(scores):.1f} to {max(scores):.1f}, {len(rows)} seeds)"


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


INTRODUCTION = """
What `domino-onnx compress` leaves of real networks' scores, without finetuning, on data that neither search nor refit
has seen. All scores are times 100. `benchmarks/README.md` says how to measure again; its `results/`
hold every row, with schemes and seconds. Empty cells weren't measured.
"""

MEASURED = """
Measured on {machine}, one thread, with other work on the machine at the same time. So seconds are rough, ratios less
so. Commits: {commits}; each row names its own. {checked} written files were checked by code that shares nothing with
the package. It counts every group and the zeros, runs `onnx.checker` with full checks, and compares the rest byte for
byte. Since 8bb53ce an eighth of the calibration data is set apart to judge by. Only `sensitivity` with refit on the two
CIFAR networks was measured again since then. All other rows learned from all samples, on a machine with AVX-512.
"""

STRATEGIES_SAID = """
Budgets are zeros over all Conv, Gemm and MatMul weights. `uniform` and `erk` choose by density. `domino` chooses by the
weights alone, and `domino-gradients` by gradients too. `measured-domino` and `sensitivity` choose by [measured
losses](search.md#measured-losses). `uniform` has to make up for weights that can't be pruned. So one may get a sparser
scheme than the others: on ResNet-20 at 50 % the classifier gets 2:16.
"""

SUMMARY = """
The score over the dense score, in percent, with `solver.method = "refit"`. It is the mean over the networks that have
`uniform`, `domino` and `sensitivity` at that budget. Where a network is scored on two sets, the mean of both counts. A
cell is empty if one of these networks lacks the strategy.
"""

BEHIND = """
`domino` without data falls behind `uniform` at 75 % by two networks. Magika has few weights to choose from. It
overshoots to 78.6 % zeros, where `uniform` has 75.2. In the text recogniser magnitudes make the wide layers behind the
middle sparse, and nothing behind them mends that.
"""

FINETUNING = """
On the calibration data alone, unlabelled, at the rate that is chosen on the way. Where there are several seeds, each
has a search and a refit of its own, and the mean is shown. Seconds are of the finetuning without its proof of the
bridge, on one thread, with other work on the machine.
"""

NO_DATA = """
`compress` without `--data` and without other options. Samples are drawn and their preparation is guessed. Search and
refit use them. Where the line says so, finetuning took so many steps on drawn samples. Scores are of real test images,
as above. All rows are from before colours were drawn as they are now ([since then](decisions/synthesis.md#end-to-end)).
"""

FEW_DATA = """
Refitted on so many real samples, alone and together with 512 drawn images, under the plan of a search on the whole
calibration set; nothing finetuned. The real ones are repeated, so that both kinds count alike.
"""

LARGE = """
`compress --data none` on matrices of random normal numbers in an external file, one thread. The speed is relative to
`cp` and fsync of the same bytes. Memory is the process's own at its peak, read every 20 ms. Pages of mapped files come
on top, and the system takes them back when it needs them. Random groups of each weight were compared with the source.
"""

PREDICTED = """
What a run predicts of its refitted weights, from samples that nothing learned from, against other data. No prediction
is printed where its standard error is above 1.7 points, or where fewer than 32 samples were set apart. Three standard
errors are 5 points.
"""

SAMPLES = """
ResNet-20 at 87.5 % zeros (dense 86.1), unlabelled samples of cifar10_train10k, default options without a limit of time.
The samples decide how many steps there are, 32 samples each, the same for both kinds of schemes. Two idle cores take
some 6,000 of them in a quarter of an hour. The refit takes 4,000 samples at most. Some samples judge, and teach
nothing.
"""

LEGAL = """
What it costs to keep at most two of each four wherever [sparse kernels](tensorrt.md) can run. Measured losses and
refit, no finetuning.
"""

COST = """
Search and refit, the median over the budgets. Seconds are also compared with ten forward passes of ONNX Runtime over
the same calibration data, measured right after, with the same thread. Memory is the whole process's peak.
"""

PEERS = """
onnxsim prunes ONNX files as well, by one scheme everywhere. It has no budgets. NVIDIA's Model Optimizer prunes torch
modules, to 2:4 only. It got ResNet-20 as a torch class with the file's weights, and its weights went back into the
file. All have the same calibration data, and nothing is finetuned. "Groups with more than N" are counted along the
input channels of Conv weights, as sparse tensor cores want them. Seconds are of onnxsim's call, with as many threads as
it takes, and of ModelOpt's and our refit with one.
"""

GROUPS_SAID = """
onnxsim's groups run over input channels and kernel positions together. So it prunes first and depthwise convolutions
too, which this package leaves dense. The zeros say how much that is. In ModelOpt 0.47 the groups of `magnitude` run
along input channels. Those of `sparsegpt` run as onnxsim's do, so that its zeros don't make a convolution faster on
sparse tensor cores. `magnitude` wants inputs in sixteens and outputs in eights, `sparsegpt` both in fours. So both
leave the first convolution (3 inputs) and the classifier (10 outputs) dense. `sparsegpt` keeps the mask alone. The
weights that SparseGPT refits on the way are dropped, and the kept ones are bit for bit the dense ones.
"""


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
    parts = ["# Results", told(INTRODUCTION), told(MEASURED, **facts), told(STRATEGIES_SAID)]
    parts += ["## What is kept, by strategy", told(SUMMARY), summary(measured), told(BEHIND)]
    parts += ["## Network by network"]
    for file in measured:
        parts += network_part(file)
    parts += extra("no_data.json", "## Without data", NO_DATA, no_data_table)
    parts += extra("few_data.json", "### A few real samples", FEW_DATA, few_data_table)
    parts += extra("predicting.json", "## Predicted and found", PREDICTED, prediction_table)
    parts += extra("big.json", "## Large models without data", LARGE, large_table)
    parts += ["## After finetuning", told(FINETUNING), finetuning_table(measured)]
    parts += extra("samples.json", "### What more samples are worth", SAMPLES, samples_table)
    legal = legality_table(measured)
    if legal.count("\n") > 1:
        parts += ["## Legal for TensorRT", told(LEGAL), legal]
    parts += ["## What it costs", told(COST), cost_table(measured), *studies(measured)]
    if peers:
        parts += ["## Beside other tools", told(PEERS), told(GROUPS_SAID), peers_table()]
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


def no_data_table(rows: list[Row]) -> str:
    """A line a network and how long it was finetuned; over the seeds that there are."""
    shares = sorted({row["case"]["budget"] for row in rows})
    kinds = sorted({(list(NETWORKS).index(row["case"]["network"]), row["case"]["steps"]) for row in rows})
    lines = []
    for place, steps in kinds:
        name = list(NETWORKS)[place]
        cells = []
        for share in shares:
            wanted = {"network": name, "budget": share, "steps": steps}
            cells.append(over_seeds([row for row in rows if wanted.items() <= row["case"].items()]))
        lines.append([NETWORKS[name].title + (f", {steps:,} steps" if steps else ""), *cells])
    return table(["", *(f"{100 * share:g} %" for share in shares)], lines)


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
            f"{row['seconds']:.0f}",
            f"{row['processor_seconds']:.0f}",
            f"{100 * row['copy_speed']:.0f} %",
            f"{row['own_megabytes']:,}",
            f"{row['groups_checked']:,}",
        ]
        for row in rows
    ]
    return table(["", "seconds", "processor", "speed of a copy", "peak MB", "groups checked"], lines)


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
        "ResNet-20, refit. The pools that the paper has: M fixed and N chosen, or N fixed and M chosen.",
        policies(file),
        "`domino` without data, its penalty over two decades (`search.domino.decay`, default 1):",
        decays(file),
    ]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
