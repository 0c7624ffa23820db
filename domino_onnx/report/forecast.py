"""What a run is going to cost, for people and for scripts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from domino_onnx.forecast import Forecast
from domino_onnx.percentage import percent
from domino_onnx.plurals import quantity
from domino_onnx.report.text import printable_reason

__all__ = ["TITLES", "clock", "forecast_document", "forecast_lines", "space_line"]

TITLES = {
    "benchmark": "timing the models",
    "bridge": "building the torch model",
    "calibrate": "measuring the ranges of activations",
    "draw": "drawing samples",
    "estimate": "estimating",
    "evaluate": "comparing with the dense model",
    "finetune": "finetuning",
    "measure": "measuring what is lost",
    "outputs": "looking at the outputs",
    "read": "reading",
    "refit": "refitting",
    "search": "choosing schemes",
    "time": "timing layers",
    "try": "trying a plan",
    "write": "writing",
}
"""What stages are called for people."""
_WORTH_SAYING = 0.02
"""Share of the time, and of the file, from which on something is named."""
_DAY = 24
_SHORT_OF = 0.9
"""Share of what is available from which on a user is told to look out."""


def clock(seconds: float) -> str:
    """3:05 for 185 seconds; 1:02:05 from an hour on; 2 days 3 h from a day on."""
    minutes, second = divmod(max(round(seconds), 0), 60)
    hours, minute = divmod(minutes, 60)
    if hours >= _DAY:
        return f"{quantity(hours // _DAY, 'day')} {hours % _DAY} h"
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minutes}:{second:02}"


def forecast_lines(forecast: Forecast) -> list[str]:
    """What it takes, where that goes, what it needs, and what of the model it is about."""
    return [_time(forecast), space_line(forecast), *_model(forecast)]


def _time(forecast: Forecast) -> str:
    most = sorted(forecast.stages, key=lambda stage: -stage.seconds)
    named = [stage for stage in most if stage.seconds >= _WORTH_SAYING * forecast.seconds]
    parts = ", ".join(f"{TITLES.get(stage.name, stage.name)} {clock(stage.seconds)}" for stage in named)
    threads = f" on {quantity(forecast.threads, 'thread')}" if forecast.threads else ""
    without = "; --no-finetune leaves out finetuning" if forecast.may_skip_finetuning else ""
    return f"about {clock(forecast.seconds)}{threads}: {parts}{without}"


def space_line(forecast: Forecast) -> str:
    """Memory and disk that it needs, and whether there is as much."""
    memory = _of(forecast.memory, forecast.memory_available, "memory", "--memory or fewer --data take less")
    if forecast.is_over_limit and forecast.memory_limit is not None:
        memory += f", more than the {_size(forecast.memory_limit)} of --memory: a smaller --batch-size takes less,"
    disk = _of(forecast.disk, forecast.disk_available, "disk", "make room")
    return "needs about " + " and ".join(part for part in (memory, disk) if part).removesuffix(",")


def _of(needed: int, available: int | None, what: str, advice: str) -> str:
    if not needed:
        return ""
    if available is None:
        return f"{_size(needed)} of {what}"
    warning = f", which is short: {advice}" if needed > _SHORT_OF * available else ""
    return f"{_size(needed)} of {what} ({_size(available)} free{warning})"


def _model(forecast: Forecast) -> Iterator[str]:
    said = f"{_most(forecast.prunable)} of this model can be pruned"
    largest = next(iter(forecast.unprunable), None)
    if largest is None or largest.share < _WORTH_SAYING:
        yield said
        return
    share, left = percent(largest.share, 0), percent(1 - forecast.prunable, 0)
    if largest.counted:
        told = f"{share} can't" if share == left else f"{left} can't, {share} of the model for one reason"
        yield f"{said}; {told} ({largest.op}): {printable_reason(largest.reason)}"
    else:
        told = share if share == left else f"{left} can't, and {share} of the model"
        yield f"{said}; {told} is {largest.op}, which this program doesn't prune"


def _most(share: float) -> str:
    """A share that is all of it only where it is all."""
    return "nearly all" if 0.995 <= share < 1 else percent(share, 0)


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(count / 1e6, 0.1):.3g} MB"


def forecast_document(forecast: Forecast | None) -> dict[str, Any] | None:
    """What was expected before the work began."""
    if forecast is None:
        return None
    return {
        "seconds": round(forecast.seconds, 3),
        "seconds_by_stage": {stage.name: round(stage.seconds, 3) for stage in forecast.stages},
        "threads": forecast.threads,
        "memory_bytes": forecast.memory,
        "memory_bytes_available": forecast.memory_available,
        "memory_bytes_allowed": forecast.memory_limit,
        "disk_bytes": forecast.disk,
        "disk_bytes_available": forecast.disk_available,
        "prunable": forecast.prunable,
        "unprunable": [dataclasses.asdict(each) for each in forecast.unprunable],
        "finetunes": forecast.finetunes,
    }
