"""Writes docs/reliability.md from the rows of benchmarks/results/reliability*.json."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

__all__ = ["write_page"]

_OF_WRITTEN, _NOT_WRITTEN = ("R6", "R7", "R11", "R14"), ("refused", "listed", "ended")
"""Promises of files that were written, and ends at which none is."""
PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"
Row = dict[str, Any]

PROMISES: Sequence[tuple[str, str, Callable[[Row], bool], str]] = (
    (
        "R1",
        "No crash, no traceback, no internal error, no run of more than 30 s, whatever the file holds",
        lambda row: _part(row) == "mutants",
        "mutants of small models, each through `inspect`, `verify`, `doctor`, `convert` and `compress`",
    ),
    (
        "R2",
        "Each hard case ends as its author expects: pruned along the right axis, left alone, or refused",
        lambda row: _part(row) == "cases",
        "generated hard and hostile files, and files that crashed other tools",
    ),
    (
        "R3",
        "SIGKILL, Ctrl-C, a full disk and an I/O error leave the output absent, old or new, and the input as it was",
        lambda row: _part(row) == "faults",
        "each system call that changes the output's folder, or the report's",
    ),
    ("R4", "Two writers of one output leave that of one of them, whole", lambda row: _part(row) == "races", "races"),
    (
        "R5",
        "External data outside the model's folder aren't opened",
        lambda row: _part(row) == "paths",
        "hostile paths, under strace",
    ),
    (
        "R6",
        "Everything but the pruned weights and the program's own metadata stays byte for byte",
        lambda row: _part(row) == "models",
        "foreign models through `compress`",
    ),
    (
        "R7",
        "A model that ONNX Runtime loads is one that it loads after pruning, and `verify` agrees",
        lambda row: _part(row) == "models",
        "the same",
    ),
    (
        "R9",
        "The same command gives the same bytes, and one on its own output changes no weight",
        lambda row: _part(row) == "again",
        "the sample networks",
    ),
    (
        "R10",
        "A model of gigabytes takes no more memory than 1 GiB over its largest tensor",
        lambda row: _class(row) == "gigabytes",
        "the large ones among the hard cases",
    ),
    (
        "R11",
        "No NaN and no infinity is written where none was read; and data that hold them are refused",
        lambda row: _part(row) == "models" or _class(row) == "calibration",
        "the foreign models, and hard cases of calibration data",
    ),
    (
        "R12",
        "A run that is killed and resumed ends in the same bytes and the same report",
        lambda row: _part(row) == "resumed",
        "moments of `compress --max-drop` on a sample network, from search to finetuning",
    ),
    (
        "R13",
        "Code in data isn't run",
        lambda row: _class(row) == "calibration",
        "hard cases of calibration data, with pickles among them",
    ),
    (
        "R14",
        "The manifest's schemes are obeyed, counted by plain loops without the program's code",
        lambda row: (
            _part(row) == "models" or (_part(row) == "cases" and row["case"]["kind"] in ("weights", "structure"))
        ),
        "every pruned weight of the foreign models and of the hard cases",
    ),
    (
        "R14",
        "`doctor` calls a weight 2:4 where plain loops do, and where Polygraphy does",
        lambda row: _part(row) == "judges",
        "the weights of the same files as they are, pruned to 2:4, and with one zero filled in",
    ),
)


def write_page(files: Sequence[Path]) -> None:
    """Write the page anew, from the rows of all these files."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    PAGE.write_text("\n".join(_lines(found)), encoding="utf-8")


