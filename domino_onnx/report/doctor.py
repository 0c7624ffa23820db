"""What `doctor` found, for people and for scripts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from domino_onnx.percentage import percent
from domino_onnx.plurals import quantity
from domino_onnx.report.results import DoctorResult
from domino_onnx.report.tables import table
from domino_onnx.report.text import counted, printable, printable_reason, shape
from domino_onnx.scheme import Skip
from domino_onnx.targets import BuildLog, Diagnosis

__all__ = ["doctor_document", "doctor_view"]

_STYLES = {"legal": "green", "broken": "red", "dense": "yellow", "not eligible": "dim"}


def doctor_view(result: DoctorResult) -> RenderableType:
    """A row a weight, then a line for each thing to know or to do."""
    names = ["weight (node)", "op", "shape", "in", "out", "type", "zeros", "2:4"]
    rows = table(*names, *(["builder"] if result.log else []))
    for each in result.diagnoses:
        rows.add_row(*_cells(each), *([_engine(each, result.log) or "?"] if result.log else []))
    judged = [rows] if result.diagnoses else []
    return Group(*judged, *_left_out(result.skips), *_findings(result.diagnoses), *_built(result), _total(result))


def doctor_document(result: DoctorResult) -> dict[str, Any]:
    """What `doctor` says with ``--json``."""
    return {
        "model": str(result.model),
        "target": "tensorrt",
        "passes": result.passes,
        "weights": [_weight(each, result.log) for each in result.diagnoses],
        "not_judged": [
            {"name": skip.name, "weight": skip.key.name, "scope": list(skip.key.scope), "reason": skip.reason}
            for skip in result.skips
        ],
        "log": None
        if result.log is None
        else {"eligible": list(result.log.eligible), "picked": list(result.log.picked)},
    }


def _left_out(skips: Iterable[Skip]) -> list[RenderableType]:
    names: dict[str, list[str]] = {}
    is_quantised = False
    for skip in skips:
        is_quantised = is_quantised or skip.quantised
        names.setdefault(skip.reason, []).append(skip.label)
    lines: list[RenderableType] = [
        Text(f"left out: {counted(labels)}: {printable_reason(reason)}", style="dim")
        for reason, labels in names.items()
    ]
    if is_quantised:
        lines.append(Text("weights quantised in other ways than these aren't judged: judge the file before"))
    return lines


def _cells(diagnosis: Diagnosis) -> Iterable[str | Text]:
    site, fours = diagnosis.site, diagnosis.fours
    broken = f": {percent(fours.broken_share)} of fours" if diagnosis.state == "broken" else ""
    return (
        Text(printable(site.label)),
        site.op,
        shape(site.layout.shape),
        str(site.layout.reduction),
        str(site.outputs),
        site.dtype,
        percent(fours.zeros / site.params),
        Text(f"{diagnosis.state}{broken}", style=_STYLES[diagnosis.state]),
    )


def _findings(diagnoses: Iterable[Diagnosis]) -> list[RenderableType]:
    """What is wrong, and what to do: one line for all weights of which the same is to be said."""
    said: dict[str, list[str]] = {}
    doubted: dict[str, list[str]] = {}
    for each in diagnoses:
        told = "; ".join(filter(None, (each.reason, each.advice)))
        if told:
            said.setdefault(f"{each.state}: {told}", []).append(each.site.label)
        for doubt in each.doubts:
            doubted.setdefault(doubt, []).append(each.site.label)
    legal = sum(each.state == "legal" for each in diagnoses)
    lines: list[RenderableType] = [
        *(Text(f"{_doubted(names, legal)} may run dense all the same: {doubt}") for doubt, names in doubted.items()),
        *(Text(f"{counted(names)}: {printable_reason(line)}") for line, names in said.items()),
    ]
    first = next((each for each in diagnoses if each.state == "broken"), None)
    return [*lines, *([] if first is None else [Text(f"first broken four: {_place(first)}", style="red")])]


def _doubted(names: list[str], legal: int) -> str:
    """Legal weights of which a doubt is told, by their names unless these are all."""
    return f"all {legal} that are legal" if len(names) == legal > 1 else f"{counted(names)}: legal, but"


def _place(diagnosis: Diagnosis) -> str:
    """The first broken four, in a convolution's words where it is one."""
    site, index = diagnosis.site, diagnosis.fours.first or ()
    name = printable(site.name)
    axis = site.layout.axis
    start = index[axis]
    channels = f"input channels {start} to {min(start + 3, site.layout.shape[axis] - 1)}"
    if site.op == "Conv" and axis == 1:
        return f"{name}, output channel {index[0]}, kernel position {list(index[2:])}, {channels}"
    others = ", ".join(f"axis {place} at {at}" for place, at in enumerate(index) if place != axis)
    return f"{name}, {others}, {channels} (axis {axis})" if others else f"{name}, {channels}"


def _built(result: DoctorResult) -> list[RenderableType]:
    """What the log says on the whole."""
    log = result.log
    if log is None:
        return []
    if not log.said_anything:
        return [
            Text(
                "the log says nothing of sparsity: build with --sparsity=enable (trtexec) or the builder flag "
                "SPARSE_WEIGHTS, and a logger that shows information",
                style="yellow",
            )
        ]
    return [Text(f"the builder found {quantity(len(log.eligible), 'layer')} eligible and picked {len(log.picked)}")]


def _engine(diagnosis: Diagnosis, log: BuildLog | None) -> str | None:
    return None if log is None else log.of(diagnosis.site.nodes)


def _total(result: DoctorResult) -> RenderableType:
    count = Counter(each.state for each in result.diagnoses)
    able = len(result.diagnoses) - count["not eligible"]
    said = f"{able} of {quantity(len(result.diagnoses), 'weight')} can run with sparse kernels: "
    said += f"{count['legal']} legal, {count['broken']} broken, {count['dense']} dense"
    return Text(said, style="bold green" if result.passes else "bold yellow" if not count["broken"] else "bold red")


def _weight(diagnosis: Diagnosis, log: BuildLog | None) -> dict[str, Any]:
    site, fours = diagnosis.site, diagnosis.fours
    return {
        "name": site.name,
        "weight": site.key.name,
        "scope": list(site.key.scope),
        "op": site.op,
        "shape": list(site.layout.shape),
        "axis": site.layout.axis,
        "channels_in": site.layout.reduction,
        "channels_out": site.outputs,
        "dtype": site.dtype,
        "state": diagnosis.state,
        "eligible": diagnosis.state != "not eligible",
        "legal": fours.is_legal,
        "sparsity": fours.zeros / site.params,
        "fours": fours.count,
        "broken_fours": fours.broken,
        "first_broken": None if fours.first is None else list(fours.first),
        "reason": diagnosis.reason,
        "advice": diagnosis.advice,
        "doubts": list(diagnosis.doubts),
        "builder": _engine(diagnosis, log),
    }
