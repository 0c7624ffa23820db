"""What do 8 bits cost a model? Some samples of the data calibrate the grids of activations, others judge."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from domino_onnx.errors import ModelError
from domino_onnx.graph import OnnxFile, with_outputs
from domino_onnx.options import CompressOptions
from domino_onnx.stages.deploying.sampling import samples_of

if TYPE_CHECKING:
    from domino_onnx.data import Dataset
    from domino_onnx.deployment import Grid, Layer
    from domino_onnx.runtime import ChildSession

__all__ = ["MOST_DIVERGENCE", "ByteJudge", "Grids", "byte_judge"]

MOST_DIVERGENCE = 0.001
"""Of the outputs (`OutputDivergence`), up to which the precision `auto` takes 8 bits."""
_SAMPLES = 32
_FEW = 8
_MOST_BYTES = 256 << 20
"""Of outputs that are held to be compared with."""
_Arrays = Mapping[str, NDArray[Any]]
Grids = Mapping[str, "Grid"]


class ByteJudge:
    """Grids of activations, and how far a model with 8 bits is from the one that was read.

    Attributes
    ----------
    grids
        For each share of kept values (`KEPT_SHARES`), of the activations around convolutions.
    layers
        Those that were given, with the means of their inputs.
    most
        Divergence that is borne.
    samples
        How many judge. No grid was calibrated on them.
    """

    def __init__(
        self, file: OnnxFile, model: bytes, layers: Sequence[Layer], data: Dataset, threads: int, most: float
    ) -> None:
        from domino_onnx.evaluate import meanings_on
        from domino_onnx.outputs import OutputDivergence
        from domino_onnx.runtime import ChildSession

        self.most = most
        self._threads = threads
        batch = data.batch or 1
        chosen = data.subset(_evenly(data.count, max(2 * _SAMPLES // batch, 2) * batch))
        runs = list(chosen.batches(1))
        with ChildSession(model, threads=self._threads) as session:
            self._divergence = OutputDivergence(meanings_on(session, chosen, 1))
            self._teach, self._judge = (_answered(session, each) for each in (runs[::2], runs[1::2]))
        self.grids, self.layers = _calibrated(file, layers, runs[::2], self._threads)
        self.samples = batch * len(self._judge)

    @property
    def usable(self) -> bool:
        """Whether the model has an output whose differences mean something."""
        return self._divergence.usable and bool(self._judge)

    @property
    def is_strict(self) -> bool:
        """Whether not every divergence is borne."""
        return self.most < math.inf

    def bears(self, proto: ModelProto) -> bool:
        """Whether a model's outputs are close enough on the samples that judge."""
        return self.divergence(proto) <= self.most

    def divergence(self, proto: ModelProto, *, few: bool = False) -> float:
        """Of a model's outputs, on the samples that judge (`OutputDivergence`); on a few of them, to compare layers."""
        return self._of(proto, self._judge[:_FEW] if few else self._judge)

    def closest(self, protos: Sequence[ModelProto]) -> int:
        """Which of several models is the closest on the samples that its grids were calibrated on."""
        return min(range(len(protos)), key=lambda place: self._of(protos[place], self._teach))

    def _of(self, proto: ModelProto, samples: Sequence[tuple[_Arrays, _Arrays]]) -> float:
        from domino_onnx.runtime import Session

        session = Session(bytes(proto.SerializeToString()), device="cpu", threads=self._threads)
        found: Iterable[_Arrays] = (session.run(inputs) for inputs, _ in samples)
        return self._divergence((wanted for _, wanted in samples), found)


def byte_judge(
    file: OnnxFile, model: bytes, layers: Sequence[Layer], options: CompressOptions, most: float = MOST_DIVERGENCE
) -> ByteJudge | str:
    """Calibrate on the data of the options; why not, where there are too few.

    Parameters
    ----------
    model
        The same file with all data inline.
    layers
        Those that the file has in floats.
    most
        Divergence that is borne.

    Raises
    ------
    DataError
        If the data don't fit the model.
    ModelError
        If the model can't be run.
    """
    data = samples_of(file, options)
    if data is None:
        return "there are no --data to measure their loss on"
    if data.count < 2 * (data.batch or 1):
        return "one run of samples can't both calibrate and judge"
    judge = ByteJudge(file, model, layers, data, options.run.threads, most)
    return judge if judge.usable else "no output of the model can be compared"


def _answered(session: ChildSession, runs: Sequence[_Arrays]) -> list[tuple[_Arrays, _Arrays]]:
    """Inputs, and the outputs of the model that was read, as far as memory for outputs goes."""
    answered: list[tuple[_Arrays, _Arrays]] = []
    held = 0
    for inputs in runs:
        if held > _MOST_BYTES:
            break
        answered.append((inputs, session.run(inputs)))
        held += sum(value.nbytes for value in answered[-1][1].values() if isinstance(value, np.ndarray))
    return answered


def _evenly(count: int, most: int) -> NDArray[np.int64]:
    """Up to `most` indices from all over the data, in order."""
    chosen = min(count, most)
    return np.arange(chosen, dtype=np.int64) * count // chosen


def _calibrated(
    file: OnnxFile, layers: Sequence[Layer], samples: Sequence[_Arrays], threads: int
) -> tuple[list[dict[str, Grid]], list[Layer]]:
    """Grids of the activations around convolutions, for each share of kept values, and layers that know their means."""
    from domino_onnx.deployment import KEPT_SHARES, Grid, InputMeans, seen_ranges
    from domino_onnx.runtime import ChildSession

    around = [(layer.data, layer.output, layer.residual) for layer in layers if layer.op == "Conv"]
    names = list(dict.fromkeys(name for each in around for name in each if name))
    wanted = dict.fromkeys([*names, *(layer.data for layer in layers)])
    shown = with_outputs(file, [name for name in wanted if name not in samples[0]])
    if shown is None:
        raise ModelError(f"{file.path} is too large to be calibrated, or has external data: at most 1 GiB in one file")
    means = InputMeans(layers)
    with ChildSession(shown, threads=threads) as session:

        def run(inputs: _Arrays) -> _Arrays:
            outputs = session.run(inputs)
            means.add({**inputs, **outputs})
            return outputs

        ranges = seen_ranges(run, samples, names)
    grids = [{name: Grid.of(*ranges[name][place]) for name in names} for place in range(len(KEPT_SHARES))]
    return grids, means.layers()
