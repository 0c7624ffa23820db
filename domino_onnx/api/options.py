"""Keywords of a Python call as the options that the stages take."""

from __future__ import annotations

import math
import numbers
import os
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from domino_onnx.codec import convert, nearest, shown
from domino_onnx.errors import OptionError, PlanError
from domino_onnx.options import (
    KEYWORDS,
    SHARE,
    ByteSize,
    CompressOptions,
    Duration,
    TimingOptions,
    overridden,
    parse_share,
    read_recipe,
    recipe_of,
)
from domino_onnx.scheme import Budget, NMScheme, SchemePool

__all__ = ["Recipe", "chosen_options", "path_of", "refuse_unknown_keywords", "share_of", "shares_of", "timing_options"]

Recipe = str | os.PathLike[str] | Mapping[str, Any]
"""A .toml, a JSON report, or what one of them holds."""
_GIVEN_OTHERWISE = frozenset(("data", "eval_data", "metric", "plan"))
"""Keywords that take more than a document can hold: their values are given to the stages by other ways."""
_OF_RESULTS = {
    "output": "a function writes no file; result.save(PATH) does",
    "force": "result.save(PATH, force=True) takes it",
    "report": "result.to_html() gives the page, result.to_dict() the document",
    "json": "result.to_dict() gives the document",
    "quiet": "a function prints nothing",
}
"""What the command line has an option for, and Python a result."""


def refuse_unknown_keywords(function: str, given: Mapping[str, Any], keywords: type) -> None:
    """Raise TypeError for a keyword that the function doesn't take, with the one that was perhaps meant."""
    known = sorted(typing.get_type_hints(keywords))
    for name in given:
        if name not in known:
            instead = _OF_RESULTS.get(name) or nearest(name, known)
            raise TypeError(f"{function}() takes no keyword {name!r}; {instead}")


def chosen_options(
    function: str, given: Mapping[str, Any], recipe: Recipe | None, *, has_goal: bool = True
) -> CompressOptions:
    """The recipe's options, with those that are given as keywords in their place.

    Parameters
    ----------
    has_goal
        Whether the function looks at a goal. Else that of the recipe is dropped, and contradicts nothing.

    Raises
    ------
    OptionError
        For a value that an option doesn't take, naming the keyword; and for options that contradict each other.
    """
    base = _base(function, recipe)
    values = {KEYWORDS[name]: _value(function, name, value) for name, value in given.items()}
    return overridden(base if has_goal else base.without_goal(), values)


def timing_options(function: str, given: Mapping[str, Any]) -> TimingOptions:
    """How models are timed. One number will do for a list of them.

    Raises
    ------
    OptionError
        For a value that a field doesn't take, naming the keyword.
    """
    kinds = typing.get_type_hints(TimingOptions, include_extras=True)
    read = {"threads": _several, "batch_sizes": _several}
    return TimingOptions(**{
        name: _checked(function, name, value, kinds[name], read.get(name)) for name, value in given.items()
    })  # fmt: skip


def shares_of(function: str, keyword: str, value: Any) -> list[float]:
    """Shares of zeros: a list of numbers or texts as ``75%``, or one of them.

    Raises
    ------
    OptionError
        If it is something else, or none.
    BudgetError
        For a share that is not between 0 and 1.
    """
    shares = _checked(function, keyword, value, tuple[float, ...], _shares)
    if not shares:
        raise OptionError(f"{function}(): {keyword!r} is empty; give a share at least, for instance 0.5 or 50%")
    return [Budget(measure="params", reduction=share).reduction for share in shares]


def path_of(function: str, keyword: str, value: Any) -> Path:
    """The path of a file; OptionError for what is none."""
    if isinstance(value, str | os.PathLike):
        return Path(value)
    raise OptionError(f"{function}(): {keyword!r} is {shown(value)}; give the path of a file")


def share_of(function: str, keyword: str, value: Any) -> float:
    """A share as a number, or a text as ``75%``; OptionError for what is none."""
    share: float = _checked(function, keyword, value, float, _share)
    return share


