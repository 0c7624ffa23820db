"""Samples drawn for a model that came without data, or with few."""

from __future__ import annotations

import dataclasses
import functools
import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from domino_onnx.errors import DataError, DependencyError, ModelError
from domino_onnx.graph import OnnxFile
from domino_onnx.options import CompressOptions
from domino_onnx.plurals import quantity
from domino_onnx.stages.journal import Journal

if TYPE_CHECKING:
    from domino_onnx.data import Dataset, Split, Stream
    from domino_onnx.synthesis import Synthesis

__all__ = ["Drawn", "draw_ahead", "drawn_samples", "drawn_when_taken", "filled_up"]

_MOST, _FEWEST = 1024, 128
_SECONDS = 60.0
"""That a run on drawn samples may take."""
_NUMBERS = 1 << 25
"""Samples, and numbers in all of them: more drawn ones of a kind add little to a refit (benchmarks/synthesis.py)."""
_ENOUGH, _FILLED = 100, 512
"""Below so many real samples, so many drawn ones go with them (docs/decisions/synthesis.md)."""
_COMPARED = 64
"""Real samples whose mean and deviation drawn ones get."""
_MOST_JUDGES = 256
_FRESH = 4
"""Samples that are new in each batch of finetuning: drawing one takes about as long as learning from four."""
_MOST_PROCESSES = 4
"""That draw while another one trains. Each takes some 100 MB."""


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
    judges = _whole(synthesis, min(count // 4, _MOST_JUDGES))
    data, stream = synthesis.dataset(count), _stream(synthesis, count, options.run.threads, judges=judges)
    journal.warn(
        f"no --data: {data.count:,} samples are drawn to fit the weights to. A few hundred real ones keep more "
        "accuracy. " + "; ".join(synthesis.lines) + _lacking(synthesis)
    )
    return Drawn(data=data, stream=stream, lines=synthesis.lines)


def filled_up(
    file: OnnxFile, options: CompressOptions, split: Split, journal: Journal, *, fits: bool, finetunes: bool
) -> Split:
    """The split, filled up with drawn samples where it has few.

    Images alone are drawn for this: nothing else has been shown to help. A stream of them joins the samples in
    finetuning, unless labels or several shapes tell these apart.

    Parameters
    ----------
    fits, finetunes
        Whether the command searches or refits, and whether it finetunes.
    """
    real = split.fit
    wanted = (_FILLED if real.count < _ENOUGH else 0) if options.data.drawn is None else options.data.drawn
    if not wanted:
        return split
    try:
        synthesis, drawn = _to_join(file, options, real, wanted)
    except (DataError, DependencyError, ModelError) as error:
        if options.data.drawn is not None:
            journal.warn(f"no images are drawn to join the data: {error}")
        return split
    from domino_onnx.data import joined

    filled = joined(*[real] * max(round(drawn.count / real.count), 1), drawn)
    joins = finetunes and real.labels is None and filled.sizes is None
    learners = [f"the search and the refit learn from {drawn.count:,} drawn images as well"] if fits else []
    if joins:
        learners.append("finetuning learns from new drawn images in each batch")
    if not learners:
        return split
    journal.warn(
        f"{quantity(real.count, 'real sample')}: {', and '.join(learners)}. Real samples alone judge. "
        "data.drawn = 0 in a recipe leaves drawn ones out"
    )
    stream = _stream(synthesis, drawn.count, options.run.threads, judges=0) if joins else None
    return dataclasses.replace(split, filled=filled if fits else None, joining=stream)


def drawn_when_taken(split: Split, *, judges: bool) -> tuple[Dataset, ...]:
    """The parts of a split whose samples are drawn when they are first taken, but for those of its stream.

    `judges` says whether those that are apart are drawn, too.
    """
    if split.filled is not None:
        return (split.filled,)
    if split.stream is None:
        return ()
    return (split.fit, split.apart) if judges and split.apart is not None else (split.fit,)


def draw_ahead(parts: Sequence[Dataset], batch_size: int, journal: Journal) -> None:
    """Draw all samples now, as a stage of its own. Where there are more than are kept, nothing is won by that."""
    from domino_onnx.synthesis import KEPT_BYTES

    arrays = [array for data in parts for array in data.arrays.values()]
    if not arrays or sum(math.prod(array.shape) * array.dtype.itemsize for array in arrays) > KEPT_BYTES:
        return
    done, count = 0, sum(data.count for data in parts)
    with journal.stage("draw"):
        for data in parts:
            for indices in data.chunks(np.arange(data.count), batch_size):
                data.take(indices)
                done += len(indices)
                journal.progress(done, count, f"{done} of {count}")


def _to_join(file: OnnxFile, options: CompressOptions, real: Dataset, wanted: int) -> tuple[Synthesis, Dataset]:
    """About so many drawn samples, in the form of the real ones, and what draws them."""
    from domino_onnx.data import input_specs
    from domino_onnx.synthesis import describe_inputs

    others = [each for each in describe_inputs(file, input_specs(file.proto)) if each.kind != "image"]
    if others:
        raise DataError(f"the input {others[0].name!r} looks like {others[0].kind}")
    synthesis = _opened(file, options, real)
    drawn = synthesis.dataset(_whole(synthesis, min(wanted, _fitting(synthesis))))
    if drawn.arrays.keys() != real.arrays.keys() or drawn.batching.stacked != real.stacked:
        raise DataError("samples of the model are drawn in another form than the data have")
    return synthesis, drawn


def _opened(file: OnnxFile, options: CompressOptions, real: Dataset | None = None) -> Synthesis:
    from domino_onnx.data import input_specs
    from domino_onnx.runtime import ChildSession
    from domino_onnx.synthesis import open_synthesis

    run = options.run
    specs, some = input_specs(file.proto), {} if real is None else real.take(real.some(_COMPARED))
    session = ChildSession(file.path, device=run.device, threads=run.threads)
    synthesis = open_synthesis(
        file,
        specs,
        seed=run.seed,
        run=functools.partial(session.run, seconds=_SECONDS),
        shapes={**options.data.input_shapes, **{name: array.shape for name, array in some.items()}},
        batch_axes=options.data.batch_axes,
        like=some,
    )
    if not synthesis.states:  # which the model makes as long as samples are drawn
        session.close()
    return synthesis


def _lacking(synthesis: Synthesis) -> str:
    """What would make drawn images better."""
    plain = any(drawn.description.kind == "image" and drawn.motif == "shapes" for drawn in synthesis.inputs)
    return (
        ". pip install 'domino-onnx[photographs]' lets it draw crops of photographs, which keep more" if plain else ""
    )


def _count(synthesis: Synthesis) -> int:
    return _whole(synthesis, min(_fitting(synthesis), _MOST))


def _fitting(synthesis: Synthesis) -> int:
    """As many samples as fit into the numbers."""
    size = sum(math.prod(drawn.shape) for drawn in synthesis.inputs if synthesis.has_samples(drawn))
    return max(_NUMBERS // max(size, 1), _FEWEST)


def _stream(synthesis: Synthesis, count: int, threads: int, *, judges: int) -> Stream:
    """Samples that come after the first `count`, in a window of as many; drawn by cores that `threads` leave over."""
    processes = min((threads or os.cpu_count() or 1) - 1, _MOST_PROCESSES)
    return synthesis.stream(count, judges, window=count, fresh=_FRESH, processes=processes)


def _whole(synthesis: Synthesis, count: int) -> int:
    """So many samples, in whole batches of the model."""
    batch = synthesis.batching.size or 1
    return -(-count // batch) * batch
