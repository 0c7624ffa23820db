"""Control flow: operators whose attributes are graphs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from domino_onnx.bridge.registry import Family

__all__ = ["op"]

op = Family()

Body = Callable[..., tuple[Tensor, ...]]


@op("If", outputs=None, host=(0,))
def if_(condition: Tensor, *, then_branch: Body, else_branch: Body) -> tuple[Tensor, ...]:
    """Evaluate one of two subgraphs."""
    return then_branch() if bool(condition) else else_branch()


@op("Loop", outputs=None, host=(0, 1))
def loop(
    trip_count: Tensor | None, condition: Tensor | None, *carried: Tensor, body: Body, output_count: int
) -> tuple[Tensor, ...]:
    """Repeat a subgraph while its condition holds, at most `trip_count` times.

    Returns the carried values, then what each iteration gave besides them, stacked. Without any iteration the
    latter have no shape to stack, and are empty vectors.
    """
    limit = None if trip_count is None else int(trip_count)
    running = condition is None or bool(condition)
    history: list[tuple[Tensor, ...]] = []
    while running and (limit is None or len(history) < limit):
        again, *results = body(torch.tensor(len(history)), torch.tensor(running), *carried)
        running = bool(again)
        carried = tuple(results[: len(carried)])
        history.append(tuple(results[len(carried) :]))
    if not history:
        return *carried, *_empty(output_count - len(carried))
    return *carried, *(torch.stack(rows) for rows in zip(*history, strict=True))


@op("Scan", since=9, outputs=None)
def scan(
    *inputs: Tensor,
    body: Body,
    output_count: int,
    num_scan_inputs: int,
    scan_input_axes: tuple[int, ...] | None = None,
    scan_input_directions: tuple[int, ...] | None = None,
    scan_output_axes: tuple[int, ...] | None = None,
    scan_output_directions: tuple[int, ...] | None = None,
) -> tuple[Tensor, ...]:
    """Fold a subgraph over slices of the last `num_scan_inputs` inputs; the others are its state."""
    state = inputs[:-num_scan_inputs]
    axes = scan_input_axes or (0,) * num_scan_inputs
    backwards = scan_input_directions or (0,) * num_scan_inputs
    sequences = [x.unbind(axis) for x, axis in zip(inputs[-num_scan_inputs:], axes, strict=True)]
    sequences = [s[::-1] if back else s for s, back in zip(sequences, backwards, strict=True)]
    history: list[tuple[Tensor, ...]] = []
    for elements in zip(*sequences, strict=True):
        results = body(*state, *elements)
        state = results[: len(state)]
        history.append(results[len(state) :])
    if not history:
        return *state, *_empty(output_count - len(state))
    columns = [list(rows) for rows in zip(*history, strict=True)]
    axes = scan_output_axes or (0,) * len(columns)
    backwards = scan_output_directions or (0,) * len(columns)
    stacked = (
        torch.stack(rows[::-1] if back else rows, axis)
        for rows, axis, back in zip(columns, axes, backwards, strict=True)
    )
    return *state, *stacked


def _empty(count: int) -> tuple[Tensor, ...]:
    """What so many outputs are whose rows never came."""
    return (torch.empty(0),) * count
