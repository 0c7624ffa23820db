"""From a model to its drawn inputs: what each input is, how large it is, and how it is prepared."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.data import BatchAxes, Batching, InputSpec, batching_of
from domino_onnx.errors import DataError, ModelError
from domino_onnx.graph import Axes, OnnxFile
from domino_onnx.synthesis.axes import possible_lengths, sample_shapes
from domino_onnx.synthesis.describe import InputDescription, InputKind, describe_inputs
from domino_onnx.synthesis.drawing import DrawnInput
from domino_onnx.synthesis.first_layer import first_layer
from domino_onnx.synthesis.guess import Guess, guess_preparation, nearest_preparation
from domino_onnx.synthesis.photographs import has_photographs
from domino_onnx.synthesis.pictures import Motif
from domino_onnx.synthesis.preparation import (
    Preparation,
    image_preparations,
    preparation_like,
    spectrum_preparations,
)
from domino_onnx.synthesis.states import pair_states
from domino_onnx.synthesis.synthesis import Inputs, Run, Synthesis
from domino_onnx.synthesis.text_lines import has_font, is_a_line
from domino_onnx.synthesis.words import line

__all__ = ["open_synthesis"]

_GUESSED_FROM = 256
_NUMBERS = 1 << 21
"""Samples that a preparation is guessed from: up to so many, with so many numbers in all."""
_FEWEST = 24
_BATCH = 16
_MATCHED = 32
"""Drawn images whose mean and deviation are compared with those of real ones."""
_LARGEST = 1 << 26
"""Numbers in one sample of an input, at most."""


def open_synthesis(
    file: OnnxFile,
    specs: Sequence[InputSpec],
    *,
    seed: int,
    run: Run | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    kinds: Mapping[str, InputKind] | None = None,
    preparations: Mapping[str, Preparation] | None = None,
    batch_axes: BatchAxes | None = None,
    like: Mapping[str, NDArray[Any]] | None = None,
) -> Synthesis:
    """Decide how each input of a model is drawn.

    Parameters
    ----------
    specs
        What `input_specs` says of the model.
    run
        Runs the model. Without it, sizes of free axes are the first that come to mind, inputs are prepared in the most
        usual way, states stay 0, and images are taken as they are drawn.
    shapes
        Whole shapes of inputs, by name, where free axes must have certain sizes.
    kinds, preparations
        What inputs are, and how they are prepared, by name, where that is known.
    batch_axes
        Batch axes of inputs and outputs that the user names.
    like
        Real samples by input, with the shapes that `shapes` gives. Images are scaled to the mean and the deviation of
        each of their channels.

    Raises
    ------
    DataError
        If the number of an input's axes is unknown, it is absurdly large, no input has axes, or the model runs on no
        drawn inputs.
    OptionError
        If `kinds` names an input that the model hasn't got, or a kind that there isn't.
    """
    descriptions = describe_inputs(file, specs, kinds)
    batching = batching_of(file.proto, specs, batch_axes)
    synthesis = _of_fitting_batching(specs, descriptions, batching, seed, run, shapes or {})
    if not any(synthesis.has_samples(drawn) for drawn in synthesis.inputs):
        raise DataError("the model has no input of one axis or more")
    known = {**_matched(synthesis, like or {}), **(preparations or {})}
    guesses = {
        drawn.name: _guess(file, synthesis, drawn, _candidates(drawn))
        for drawn in synthesis.inputs
        if drawn.preparation is not None and drawn.name not in known
    }
    chosen = {name: guess.chosen for name, guess in guesses.items()} | dict(known)
    inputs = tuple(
        dataclasses.replace(drawn, preparation=chosen.get(drawn.name, drawn.preparation)) for drawn in synthesis.inputs
    )
    lines = tuple(line(drawn, guesses.get(drawn.name), synthesis.states) for drawn in inputs)
    return dataclasses.replace(synthesis, inputs=inputs, lines=lines)


def _of_fitting_batching(
    specs: Sequence[InputSpec],
    descriptions: Sequence[InputDescription],
    batching: Batching,
    seed: int,
    run: Run | None,
    given: Mapping[str, tuple[int, ...]],
) -> Synthesis:
    """With samples along the batch axes if the model runs on two; else each sample is a whole set of inputs."""
    axes, whole = _known_axes(specs), Batching.whole([spec.name for spec in specs])
    if not batching.certain:
        return _of_fitting_size(axes, descriptions, whole, seed, run, given)
    if all(batching.axis(spec.name) == 0 for spec in specs if spec.axes):
        return _of_fitting_size(axes, descriptions, batching, seed, run, given)
    try:
        return _of_fitting_size(axes, descriptions, batching, seed, run, given, samples=2)
    except DataError:
        return _of_fitting_size(axes, descriptions, whole, seed, run, given)


def _known_axes(specs: Sequence[InputSpec]) -> dict[str, Axes]:
    axes = {}
    for spec in specs:
        if spec.axes is None:
            raise DataError(f"the shape of input {spec.name!r} is unknown: give --data")
        axes[spec.name] = spec.axes
    return axes


def _of_fitting_size(
    axes: Mapping[str, Axes],
    descriptions: Sequence[InputDescription],
    batching: Batching,
    seed: int,
    run: Run | None,
    given: Mapping[str, tuple[int, ...]],
    samples: int = 1,
) -> Synthesis:
    """With the first lengths of free axes with which the model runs; without `run`, the first."""
    by_name = {each.name: each for each in descriptions}
    failures: dict[tuple[tuple[int, ...], ...], str] = {}
    for lengths in possible_lengths(descriptions):
        shapes = sample_shapes(axes, by_name, lengths, batching=batching, given=given)
        if tuple(shapes.values()) in failures:
            continue
        inputs = _inputs(descriptions, shapes, seed)
        synthesis = Synthesis(inputs=inputs, lines=(), batching=batching, seed=seed, run=run)
        if run is None:
            return synthesis
        inputs_of_run = synthesis.batch([synthesis.sample(0)] * (batching.size or samples))
        try:
            outputs = run(inputs_of_run)
        except ModelError as error:
            failures[tuple(shapes.values())] = str(error)
        else:
            states = {drawn.name: inputs_of_run[drawn.name] for drawn in inputs if drawn.description.kind == "state"}
            return dataclasses.replace(synthesis, states=pair_states(states, outputs))
    raise DataError(
        f"the model runs on no drawn inputs: {next(iter(failures.values()))}; give --data, or the shapes of its inputs"
    )


def _inputs(
    descriptions: Sequence[InputDescription], shapes: Mapping[str, tuple[int, ...]], seed: int
) -> tuple[DrawnInput, ...]:
    rows = [shapes[each.name] for each in descriptions if each.kind in ("tokens", "sound", "spectrogram", "features")]
    longest = max((max(shape, default=1) for shape in rows), default=1)
    inputs = tuple(
        DrawnInput(
            description=each,
            shape=shapes[each.name],
            longest=longest,
            seed=seed,
            motif=_motif(each, shapes[each.name]) if each.kind == "image" else "shapes",
        )
        for each in descriptions
    )
    for drawn in inputs:
        if math.prod(drawn.shape) > _LARGEST:
            raise DataError(f"input {drawn.name!r} of shape {drawn.shape} is too large to draw; give --data")
    return tuple(dataclasses.replace(drawn, preparation=next(iter(_candidates(drawn)), None)) for drawn in inputs)


def _motif(image: InputDescription, shape: Sequence[int]) -> Motif:
    height, width = shape[-2:] if image.layout == "NCHW" else shape[-3:-1]
    if is_a_line(height, width) and has_font():
        return "text"
    return "photographs" if has_photographs() else "shapes"


def _candidates(drawn: DrawnInput) -> tuple[Preparation, ...]:
    if drawn.description.kind == "image":
        return image_preparations(drawn.shape[-3 if drawn.description.layout == "NCHW" else -1], drawn.dtype)
    return spectrum_preparations() if drawn.description.kind == "spectrogram" else ()


def _guess(file: OnnxFile, synthesis: Synthesis, drawn: DrawnInput, candidates: Sequence[Preparation]) -> Guess:
    """The preparation that the first layer or the answers speak for; the most usual one if the model can't be run."""
    if synthesis.run is None or len(candidates) == 1:
        return Guess(chosen=candidates[0], runner_up=None, criteria={}, measure="")
    count = min(_GUESSED_FROM, max(_FEWEST, _NUMBERS // max(math.prod(drawn.shape), 1)))
    size = synthesis.batching.size or _BATCH
    drawings = [synthesis.raw(place) for place in range(-(-count // size) * size)]
    strength = None
    if drawn.description.kind == "image":
        planes = _planes(drawn, np.stack([drawing[drawn.name] for drawing in drawings[:_MATCHED]]))
        layer = first_layer(file, drawn.name, planes.shape[1:])
        if layer is not None and layer.mean is not None:
            return nearest_preparation(layer, planes, candidates)
        strength = None if layer is None else lambda way: layer.strength(way(planes))
    batches = [drawings[start : start + size] for start in range(0, len(drawings), size)]
    return guess_preparation(lambda way: _outputs(synthesis, drawn.name, way, batches), candidates, strength)


def _planes(drawn: DrawnInput, samples: NDArray[Any]) -> NDArray[np.float32]:
    """(images, channels, height, width) of drawn samples, in whatever axes there are before an image's three."""
    images = samples.reshape(-1, *drawn.shape[-3:]).astype(np.float32)
    return images if drawn.description.layout == "NCHW" else np.moveaxis(images, -1, 1)


def _matched(synthesis: Synthesis, real: Mapping[str, NDArray[Any]]) -> dict[str, Preparation]:
    """The preparation of each image that there are real ones of."""
    found = {}
    for drawn in synthesis.inputs:
        if drawn.description.kind == "image" and drawn.dtype.kind == "f" and drawn.name in real:
            channel = -3 if drawn.description.layout == "NCHW" else -1
            pixels = np.stack([synthesis.raw(place)[drawn.name] for place in range(_MATCHED)])
            planes, wanted = (np.moveaxis(each, channel, 0) for each in (pixels, real[drawn.name]))
            found[drawn.name] = preparation_like(planes, wanted)
    return found


def _outputs(
    synthesis: Synthesis, name: str, preparation: Preparation, batches: Sequence[Sequence[Inputs]]
) -> dict[str, NDArray[Any]]:
    """The model's outputs on samples that are prepared in this way, as far as all runs give them in one shape."""
    assert synthesis.run is not None
    inputs = tuple(
        dataclasses.replace(each, preparation=preparation) if each.name == name else each for each in synthesis.inputs
    )
    varied = dataclasses.replace(synthesis, inputs=inputs)
    runs = [synthesis.run(varied.batch([varied.prepared(drawing) for drawing in batch])) for batch in batches]
    axes = synthesis.batching.outputs
    return {
        name: np.concatenate([np.moveaxis(outputs[name], axes.get(name, 0), 0) for outputs in runs])
        for name, first in runs[0].items()
        if isinstance(first, np.ndarray)
        and first.ndim > axes.get(name, 0)
        and len({outputs[name].shape for outputs in runs}) == 1
    }
