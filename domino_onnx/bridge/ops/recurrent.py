"""Recurrent layers: torch's own where it computes the same, otherwise one cell at a time."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from domino_onnx.bridge.ops.unroll import (
    Cell,
    Direction,
    State,
    directions_of,
    flat_weights,
    initial_state,
    laid_out,
    run_layer,
    time_reversed,
)
from domino_onnx.bridge.registry import Family

__all__ = ["op"]

op = Family()


@op("LSTM", since=7, outputs=3, ignored=("hidden_size",))
def lstm(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    lengths: Tensor | None = None,
    initial_h: Tensor | None = None,
    initial_c: Tensor | None = None,
    peephole: Tensor | None = None,
    *,
    activations: tuple[str, ...] | None = None,
    clip: float | None = None,
    direction: str = "forward",
    input_forget: int = 0,
    layout: int = 0,
) -> tuple[Tensor, ...]:
    """Long short-term memory over (T, N, I); the gates have the order i, o, f, c."""
    x = x.transpose(0, 1) if layout else x
    count, hidden = r.shape[0], r.shape[2]
    h, c = (initial_state(x, state, count, hidden, layout) for state in (initial_h, initial_c))
    directions = directions_of(w, r, b, direction, activations or ("Sigmoid", "Tanh", "Tanh") * count)
    standard = activations is None or [a.lower() for a in activations] == ["sigmoid", "tanh", "tanh"] * count
    if standard and lengths is None and peephole is None and clip is None and not input_forget:
        flat = flat_weights(directions, (0, 2, 3, 1))
        y, h, c = torch.lstm(time_reversed(x, direction), (h, c), flat, True, 1, 0.0, False, count == 2, False)
        y = time_reversed(y, direction).reshape(*y.shape[:2], count, hidden).transpose(1, 2)
        return laid_out(y, (h, c), layout)
    peepholes = [None] * count if peephole is None else peephole.unbind()
    cells = [
        (_lstm_cell(one, p, clip, bool(input_forget)), F.linear(x, one.w, one.wb + one.rb), one.backwards)
        for one, p in zip(directions, peepholes, strict=True)
    ]
    return run_layer(lengths, (h, c), cells, layout)


def _lstm_cell(one: Direction, peephole: Tensor | None, clip: float | None, input_forget: bool) -> Cell:
    f, g, h = one.activations
    pi, po, pf = (0.0, 0.0, 0.0) if peephole is None else peephole.chunk(3)

    def limited(x: Tensor) -> Tensor:
        return x if clip is None else x.clamp(-clip, clip)

    def cell(projected: Tensor, state: State) -> State:
        hidden, memory = state
        i, o, forget, new = (projected + F.linear(hidden, one.r)).chunk(4, dim=-1)
        i = f(limited(i + pi * memory))
        forget = 1 - i if input_forget else f(limited(forget + pf * memory))
        memory = forget * memory + i * g(limited(new))
        return f(limited(o + po * memory)) * h(memory), memory

    return cell


@op("GRU", since=7, outputs=2, ignored=("hidden_size",))
def gru(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    lengths: Tensor | None = None,
    initial_h: Tensor | None = None,
    *,
    activations: tuple[str, ...] | None = None,
    clip: float | None = None,
    direction: str = "forward",
    layout: int = 0,
    linear_before_reset: int = 0,
) -> tuple[Tensor, ...]:
    """Gated recurrent unit over (T, N, I); the gates have the order z, r, h."""
    x = x.transpose(0, 1) if layout else x
    count, hidden = r.shape[0], r.shape[2]
    h = initial_state(x, initial_h, count, hidden, layout)
    directions = directions_of(w, r, b, direction, activations or ("Sigmoid", "Tanh") * count)
    standard = activations is None or [a.lower() for a in activations] == ["sigmoid", "tanh"] * count
    if standard and lengths is None and clip is None and linear_before_reset:
        flat = flat_weights(directions, (1, 0, 2))
        y, h = torch.gru(time_reversed(x, direction), h, flat, True, 1, 0.0, False, count == 2, False)
        y = time_reversed(y, direction).reshape(*y.shape[:2], count, hidden).transpose(1, 2)
        return laid_out(y, (h,), layout)
    cells = [
        (_gru_cell(one, clip, bool(linear_before_reset)), F.linear(x, one.w, one.wb), one.backwards)
        for one in directions
    ]
    return run_layer(lengths, (h,), cells, layout)


def _gru_cell(one: Direction, clip: float | None, linear_before_reset: bool) -> Cell:
    f, g = one.activations
    rz, rr, rh = one.r.chunk(3)
    bz, br, bh = one.rb.chunk(3)

    def limited(x: Tensor) -> Tensor:
        return x if clip is None else x.clamp(-clip, clip)

    def cell(projected: Tensor, state: State) -> State:
        (hidden,) = state
        z, reset, new = projected.chunk(3, dim=-1)
        z = f(limited(z + F.linear(hidden, rz, bz)))
        reset = f(limited(reset + F.linear(hidden, rr, br)))
        if linear_before_reset:
            new = g(limited(new + reset * F.linear(hidden, rh, bh)))
        else:
            new = g(limited(new + F.linear(reset * hidden, rh, bh)))
        return ((1 - z) * new + z * hidden,)

    return cell


@op("RNN", since=7, outputs=2, ignored=("hidden_size",))
def rnn(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    lengths: Tensor | None = None,
    initial_h: Tensor | None = None,
    *,
    activations: tuple[str, ...] | None = None,
    clip: float | None = None,
    direction: str = "forward",
    layout: int = 0,
) -> tuple[Tensor, ...]:
    """Elman's network over (T, N, I)."""
    x = x.transpose(0, 1) if layout else x
    count, hidden = r.shape[0], r.shape[2]
    h = initial_state(x, initial_h, count, hidden, layout)
    directions = directions_of(w, r, b, direction, activations or ("Tanh",) * count)
    cells = [(_rnn_cell(one, clip), F.linear(x, one.w, one.wb + one.rb), one.backwards) for one in directions]
    return run_layer(lengths, (h,), cells, layout)


def _rnn_cell(one: Direction, clip: float | None) -> Cell:
    (activation,) = one.activations

    def cell(projected: Tensor, state: State) -> State:
        total = projected + F.linear(state[0], one.r)
        return (activation(total if clip is None else total.clamp(-clip, clip)),)

    return cell
