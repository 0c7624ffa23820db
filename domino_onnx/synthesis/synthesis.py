"""Inputs for a model without data: any number of samples, each drawn from a seed and its number."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from domino_onnx.data import Augmentation, Batching, Dataset, Stream
from domino_onnx.outputs import Outputs
from domino_onnx.synthesis.ahead import DrawnAhead
from domino_onnx.synthesis.drawing import DrawnInput, draw, prepared
from domino_onnx.synthesis.samples import DrawnSamples, KeptSamples
from domino_onnx.synthesis.states import STEPS, next_states
from domino_onnx.synthesis.tokens import share_used

__all__ = ["Inputs", "Run", "Synthesis"]

Inputs: TypeAlias = Mapping[str, NDArray[Any]]
Run: TypeAlias = Callable[[Inputs], Outputs]
"""Runs the model on a batch, as `Session.run` does. ModelError if it can't be run on it."""
_SHARED: Final = "length"
"""Tells the draw that all inputs of a sample share from those of each input."""
_SHIFT: Final = 8
"""Images are shifted by up to this part of their short side."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Synthesis:
    """Samples of all inputs of a model. The same number gives the same sample, whatever batch it is in.

    Attributes
    ----------
    inputs
        Every input, and how it is drawn.
    lines
        What each input is taken to be, for a report.
    batching
        Where samples lie in each input, or that each is a whole set of inputs.
    run
        The model, where states are to be what it makes of them; None leaves them 0.
    states
        Which output is the next value of which input.
    """

    inputs: tuple[DrawnInput, ...]
    lines: tuple[str, ...]
    batching: Batching
    seed: int
    run: Run | None = None
    states: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def sample(self, place: int) -> dict[str, NDArray[Any]]:
        """The inputs of one sample, without a batch axis unless samples are whole sets of inputs."""
        values = self._drawn([place])
        for step in range(1, place % STEPS + 1 if self.states else 1):
            values |= self._after({**self._drawn([place, step]), **self._kept(values)})
        return values

    def take(self, indices: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """The inputs of one run for these samples, as `Dataset.take` gives them."""
        return self.batch([self.sample(int(place)) for place in indices])

    def batch(self, samples: Sequence[Inputs]) -> dict[str, NDArray[Any]]:
        """Samples as the inputs of one run. A whole set of inputs is a run by itself."""
        if self.batching.stacked:
            return dict(samples[0])
        return {
            drawn.name: samples[0][drawn.name]
            if axis is None
            else np.stack([sample[drawn.name] for sample in samples], axis)
            for drawn, axis in ((drawn, self.batching.axis(drawn.name)) for drawn in self.inputs)
        }

    def dataset(self, count: int) -> Dataset:
        """The first samples for all that takes data. They are drawn when they are taken."""
        return self._dataset(0, count, KeptSamples(self.sample, moving=False))

    def stream(self, first: int, judges: int, *, window: int, fresh: int, processes: int = 0) -> Stream:
        """All samples from number `first` on, of which `judges` judge. Images are mirrored and shifted at random too.

        Parameters
        ----------
        window, fresh
            As `Stream` has them.
        processes
            How many others draw ahead of what is taken. What comes out doesn't depend on them.
        """
        kept = KeptSamples(DrawnAhead(self, first + judges, 0 if self.states else processes), moving=True)
        data = self._dataset(first, judges, kept)
        varied = {drawn.name: _variation(drawn) for drawn in self.inputs if drawn.description.kind == "image"}
        return Stream(data=dataclasses.replace(data, augment=varied), window=window, fresh=fresh)

    def _dataset(self, first: int, count: int, kept: KeptSamples) -> Dataset:
        arrays = {
            drawn.name: DrawnSamples(kept=kept, drawn=drawn, first=first, count=count)
            for drawn in self.inputs
            if self.has_samples(drawn)
        }
        one = self.sample(0)
        constant = {drawn.name: one[drawn.name] for drawn in self.inputs if drawn.name not in arrays}
        axes = {name: self.batching.axis(name) for name in arrays}
        return Dataset(
            arrays=arrays, constant=constant, labels=None, batching=dataclasses.replace(self.batching, axes=axes)
        )

    def has_samples(self, drawn: DrawnInput) -> bool:
        """Whether each sample has values of its own for an input. A lone number is the same for all."""
        return self.batching.axis(drawn.name) is not None or (
            self.batching.stacked and drawn.description.spec.axes != ()
        )

    def raw(self, place: int) -> dict[str, NDArray[Any]]:
        """One sample as it is drawn, before anything is prepared."""
        return self._raw([place])

    def prepared(self, values: Inputs) -> dict[str, NDArray[Any]]:
        """Drawn inputs as the model takes them."""
        return {drawn.name: prepared(drawn, values[drawn.name], drawn.preparation) for drawn in self.inputs}

    def _raw(self, seeds: Sequence[int]) -> dict[str, NDArray[Any]]:
        """All inputs, states at 0. Each has a generator of its own, so that none depends on the others' sizes."""
        share = share_used(self._generator(seeds, _SHARED))
        return {drawn.name: draw(drawn, self._generator(seeds, drawn.name), share) for drawn in self.inputs}

    def _drawn(self, seeds: Sequence[int]) -> dict[str, NDArray[Any]]:
        return self.prepared(self._raw(seeds))

    def _kept(self, values: Inputs) -> dict[str, NDArray[Any]]:
        return {name: values[name] for name in self.states}

    def _after(self, values: Inputs) -> dict[str, NDArray[Any]]:
        """The states that the model makes of one sample."""
        assert self.run is not None
        inputs = self.batch([values] * (self.batching.size or 1))
        states = next_states({name: inputs[name] for name in self.states}, self.states, self.run(inputs))
        axes = {name: self.batching.axis(name) for name in states}
        return {name: state if (axis := axes[name]) is None else state.take(0, axis) for name, state in states.items()}

    def _generator(self, seeds: Sequence[int], name: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, *seeds, zlib.crc32(name.encode())])


def _variation(drawn: DrawnInput) -> Augmentation:
    """What is as likely drawn as an image itself: its mirror image, and the image some pixels away."""
    height = len(drawn.shape) - (2 if drawn.description.layout == "NCHW" else 3)
    return Augmentation(flip=True, crop_padding=min(drawn.shape[height : height + 2]) // _SHIFT, height=height)
