"""What tells class scores from other numbers, where both are (samples, columns) floats.

Scores are trained so that one column of a row beats all others. Numbers that are predicted side by side have a largest
one as well, but it beats the second by no more than chance gives it. The thresholds lie between what was measured:
trained classifiers on one side (10 to 1,000 classes), regression heads and features of the same networks on the other.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

__all__ = ["agree_with_labels", "decide_differently", "evidence_of_winners"]

_Rows = NDArray[np.float64]
_FEWEST = 16
"""Rows from which on winners can be told from chance."""
_UNEVEN = 20.0
"""Columns of classes vary alike: the one that varies most has at most so many times the median's deviation. Boxes in
pixels have ten thousand times the deviation of scores."""
_MOST_ZEROS = 0.05
"""Share of exact zeros up to which rows are scores; behind a ReLU there are more."""
_UNDECIDED = 0.98
"""Share of the largest entropy of the softmax above which scores prefer nothing at all."""
_DECIDED = 0.5
"""The same, below which scores of many classes lie. Measured: at most 0.3, and 0.74 to 1.0 for pooled features."""
_LEAD = 1.25
"""How far the first leads, over what it is with normal numbers. Measured: 1.4 to 10; regression 0.9 to 1.2."""
_LEAD_OF_MANY = 1.5
_MANY = 100
"""Columns from which on classes resemble each other too much for `_exclusive` to see them."""
_EXCLUSIVE = 1.25
"""How far the first leads, over what it is with shuffled columns. Measured: 1.35 to 2.5; others 0.7 to 1.3."""
_DEVIATIONS = 2.0
"""By how many standard deviations the lead must differ from that of shuffled columns, for few samples."""
_CERTAIN = 3.0
"""The same for labels that agree."""
_SHUFFLES = 4
_FEWEST_DRAWN = 8
_FEWEST_WINNERS = 3
_DECIDED_DRAWN = 0.7
"""Columns, winners and entropy that make rows of scores on drawn samples."""
_TINY = 1e-9


def agree_with_labels(rows: _Rows, labels: NDArray[np.integer]) -> bool:
    """Whether labels may be columns, and the largest column is the label far more often than by chance.

    That is twice as often, or halfway from chance to always; where all labels are the same one, in half of the rows.
    """
    width = rows.shape[1]
    if len(labels) != len(rows) or not 0 <= int(labels.min()) <= int(labels.max()) < width:
        return False
    winners = rows.argmax(axis=1)
    agreed = float(np.mean(winners == labels))
    shares = [np.bincount(each, minlength=width) / len(rows) for each in (winners, labels)]
    chance = float(shares[0] @ shares[1])
    deviation = np.sqrt(chance * (1 - chance) / len(rows))
    if shares[1].max() == 1:
        return agreed >= 0.5
    return agreed > max(min(2 * chance, (1 + chance) / 2), chance + _CERTAIN * float(deviation))


def evidence_of_winners(rows: _Rows) -> float:
    """How plainly each row has a winner, where not all rows have the same one; 0 if they have none.

    Three signs, each of which other numbers may show by themselves:

    - The softmax is decided. Numbers of a large scale are so too.
    - The first column leads the second, in standard deviations of the row, by more than in normal numbers of that
      width. Long tails do so too.
    - It leads by more than where columns are shuffled against each other, which keeps their tails. So where one column
      is high, the others are low. Among many classes some are alike and high together, so that this sign is missing.

    Rows with many exact zeros have no winners: their long tails are those of a ReLU. Columns of different units have
    none either: the one in the largest unit would always win. Two columns are judged by the last sign, up to 100 by
    all, more by the first two with stricter thresholds. Of many columns with long tails that have nothing to do with
    each other, this says yes by mistake.

    Returns
    -------
    How far the first leads, over what it is with shuffled columns.
    """
    count, width = rows.shape
    if count < _FEWEST or width < 2 or _are_no_classes(rows):
        return 0.0
    undecided, centred = _entropy(rows), rows - rows.mean(axis=0)
    if undecided >= _UNDECIDED:
        return 0.0
    plain, ratio = _exclusive(centred)
    if width > 2:
        lead = float(np.mean(_leads(centred) / (centred.std(axis=1) + _TINY))) / _normal_lead(width)
        many = width >= _MANY and undecided < _DECIDED and lead >= _LEAD_OF_MANY
        plain = many or (plain and lead >= _LEAD)
    return ratio if plain else 0.0


def decide_differently(rows: _Rows) -> bool:
    """Whether the softmax of rows is mostly decided, and for several columns: what is left of winners on drawn samples.

    A network is less sure of drawn samples than of real ones. Measured on five classifiers of 10 to 1,000 classes:
    entropies of 0.27 to 0.64 of the largest one. Pooled features have 0.76 or more, or many zeros.
    """
    count, width = rows.shape
    if count < _FEWEST or width < _FEWEST_DRAWN or _are_no_classes(rows):
        return False
    return len(np.unique(rows.argmax(axis=1))) >= _FEWEST_WINNERS and _entropy(rows) < _DECIDED_DRAWN


def _are_no_classes(rows: _Rows) -> bool:
    """One winner for all, what a ReLU leaves, or columns of different units."""
    deviations = rows.std(axis=0)
    return bool(
        np.all(rows.argmax(axis=1) == rows[0].argmax())
        or np.mean(rows == 0) > _MOST_ZEROS
        or deviations.max() > _UNEVEN * np.median(deviations)
    )


def _entropy(rows: _Rows) -> float:
    """Mean entropy of the softmax, as a share of the largest one."""
    shifted = rows - rows.max(axis=1, keepdims=True)
    log_sums = np.log(np.sum(np.exp(shifted), axis=1))
    return float(
        np.mean(log_sums - np.sum(np.exp(shifted) * shifted, axis=1) / np.exp(log_sums)) / np.log(rows.shape[1])
    )


def _exclusive(centred: _Rows) -> tuple[bool, float]:
    """Whether a high column keeps the others low, and the lead over that where columns are shuffled one by one."""
    scaled = centred / (np.sqrt(np.mean(centred**2, axis=1, keepdims=True)) + _TINY)
    leads, generator = _leads(scaled), np.random.default_rng(0)
    shuffled = np.concatenate([_leads(generator.permuted(scaled, axis=0)) for _ in range(_SHUFFLES)])
    more = float(leads.mean() - shuffled.mean())
    deviation = float(np.sqrt(leads.var() / len(leads) + shuffled.var() / len(shuffled)))
    ratio = float(leads.mean()) / (float(shuffled.mean()) + _TINY)
    return ratio >= _EXCLUSIVE and more >= _DEVIATIONS * deviation, ratio


def _leads(rows: _Rows) -> _Rows:
    """(rows,): the largest value less the second."""
    ordered = np.partition(rows, -2, axis=1)
    lead: _Rows = ordered[:, -1] - ordered[:, -2]
    return lead


@functools.cache
def _normal_lead(width: int) -> float:
    """The mean lead in standard deviations of the row, of independent normal numbers."""
    rows = np.random.default_rng(0).standard_normal((2000, width))
    return float(np.mean(_leads(rows) / rows.std(axis=1)))
