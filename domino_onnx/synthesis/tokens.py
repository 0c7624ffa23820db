"""Token ids as texts have them, and the masks, segments and positions that go with them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Vocabulary", "draw_ids", "draw_mask", "draw_segments", "share_used", "vocabulary_of"]

Ints = NDArray[np.int64]
_BYTES: Final = range(256, 260)
_FEW: Final = 64
"""Rows up to which integers are codes without an order of frequency."""
_REPEATED = 0.3
"""Share of places that repeat an id of the same text: texts have topics."""
_SHORTEST = 0.25
_FULL = 0.3
"""Share of samples that fill the whole length."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What ids mean.

    Attributes
    ----------
    rows
        Ids lie below it.
    first
        The first ordinary id; those below are special or unused.
    start, end, padding
        Special ids, None where the model has none or it isn't known.
    zipf
        Whether smaller ids are more frequent, as in all vocabularies that were made by counting.
    """

    rows: int
    first: int = 0
    start: int | None = None
    end: int | None = None
    padding: int = 0
    zipf: bool = True


_KNOWN: Final[Mapping[int, Vocabulary]] = {
    known.rows: known
    for known in (
        Vocabulary(rows=30522, first=999, start=101, end=102),  # BERT, uncased English
        Vocabulary(rows=28996, first=106, start=101, end=102),  # BERT, cased English
        Vocabulary(rows=119547, first=106, start=101, end=102),  # BERT, multilingual
        Vocabulary(rows=105879, first=106, start=101, end=102),  # BERT, multilingual uncased
        Vocabulary(rows=21128, first=106, start=101, end=102),  # BERT, Chinese
        Vocabulary(rows=50265, first=4, start=0, end=2, padding=1),  # RoBERTa, BART
        Vocabulary(rows=250002, first=4, start=0, end=2, padding=1),  # XLM-RoBERTa
        Vocabulary(rows=128100, first=4, start=1, end=2),  # DeBERTa v3
        Vocabulary(rows=30000, first=5, start=2, end=3),  # ALBERT
        Vocabulary(rows=32128, first=3, end=1),  # T5
        Vocabulary(rows=32000, first=3, start=1),  # LLaMA
        Vocabulary(rows=49408, first=256, start=49406, end=49407, padding=49407),  # CLIP
        Vocabulary(rows=50257, padding=50256),  # GPT-2
    )
}


def vocabulary_of(rows: int) -> Vocabulary:
    """What is known of models with so many rows of embeddings.

    256 to 259 are bytes and at most three special ids behind them, of which the first is the padding.
    """
    if rows in _KNOWN:
        return _KNOWN[rows]
    if rows in _BYTES:
        return Vocabulary(rows=rows, padding=min(256, rows - 1), zipf=False)
    return Vocabulary(rows=rows, zipf=rows > _FEW)


def share_used(generator: np.random.Generator) -> float:
    """Which share of the longest length a sample uses: all of it, or between a quarter and all."""
    return 1.0 if generator.random() < _FULL else float(generator.uniform(_SHORTEST, 1))


def draw_ids(generator: np.random.Generator, length: int, used: int, vocabulary: Vocabulary) -> Ints:
    """(length,) ids: special ones at both ends of the used places, then padding.

    Ordinary ids have Zipf's law: the one of rank r comes with a probability in proportion to 1 / (r + 2.7)
    (Mandelbrot 1953). Some come again within the text.
    """
    ids = np.full(length, vocabulary.padding, np.int64)
    body = _texts_of_bytes(generator, used) if vocabulary.rows in _BYTES else _words(generator, used, vocabulary)
    ids[:used] = body
    if used > 2:
        if vocabulary.start is not None:
            ids[0] = vocabulary.start
        if vocabulary.end is not None:
            ids[used - 1] = vocabulary.end
    return ids


def draw_mask(shape: Sequence[int], used: int) -> Ints:
    """1 where there is something, 0 for padding: along the last axis, and not ahead of a square's diagonal."""
    mask = np.broadcast_to(np.arange(shape[-1]) < used, shape) if shape else np.ones(())
    square = len(shape) >= 2 and shape[-1] == shape[-2] > 1
    return (np.tril(mask) if square else mask).astype(np.int64)


def draw_segments(generator: np.random.Generator, shape: Sequence[int], used: int, rows: int) -> Ints:
    """0 for a first sentence and 1 for a second, in half of the samples; 0 alone where there is one row."""
    segments = np.zeros(shape, np.int64)
    if rows > 1 and used > 3 and generator.random() < 0.5:
        segments[..., int(generator.integers(2, used - 1)) : used] = 1
    return segments


def _words(generator: np.random.Generator, count: int, vocabulary: Vocabulary) -> Ints:
    ordinary = vocabulary.rows - vocabulary.first
    if not vocabulary.zipf:
        return generator.integers(vocabulary.first, vocabulary.rows, count)
    low, high = np.log(2.7), np.log(ordinary + 2.7)
    ranks = np.exp(generator.uniform(low, high, count)) - 2.7
    ids = vocabulary.first + np.minimum(ranks.astype(np.int64), ordinary - 1)
    again = generator.random(count) < _REPEATED
    earlier = (generator.random(count) * np.arange(count)).astype(np.int64)
    return np.where(again, ids[earlier], ids)


def _texts_of_bytes(generator: np.random.Generator, count: int) -> Ints:
    """Bytes of a file: letters with blanks and ends of lines, a few values in runs, or anything."""
    kind = generator.integers(3)
    if kind == 0:
        ranks = np.exp(generator.uniform(0, np.log(95), count)).astype(np.int64) - 1
        letters: Ints = np.frombuffer(_BY_FREQUENCY, np.uint8).astype(np.int64)[ranks]
        return np.where(generator.random(count) < 0.02, 10, letters)
    if kind == 1:
        values, lengths = generator.integers(0, 256, count), generator.geometric(0.2, count)
        return np.repeat(values, lengths)[:count]
    return generator.integers(0, 256, count)


_BY_FREQUENCY: Final = (
    b" etaoinsrhldcumfpgwybvkxjqz.,_=()\"':;-0123456789/<>{}[]ETAOINSRHLDCUMFPGWYBVKXJQZ*#+&|!?$%@~^\\`"
)
