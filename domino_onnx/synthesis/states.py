"""What a model remembers from one run to the next: zeros at first, then what it makes of them itself."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from domino_onnx.outputs import Outputs

__all__ = ["STEPS", "next_states", "pair_states"]

STEPS: Final = 4
"""Sample number i has gone through i modulo so many runs before."""


def pair_states(states: Mapping[str, NDArray[Any]], outputs: Outputs) -> dict[str, str]:
    """Which output is the next value of which state: of those with a shape that fits, the one named most alike.

    An output that has grown along one axis fits as well: of a cache of keys the last places are kept. A state without
    an output isn't in the result, and stays 0.
    """
    pairs: dict[str, str] = {}
    for name, state in states.items():
        fitting = [output for output, value in outputs.items() if output not in pairs.values() and _fits(value, state)]
        if fitting:
            pairs[name] = max(fitting, key=lambda output: difflib.SequenceMatcher(None, name, output).ratio())
    return pairs


def next_states(
    states: Mapping[str, NDArray[Any]], pairs: Mapping[str, str], outputs: Outputs
) -> dict[str, NDArray[Any]]:
    """The states after a run, each with the shape and dtype that it had."""
    return {
        name: _last(outputs[pairs[name]], state.shape).astype(state.dtype) if name in pairs else state
        for name, state in states.items()
    }


def _fits(value: Any, state: NDArray[Any]) -> bool:
    if not isinstance(value, np.ndarray) or value.dtype.kind != state.dtype.kind or value.ndim != state.ndim:
        return False
    larger = [have - want for have, want in zip(value.shape, state.shape, strict=True)]
    return min(larger, default=0) >= 0 and sum(more > 0 for more in larger) <= 1


def _last(value: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    return value[tuple(slice(have - want, have) for have, want in zip(value.shape, shape, strict=True))]
