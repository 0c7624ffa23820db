"""Keywords of a Python call as the options that the stages take."""

from __future__ import annotations

import os
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from domino_onnx.codec import convert, nearest
from domino_onnx.errors import OptionError, PlanError
from domino_onnx.options import (
    KEYWORDS,
    SHARE,
    ByteSize,
    CompressOptions,
    Duration,
    overridden,
    parse_share,
    read_recipe,
    recipe_of,
)
from domino_onnx.scheme import NMScheme, SchemePool

__all__ = ["Recipe", "chosen_options", "refuse_unknown_keywords", "share_of"]

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
    if recipe is None:
        base = CompressOptions()
    elif isinstance(recipe, Mapping):
        base = recipe_of(recipe)
    else:
        base = read_recipe(Path(recipe))
    values = {KEYWORDS[name]: _value(function, name, value) for name, value in given.items()}
    return overridden(base if has_goal else base.without_goal(), values)


def _value(function: str, keyword: str, value: Any) -> Any:
    if keyword in _GIVEN_OTHERWISE:
        return value
    group, field = KEYWORDS[keyword].split(".")
    kind = typing.get_type_hints(typing.get_type_hints(CompressOptions)[group], include_extras=True)[field]
    what = f"{function}()"
    read = _READ.get(keyword) or (share_of if _is_share(kind) else None)
    try:
        plain = read(value) if read else value
    except (OptionError, PlanError) as error:
        raise OptionError(f"{what}: {keyword!r}: {error}") from None
    return convert(plain, kind, what=what, error=OptionError, path=keyword, python=True)


def _is_share(kind: Any) -> bool:
    return any((getattr(meta, "extra", None) or {}).get(SHARE) for meta in getattr(kind, "__metadata__", ()))


def share_of(value: Any) -> Any:
    """A text as ``75%`` as a number; all else as it is."""
    return parse_share(value) if isinstance(value, str) else value


def _names(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _pool(value: Any) -> Any:
    if isinstance(value, str | SchemePool) or value is None:
        return value
    return SchemePool.of(each if isinstance(each, NMScheme) else NMScheme.parse(each) for each in value)


def _scheme(value: Any) -> Any:
    if value is None or isinstance(value, str | NMScheme):
        return value
    raise OptionError(f"{value!r} is no scheme; write '2:4', or NMScheme(2, 4)")


def _seconds(value: Any) -> Any:
    return Duration(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _bytes(value: Any) -> Any:
    return ByteSize(value) if isinstance(value, int) and not isinstance(value, bool) else value


_READ: Mapping[str, Callable[[Any], Any]] = {
    "finetune_label_weight": share_of,
    "finetune_time": _seconds,
    "include": _names,
    "exclude": _names,
    "memory": _bytes,
    "pool": _pool,
    "scheme": _scheme,
}
"""What Python code may write beyond what a recipe may."""
