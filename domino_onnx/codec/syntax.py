"""Text as plain values: JSON, TOML and YAML, whatever the text holds.

The standard library parses JSON and TOML: it says line and column, and lets duplicate keys be seen.
"""

from __future__ import annotations

import importlib
import json
import math
import tomllib
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Literal

from domino_onnx.codec.words import at, shown
from domino_onnx.errors import DependencyError, DominoError

__all__ = ["Syntax", "parse"]

Syntax = Literal["json", "toml", "yaml"]


def parse(
    text: str | bytes, *, what: str, error: type[DominoError], syntax: Syntax = "json", finite: bool = True
) -> Any:
    """The dicts, lists and scalars that a text holds.

    Parameters
    ----------
    what
        The document, as messages call it.
    error
        What is raised for text that can't be read.
    finite
        Whether NaN and infinity are refused. Only documents that the program itself writes may hold them.

    Raises
    ------
    DominoError
        Of the class `error`: for bytes that aren't UTF-8, wrong syntax, a key that is given twice, nesting that is too
        deep, numbers that are too long or not finite, and text that can't be encoded (lone surrogates).
    DependencyError
        For YAML without PyYAML.
    """
    try:
        given = text.decode("utf-8") if isinstance(text, bytes) else text
        value = _PARSERS[syntax](given)
    except RecursionError:
        raise error(f"{what} is not readable {syntax.upper()}: it is nested too deeply") from None
    except ValueError as problem:
        raise error(f"{what} is not readable {syntax.upper()}: {problem}") from None
    _check(value, what, error, finite=finite)
    return value


def _from_json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for place, key in enumerate(keys) if key in keys[:place])
        raise ValueError(f"the key {twice!r} is given twice in one object")
    return found


def _from_yaml(text: str) -> Any:
    try:
        yaml: Any = importlib.import_module("yaml")
    except ImportError as problem:
        raise DependencyError(f"reading YAML needs PyYAML ({problem}): pip install 'domino-onnx[images]'") from None

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        """PyYAML's safe loader, which by itself takes the last of two equal keys.

        By aliases of aliases, or merges of them, a text of a few hundred bytes can mean billions of values.
        """

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                line = self.peek_event().start_mark.line + 1
                raise ValueError(f"an alias (*name) isn't followed: write out what it means (line {line})")
            return super().compose_node(parent, index)

        def flatten_mapping(self, node: Any) -> None:
            if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
                raise ValueError(f"a merge (<<) isn't followed: write out its keys (line {node.start_mark.line + 1})")

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
            keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            if len(set(keys)) < len(keys):
                raise ValueError(f"a key is given twice in one mapping (line {node.start_mark.line + 1})")
            found: dict[Hashable, Any] = super().construct_mapping(node, deep=deep)
            return found

    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as problem:
        raise ValueError(_yaml_problem(problem, text)) from None


def _yaml_problem(problem: Any, text: str) -> str:
    """What PyYAML found, and where. Its own message takes several lines, and calls the file ``<unicode string>``."""
    mark = getattr(problem, "problem_mark", None)
    if mark is None:  # a character that YAML doesn't allow: no more is known than its place
        line = text.count("\n", 0, problem.position) + 1
        return f"the character U+{problem.character:04X} is not allowed (line {line})"
    told = problem.problem.replace("'<stream end>'", "the end of the text")
    return f"{told}{f' {problem.context}' if problem.context else ''} (line {mark.line + 1}, column {mark.column + 1})"


_PARSERS: Mapping[Syntax, Callable[[str], Any]] = {"json": _from_json, "toml": tomllib.loads, "yaml": _from_yaml}


def _check(document: Any, what: str, error: type[DominoError], *, finite: bool) -> None:
    """Refuse what no document may hold anywhere; without recursion, because nesting may be deep."""
    open_values: list[tuple[Any, str]] = [(document, "")]
    while open_values:
        value, path = open_values.pop()
        open_values += _inside(value, path)
        if isinstance(value, float) and finite and not math.isfinite(value):
            raise error(f"{at(what, path)} is {value}; it must be a finite number")
        if isinstance(value, str) and not _is_unicode(value):
            raise error(f"{at(what, path)} holds {shown(value)}, which is no valid Unicode text")


def _inside(value: Any, path: str) -> list[tuple[Any, str]]:
    """The values that a dict or a list holds, and the keys of a dict, each with its place."""
    if isinstance(value, dict):
        items = [(item, f"{path}.{key}" if path else str(key)) for key, item in value.items()]
        return [(key, path) for key in value] + items
    if isinstance(value, list):
        return [(item, f"{path}[{place}]") for place, item in enumerate(value)]
    return []


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)
