"""What the recurrent layers share: directions, unrolling in time, layouts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "Cell",
    "Direction",
    "State",
    "directions_of",
    "flat_weights",
    "initial_state",
    "laid_out",
    "run_layer",
    "time_reversed",
]

State = tuple[Tensor, ...]
Cell = Callable[[Tensor, State], State]

_ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "elu": F.elu,
    "hardsigmoid": lambda x: torch.clamp(0.2 * x + 0.5, 0.0, 1.0),
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "softsign": F.softsign,
    "tanh": torch.tanh,
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Direction:
    """The parameters of one direction: W (gates * H, I), R (gates * H, H), both biases (gates * H,)."""

    w: Tensor
    r: Tensor
    wb: Tensor
    rb: Tensor
    activations: tuple[Callable[[Tensor], Tensor], ...]
    backwards: bool


def directions_of(w: Tensor, r: Tensor, b: Tensor | None, direction: str, names: Sequence[str]) -> list[Direction]:
    """Take the parameters of a layer apart; `names` are the activations of all directions."""
    count, rows = w.shape[:2]
    bias = w.new_zeros(count, 2 * rows) if b is None else b
    functions = [_ACTIVATIONS[name.lower()] for name in names]
    each = len(functions) // count
    return [
        Direction(
            w=w[i],
            r=r[i],
            wb=bias[i, :rows],
            rb=bias[i, rows:],
            activations=tuple(functions[i * each : (i + 1) * each]),
            backwards=direction == "reverse" or i == 1,
        )
        for i in range(count)
    ]


def _unroll(x: Tensor, lengths: Tensor | None, state: State, cell: Cell, *, backwards: bool) -> tuple[Tensor, State]:
    """Run a cell over (T, N, ...); where a sequence has ended its state stays and its output is 0."""
    steps = range(x.shape[0])
    outputs: list[Tensor] = []
    for step in reversed(steps) if backwards else steps:
        new = cell(x[step], state)
        output = new[0]
        if lengths is not None:
            alive = (step < lengths).unsqueeze(1)
            new = tuple(torch.where(alive, after, before) for after, before in zip(new, state, strict=True))
            output = torch.where(alive, output, 0.0)
        state = new
        outputs.append(output)
    return torch.stack(outputs[::-1] if backwards else outputs), state


def run_layer(
    lengths: Tensor | None,
    initial: Sequence[Tensor],
    cells: Sequence[tuple[Cell, Tensor, bool]],
    layout: int,
) -> tuple[Tensor, ...]:
    """Run all directions; a cell comes with its projected input and whether it runs backwards."""
    runs = [
        _unroll(projected, lengths, tuple(s[i] for s in initial), cell, backwards=backwards)
        for i, (cell, projected, backwards) in enumerate(cells)
    ]
    y = torch.stack([outputs for outputs, _ in runs], dim=1)
    finals = [torch.stack([state[k] for _, state in runs]) for k in range(len(initial))]
    return laid_out(y, finals, layout)


def laid_out(y: Tensor, finals: Sequence[Tensor], layout: int) -> tuple[Tensor, ...]:
    """Bring (T, D, N, H) and (D, N, H) into the wanted layout: batch first if 1."""
    if layout:
        return y.permute(2, 0, 1, 3), *(final.transpose(0, 1) for final in finals)
    return y, *finals


def initial_state(x: Tensor, state: Tensor | None, count: int, hidden: int, layout: int) -> Tensor:
    """Return the state (D, N, H) that an optional input gives in its layout, zeros without it."""
    if state is None:
        return x.new_zeros(count, x.shape[1], hidden)
    return state.transpose(0, 1) if layout else state


def _reordered(x: Tensor, order: Sequence[int]) -> Tensor:
    """Reorder the gates that are stacked in the first axis."""
    gates = x.chunk(len(order))
    return torch.cat([gates[i] for i in order])


def flat_weights(directions: Sequence[Direction], order: Sequence[int]) -> list[Tensor]:
    """Return the parameters as torch's recurrent functions want them."""
    return [_reordered(p, order) for d in directions for p in (d.w, d.r, d.wb, d.rb)]


def time_reversed(x: Tensor, direction: str) -> Tensor:
    """Reverse the time of a layer that runs backwards only, for torch has none."""
    return x.flip(0) if direction == "reverse" else x
