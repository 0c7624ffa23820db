"""What to do with a file that was written: the commands to type, the most pressing first."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import NamedTuple

from domino_onnx.report.results import CompressResult
from domino_onnx.report.text import printable

__all__ = ["Step", "next_steps"]

_LONGEST = 300


class Step(NamedTuple):
    """A command, and what it is for."""

    why: str
    command: str


def next_steps(result: CompressResult) -> tuple[Step, ...]:
    """First see what fewer zeros keep, if much was lost; judge what wasn't judged; then make use of what was won."""
    return tuple(_steps(result))


def _steps(result: CompressResult) -> Iterator[Step]:
    model, output = (printable(shlex.quote(str(path)), _LONGEST) for path in (result.model, result.output))
    if result.loses_much:
        yield Step("See what fewer zeros keep: this file lost much.", _sweep(result, model))
    if not _is_judged(result):
        yield Step("Measure what it keeps, on your own samples.", f"domino-onnx evaluate {model} {output} --data FILE")
    if not result.loses_much:
        yield from _uses(result, model, output)
    yield Step("Prove what the file says of itself.", f"domino-onnx verify {output}")


def _uses(result: CompressResult, model: str, output: str) -> Iterator[Step]:
    """What makes something of the zeros."""
    if result.plan.target == "tensorrt":  # it looks for zeros in place, and runs on another machine
        yield Step("See which weights TensorRT can run sparse.", f"domino-onnx doctor {output}")
        return
    if _packs(result):
        yield Step("Make the file smaller.", f"domino-onnx convert {output} --format packed")
    yield from _on_the_cpu(result, model, output)


def _sweep(result: CompressResult, model: str) -> str:
    """With samples as the run had them; others judge where it had none to judge by."""
    if result.drawn:
        return f"domino-onnx sweep {model}"
    if result.judge_seen:
        return f"domino-onnx sweep {model} --data FILE --eval-data FILE"
    return f"domino-onnx sweep {model} --data FILE"


def _is_judged(result: CompressResult) -> bool:
    """Whether real samples that nothing learned from have judged the file."""
    return result.parity is not None and result.parity.inputs == "data" and not result.judge_seen


def _packs(result: CompressResult) -> bool:
    """Whether leaving out the zeros makes the file smaller; large files aren't tried, and are taken to."""
    if result.options.output.format == "packed":
        return False
    sizes = result.sizes
    return sizes is None or sizes.packed is None or sizes.packed < sizes.after


def _on_the_cpu(result: CompressResult, model: str, output: str) -> Iterator[Step]:
    """Make a file for the CPU, or time it; neither in half precision, which no operator for the CPU takes."""
    if result.options.output.precision == "fp16":
        return
    if result.deployed is None:
        yield Step("Make it faster on this CPU.", f"domino-onnx deploy {output}")
        return
    second = printable(shlex.quote(str(result.deployed.output)), _LONGEST)
    yield Step("Time all files side by side.", f"domino-onnx benchmark {model} {output} {second}")