def _checked(function: str, keyword: str, value: Any, kind: Any, read: Callable[[Any], Any] | None = None) -> Any:
    """The value of a keyword as its type wants it.

    Parameters
    ----------
    read
        Makes a value as a recipe has it of what Python code may write beyond that.

    Raises
    ------
    OptionError
        For a value that the type doesn't take, naming the keyword.
    """
    what = f"{function}()"
    try:
        plain = read(value) if read else value
    except (OptionError, PlanError) as error:
        raise OptionError(f"{what}: {keyword!r}: {error}") from None
    if isinstance(plain, float) and not math.isfinite(plain):
        raise OptionError(f"{what}: {keyword!r} is {plain}; it must be a finite number")
    return convert(plain, kind, what=what, error=OptionError, path=keyword, python=True)


def _base(function: str, recipe: Any) -> CompressOptions:
    if recipe is None:
        return CompressOptions()
    if isinstance(recipe, Mapping):
        return recipe_of(recipe)
    if isinstance(recipe, str | os.PathLike):
        return read_recipe(Path(recipe))
    raise OptionError(
        f"{function}(): 'recipe' is {shown(recipe)}; give a TOML file, a JSON report, or what to_dict() gives"
    )


def _value(function: str, keyword: str, value: Any) -> Any:
    if keyword in _GIVEN_OTHERWISE:
        return value
    group, field = KEYWORDS[keyword].split(".")
    kind = typing.get_type_hints(typing.get_type_hints(CompressOptions)[group], include_extras=True)[field]
    return _checked(function, keyword, value, kind, _READ.get(keyword) or (_share if _is_share(kind) else None))


def _is_share(kind: Any) -> bool:
    return any((getattr(meta, "extra", None) or {}).get(SHARE) for meta in getattr(kind, "__metadata__", ()))


def _share(value: Any) -> Any:
    """A text as ``75%`` as a number; all else as it is."""
    return parse_share(value) if isinstance(value, str) else value


def _shares(value: Any) -> Any:
    shares = _several(value)
    return [_share(each) for each in shares] if isinstance(shares, list) else shares


def _several(value: Any) -> Any:
    """What can be gone through as a list, and one number, text or scheme as a list of one; all else as it is."""
    if isinstance(value, str | numbers.Number | NMScheme) and not isinstance(value, bool):
        return [value]
    if not isinstance(value, Iterable) or isinstance(value, bytes | Mapping):
        return value
    try:
        return list(value)
    except TypeError:  # an array without axes
        return value


def _pool(value: Any) -> Any:
    if isinstance(value, str | SchemePool) or value is None:
        return value
    schemes = _several(value)
    if not isinstance(schemes, list):
        raise OptionError(f"{shown(value)} is no pool; write '2:4,1:4', or a list of schemes")
    found = [_scheme(each) for each in schemes]
    return SchemePool.of(NMScheme.parse(each) if isinstance(each, str) else each for each in found)


def _scheme(value: Any) -> Any:
    if isinstance(value, str | NMScheme):
        return value
    raise OptionError(f"{shown(value)} is no scheme; write '2:4', or NMScheme(2, 4)")


def _scheme_or_none(value: Any) -> Any:
    return None if value is None else _scheme(value)


def _seconds(value: Any) -> Any:
    return Duration(round(value)) if _is_number(value) else value


def _bytes(value: Any) -> Any:
    return ByteSize(int(value)) if _is_number(value) else value


def _is_number(value: Any) -> bool:
    """Whether it is a finite number, be it of numpy."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


_READ: Mapping[str, Callable[[Any], Any]] = {
    "finetune_label_weight": _share,
    "finetune_time": _seconds,
    "include": _several,
    "exclude": _several,
    "memory": _bytes,
    "pool": _pool,
    "scheme": _scheme_or_none,
}
"""What Python code may write beyond what a recipe may."""
