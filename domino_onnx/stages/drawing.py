"""Samples drawn for a model that came without data."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import TYPE_CHECKING

from domino_onnx.errors import DataError, DependencyError, ModelError
from domino_onnx.graph import OnnxFile
from domino_onnx.options import CompressOptions
from domino_onnx.stages.journal import Journal

if TYPE_CHECKING:
    from domino_onnx.data import Dataset, Stream
    from domino_onnx.synthesis import Synthesis

__all__ = ["Drawn", "drawn_samples"]

_MOST, _FEWEST = 1024, 128
_SECONDS = 60.0
"""That a run on drawn samples may take."""
_NUMBERS = 1 << 25
"""Samples, and numbers in all of them: more drawn ones of a kind add little to a refit (benchmarks/synthesis.py)."""
_MOST_JUDGES = 256
_FRESH = 8
"""Samples that are new in each batch of finetuning: drawing one takes about as long as learning from four."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """Samples for a model's inputs.

    Attributes
    ----------
    data
        For the search and the refit, and some to judge by.
    stream
        For finetuning: others, without end.
    lines
        What each input is taken to be.
    """

    data: Dataset
    stream: Stream
    lines: tuple[str, ...]


def drawn_samples(file: OnnxFile, options: CompressOptions, journal: Journal) -> Drawn | None:
    """Samples for the model's inputs; None, with a warning, if none can be drawn."""
    try:
        synthesis = _opened(file, options)
    except (DataError, DependencyError, ModelError) as error:
        journal.warn(f"no --data, and no samples can be drawn: {error}. Masks go by magnitude")
        return None
    count = _count(synthesis)
    data, stream = synthesis.dataset(count), _stream(synthesis, count)
    journal.warn(
        f"no --data: {data.count} samples are drawn to fit the weights to. A few hundred real ones keep more accuracy. "
        + "; ".join(synthesis.lines)
    )
    return Drawn(data=data, stream=stream, lines=synthesis.lines)


def _opened(file: OnnxFile, options: CompressOptions) -> Synthesis:
    from domino_onnx.data import input_specs
    from domino_onnx.runtime import ChildSession
    from domino_onnx.synthesis import open_synthesis

    run = options.run
    specs = input_specs(file.proto)
    session = ChildSession(file.path, device=run.device, threads=run.threads)
    synthesis = open_synthesis(
        file,
        specs,
        seed=run.seed,
        run=functools.partial(session.run, seconds=_SECONDS),
        shapes=options.data.input_shapes,
        batch_axes=options.data.batch_axes,
    )
    if not synthesis.states:  # which the model makes as long as samples are drawn
        session.close()
    return synthesis


def _count(synthesis: Synthesis) -> int:
    """As many as fit into the numbers."""
    size = sum(math.prod(drawn.shape) for drawn in synthesis.inputs if synthesis.has_samples(drawn))
    return _whole(synthesis, min(max(_NUMBERS // max(size, 1), _FEWEST), _MOST))


def _stream(synthesis: Synthesis, count: int) -> Stream:
    """Samples that come after the first `count`, in a window of as many."""
    return synthesis.stream(count, _whole(synthesis, min(count // 4, _MOST_JUDGES)), window=count, fresh=_FRESH)


def _whole(synthesis: Synthesis, count: int) -> int:
    """So many samples, in whole batches of the model."""
    batch = synthesis.batching.size or 1
    return -(-count // batch) * batch