def _lines(found: Sequence[dict[str, Any]]) -> Iterable[str]:
    rows: list[Row] = [row for each in found for row in each["rows"]]
    yield "# Reliability\n"
    yield "What foreign and hostile files, faults of the disk and second writers do to the program, as figures."
    yield "[security.md](security.md) says what is defended against, and what isn't.\n"
    yield "`python benchmarks/reliability.py` makes this page. Anyone can run that on the models that packages bring."
    yield "Name more folders, or one in `DOMINO_ONNX_SHARED`, for more models. An internal error counts as wrong.\n"
    for each in found:
        about = ", ".join(f"{name} {each[name]}" for name in ("onnx", "onnxruntime", "numpy"))
        parts = ", ".join(dict.fromkeys(map(_part, each["rows"])))
        what = f" ({parts})" if len(found) > 1 else ""
        yield f"Run on {each['machine']}, with Python {each['python']}, {about}{what}."
    yield ""
    yield "| | promise | what was tried | tried | right | wrong |"
    yield "|---|---|---|--:|--:|--:|"
    for name, promise, belongs, what in PROMISES:
        chosen = [row for row in rows if belongs(row)]
        tried = sum(_written(row) if name in _OF_WRITTEN else row["tried"] for row in chosen)
        wrong = sum(len(row["wrong"]) for row in chosen)
        figures = f"{tried:,} | {tried - wrong:,} | {wrong:,}" if tried else "not run | |"
        yield f"| {name} | {promise} | {what} | {figures} |"
    yield "\nR8, which models can be finetuned, is measured by `benchmarks/bridge.py`: [operators.md](operators.md).\n"
    yield "`tests/fuzz` changes seeds at random for the readers of plans, recipes, manifests, YAML, .npz and models:"
    yield "150 times for each, with the other tests. `python -m tests.fuzz.campaign READER` lets atheris go on.\n"
    yield from _table("Hard cases by class", rows, "cases", ("kind", "class"))
    yield "`listed`: no weight can have the scheme, and each is listed with the reason."
    yield "Some cases that may be refused are pruned: no standard allows the file, and ONNX Runtime runs it."
    yield "Then what was written is judged like any other.\n"
    yield from _table("Foreign models by source", rows, "models", ("source",))
    yield "`packages` are all .onnx files among the packages of the interpreter.\n"
    yield from _table("Judges of 2:4 by source", rows, "judges", ("source",))
    if any(_part(row) == "judges" for row in rows):
        yield "`Polygraphy`: weights that it judges soundly, which are floats of the main graph, read along one axis."
        yield "`judges` are files that were made to deceive judges. `not eligible`: sparse kernels can't run it.\n"
    yield from _table("Mutants", rows, "mutants", ())
    yield "Each mutant counts once a command.\n"
    yield from _readers(rows)
    yield from _table("Faults", rows, "faults", ("command", "blow", "over"))
    yield "`over`: whether there is an older output. `went on`: the fault cost nothing that the command promises.\n"
    wrong = [f"- {_named(row)}: {each}" for row in rows for each in row["wrong"]]
    if wrong:
        yield "## What is wrong\n"
        yield from wrong
        yield ""


def _table(title: str, rows: Sequence[Row], part: str, keys: Sequence[str]) -> Iterable[str]:
    """Rows of a part, summed over all but these keys."""
    chosen = [row for row in rows if _part(row) == part]
    if not chosen:
        return
    ends = sorted({end for row in chosen for end in row["ends"]})
    yield f"## {title}\n"
    yield "| " + " | ".join([*(keys or ("all",)), "tried", *ends, "wrong"]) + " |"
    yield "|" + "---|" * (len(keys) or 1) + "--:|" * (len(ends) + 2)
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in chosen:
        groups.setdefault(tuple(_word(row["case"][key]) for key in keys), []).append(row)
    for names, group in groups.items():
        counts = sum((Counter(row["ends"]) for row in group), Counter[str]())
        tried, wrong = sum(row["tried"] for row in group), sum(len(row["wrong"]) for row in group)
        cells = [*(names or ("",)), f"{tried:,}", *(f"{counts[end]:,}" for end in ends), str(wrong)]
        yield "| " + " | ".join(cells) + " |"
    yield ""


def _readers(rows: Sequence[Row]) -> Iterable[str]:
    """What atheris tried on each reader, all campaigns together."""
    campaigns: dict[str, list[Row]] = {}
    for row in rows:
        if _part(row) == "fuzz":
            campaigns.setdefault(row["case"]["reader"], []).append(row)
    if not campaigns:
        return
    yield "## Readers that atheris had\n"
    yield "| reader | campaigns | processor | inputs | wrong |"
    yield "|---|---|--:|--:|--:|"
    for reader, group in sorted(campaigns.items()):
        seconds = [row["case"]["for"] for row in group]
        processor = sum(row.get("processor", row["case"]["for"]) for row in group)
        tried, wrong = sum(row["tried"] for row in group), sum(len(row["wrong"]) for row in group)
        yield f"| {reader} | {' + '.join(map(str, seconds))} | {processor:,} | {tried:,} | {wrong} |"
    yield "\n`campaigns` are in seconds. `processor`: seconds of a processor that they had, all together."
    yield "`inputs` are those that it tried: read, or refused with an error that is meant for the user.\n"


def _word(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _written(row: Row) -> int:
    """How many files were written; data that are to be refused count as well."""
    passed = () if _class(row) == "calibration" else _NOT_WRITTEN
    return sum(count for end, count in row["ends"].items() if end not in passed)


def _part(row: Row) -> str:
    return str(row["case"]["part"])


def _class(row: Row) -> str:
    return str(row["case"].get("class"))


def _named(row: Row) -> str:
    return ", ".join(f"{key} {value}" for key, value in row["case"].items())
