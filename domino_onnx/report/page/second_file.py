"""The file for the CPU, as a part of the page: what each layer gained, and what the whole model did."""

from __future__ import annotations

from typing import Any

from domino_onnx.percentage import percent
from domino_onnx.report.results import DeployedLayer, DeployResult
from domino_onnx.report.speed import closeness, fused, milliseconds, on_threads, skipping, truth_in_words
from domino_onnx.report.text import file_size, printable, printable_reason, shape

__all__ = ["second_card", "second_file", "second_verdict"]

_LONGEST = 500
_NO_TIMES = [(0.0, "")] * 3


def second_verdict(result: DeployResult) -> str:
    """How fast it is and how large."""
    name, speed = printable(result.output.name, 100), result.dense / result.deployed
    return f"{name} runs {speed:.2f} times as fast on this CPU, and takes {file_size(result.nbytes)}."


def second_card(result: DeployResult) -> tuple[str, str]:
    """A run before and after."""
    times = f"{milliseconds(result.dense)} → {milliseconds(result.deployed)} ms"
    return f"a run on this CPU, {on_threads(result.threads)}", times


def second_file(result: DeployResult | None) -> dict[str, Any] | None:
    """All that the template shows of it; None where no second file was written."""
    if result is None:
        return None
    return {
        "name": printable(str(result.output), _LONGEST),
        "products": skipping(result),
        "fused": fused(result),
        "closeness": closeness(result),
        "bits": result.bits,
        "truth": truth_in_words(result),
        "rows": [_layer(layer) for layer in result.layers] + [_kept(*each) for each in result.kept],
    }


def _layer(layer: DeployedLayer) -> dict[str, Any]:
    return {
        "name": printable(layer.name, _LONGEST),
        "op": layer.op,
        "shape": shape(layer.shape),
        "zeros": layer.zeros,
        "zeros_said": percent(layer.zeros, 0),
        "times": [(each or 0.0, "" if each is None else milliseconds(each)) for each in layer.times],
        "chosen": layer.chosen,
        "why": printable_reason(layer.reason),
    }


def _kept(name: str, op: str, reason: str) -> dict[str, Any]:
    """A product that no kernel takes, and that wasn't timed."""
    return {
        "name": printable(name, _LONGEST),
        "op": op,
        "shape": "",
        "zeros": 0.0,
        "zeros_said": "",
        "times": _NO_TIMES,
        "chosen": "dense",
        "why": printable_reason(reason),
    }
