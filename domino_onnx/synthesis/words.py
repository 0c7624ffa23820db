"""What a user reads about each drawn input: one line."""

from __future__ import annotations

from collections.abc import Mapping

from domino_onnx.synthesis.drawing import DrawnInput
from domino_onnx.synthesis.guess import Guess
from domino_onnx.synthesis.sound import RATE

__all__ = ["line"]

_COLOURS = {1: "grey", 3: "colour", 4: "four-channel"}


def line(drawn: DrawnInput, guess: Guess | None, states: Mapping[str, str]) -> str:
    """The input's name, what is drawn for it, and how that is prepared.

    Parameters
    ----------
    guess
        Where the preparation was guessed.
    states
        Which output is the next value of which input.
    """
    said = _said(drawn, states)
    if guess is not None:
        return f"{drawn.name}: {said}; {guess.words}"
    return f"{drawn.name}: {said}" + ("" if drawn.preparation is None else f"; {drawn.preparation.words}")


def _said(drawn: DrawnInput, states: Mapping[str, str]) -> str:
    kind, shape = drawn.description.kind, drawn.shape
    size = " x ".join(map(str, shape)) or "one"
    if kind == "image":
        return _image(drawn)
    if kind == "state":
        source = states.get(drawn.name)
        return f"a state of {size}: zeros" + ("" if source is None else f", then what the output {source!r} was")
    if kind == "rate":
        return f"the sampling rate {RATE}"
    below = "" if drawn.description.rows is None else f" below {drawn.description.rows}"
    return {
        "sound": f"sounds of {size} samples",
        "spectrogram": f"spectrograms of {size}",
        "table": f"rows of {size} columns",
        "features": f"smooth features of {size}",
        "tokens": f"tokens of {size}{below}",
        "mask": f"a mask of {size}, 1 for what is used",
        "segments": f"numbers of sentences, {size}",
        "positions": f"positions, {size}",
        "length": "how much is used",
        "flag": f"truth values, {size}",
        "number": "1",
    }[kind]


def _image(drawn: DrawnInput) -> str:
    layout = drawn.description.layout
    first, second, third = drawn.shape[-3:]
    height, width, channels = (second, third, first) if layout == "NCHW" else (first, second, third)
    made = {"shapes": "images", "photographs": "crops of photographs", "text": "lines of text"}[drawn.motif]
    return f"{_COLOURS[channels]} {made} of {height} x {width} ({layout})"
