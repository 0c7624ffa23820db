"""Names from foreign files made safe to print, and figures as people compare them."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence

from domino_onnx.percentage import percent
from domino_onnx.plurals import quantity
from domino_onnx.scheme import NMScheme

__all__ = [
    "counted",
    "file_size",
    "in_unit",
    "is_share",
    "loss_in_unit",
    "lost_in_words",
    "millions",
    "points",
    "printable",
    "printable_lines",
    "printable_reason",
    "samples_in_words",
    "scheme_name",
    "score_in_words",
    "shape",
]

_LONGEST = 60
_LONGEST_REASON = 400
_SHOWN = 3
_ERROR = "relative error"
_SHARES = ("top-1", "agreement", "sequence agreement", "equality")
"""Metrics that count: samples, positions or values."""
_UNPRINTABLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def printable(name: str, longest: int = _LONGEST) -> str:
    """`name` on one line: control and direction characters escaped, the middle of a long one left out."""
    safe = _escaped(name)
    if len(safe) <= longest:
        return safe
    return f"{safe[: longest // 2 - 1]}…{safe[-(longest // 2) :]}"


def printable_reason(reason: str) -> str:
    """A sentence of this program on one line, whole; it is cut only where a foreign name in it is very long."""
    return printable(reason, _LONGEST_REASON)


def printable_lines(text: str) -> str:
    """`text` as it is but for control and direction characters, which are escaped; line breaks are kept."""
    return "\n".join(map(_escaped, text.split("\n")))


def _escaped(line: str) -> str:
    if line.isascii() and line.isprintable():  # nearly all, and fast
        return line
    return "".join(
        character.encode("unicode_escape").decode() if unicodedata.category(character) in _UNPRINTABLE else character
        for character in line
    )


def counted(names: Sequence[str]) -> str:
    """How many, and the first of them: 5 (a, b, c, ...)."""
    shown = ", ".join(printable(name) for name in names[:_SHOWN])
    return f"{len(names)} ({shown}{', ...' if len(names) > _SHOWN else ''})"


def points(share: float) -> str:
    """A difference of two shares: +0.29 points."""
    return f"{share * 100:+.2f} points"


def is_share(metric: str) -> bool:
    """Whether people tell it in percent, and what is lost of it in points; a user's own metric may be any number."""
    return metric.partition(" of ")[0] in _SHARES


def in_unit(metric: str, score: float) -> str:
    """The value of a metric: 98.44 %, or the number that it is."""
    return percent(score, 2) if is_share(metric) else f"{score:.4f}" if metric == "cosine" else f"{score:.4g}"


def loss_in_unit(metric: str, drop: float) -> str:
    """How much is lost of a metric: 1.25 points, or the number that it is."""
    return f"{100 * drop:.2f} points" if is_share(metric) else f"{drop:.4g}"


def score_in_words(metric: str, score: float, standard_error: float | None = None) -> str:
    """A metric and its value, as a share or as the number that it is; with the range that holds two times in three."""
    metric = printable(metric)
    if metric.startswith(_ERROR):
        return f"{metric} {1 - score:.4g}"
    if not is_share(metric):
        return f"{metric} {in_unit(metric, score)}"
    around = "" if standard_error is None else f" (± {100 * standard_error:.1f})"
    return f"{metric} {percent(score, 1)}{around}"


def lost_in_words(metric: str, drop: float) -> str:
    """What was lost: 1.25 points of agreement are lost; an error is told as it is; less than 0 is a gain."""
    if not math.isfinite(drop):
        return "outputs hold NaN or infinity"
    metric = printable(metric)
    if metric.startswith(_ERROR):
        return f"{metric} is {drop:.4g}"
    verb = "gained" if round(drop, 4) < 0 else "lost"
    return f"{loss_in_unit(metric, abs(drop))} of {metric} {'are' if is_share(metric) else 'is'} {verb}"


def millions(count: int | None) -> str:
    """A count as users compare it: 1.23 M, 45.6 k, 789."""
    if count is None:
        return "-"
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return str(count)


def file_size(count: int) -> str:
    """Bytes as users compare them: 1.23 MB, 4.56 kB."""
    return f"{count / 1e6:.2f} MB" if count >= 10_000 else f"{count / 1e3:.2f} kB"


def samples_in_words(count: int, *, drawn: bool) -> str:
    """2,000 samples; 1 drawn sample."""
    return quantity(count, "drawn sample" if drawn else "sample")


def scheme_name(scheme: NMScheme) -> str:
    """What users call it: 2:4, or dense for one that keeps all."""
    return "dense" if scheme.is_dense else str(scheme)


def shape(sizes: tuple[int, ...]) -> str:
    """(64, 3, 7, 7) as 64x3x7x7."""
    return "x".join(map(str, sizes))
