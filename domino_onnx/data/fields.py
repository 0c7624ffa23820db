"""A small YAML file read key by key; every refusal names the file, the key, its value and what it must be."""

from __future__ import annotations

import difflib
import importlib
import math
import reprlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from domino_onnx.errors import DataError, DependencyError

__all__ = ["Fields", "count", "image_package", "number", "read_fields"]

_MAX_FILE_BYTES = 1 << 16


def image_package(name: str) -> ModuleType:
    """A module that only images need.

    Raises
    ------
    DependencyError
        If it isn't installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise DependencyError(
            f"reading images needs Pillow and PyYAML ({error}): pip install 'domino-onnx[images]'"
        ) from None


class Fields:
    """The keys that a file, or a mapping inside it, holds.

    Raises
    ------
    DataError
        For a key that isn't among `known`.
    """

    def __init__(self, file: Path, content: Mapping[Any, Any], known: Sequence[str]) -> None:
        self.file = file
        self._content = content
        for key in content:
            if key not in known:
                close = difflib.get_close_matches(str(key), known, n=1)
                meant = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
                raise DataError(f"{file}: unknown key {reprlib.repr(key)}; {meant}")

    def given(self, key: str) -> bool:
        """Whether the key has a value."""
        return self._content.get(key) is not None

    def value(self, key: str, read: Callable[[Any], Any], wanted: str) -> Any:
        """What `read` makes of the key's value; None if it isn't given. `read` gives None for what it refuses."""
        if not self.given(key):
            return None
        found = read(self._content[key])
        if found is None:
            raise DataError(f"{self.file}: {key!r} is {reprlib.repr(self._content[key])}; it must be {wanted}")
        return found

    def choice(self, key: str, choices: Mapping[str, Any]) -> Any:
        """What stands for the key's value among `choices`, in lower or upper case."""

        def read(value: Any) -> Any:
            return choices.get(value.lower()) if isinstance(value, str) else None

        return self.value(key, read, f"one of {', '.join(choices)}")

    def text(self, key: str) -> str | None:
        """Text that isn't empty."""
        found: str | None = self.value(key, lambda value: value if isinstance(value, str) and value else None, "text")
        return found

    def flag(self, key: str) -> bool:
        """True or false; false if it isn't given."""
        found: tuple[bool] | None = self.value(
            key, lambda value: (value,) if isinstance(value, bool) else None, "true or false"
        )
        return found is not None and found[0]


def read_fields(file: Path, known: Sequence[str]) -> Fields:
    """The mapping that a YAML file holds; none of its keys need be there.

    Raises
    ------
    DataError
        If the file isn't YAML, or has an unknown key.
    DependencyError
        If PyYAML isn't installed.
    """
    yaml = image_package("yaml")
    try:
        if file.stat().st_size > _MAX_FILE_BYTES:
            raise DataError(f"{file} has {file.stat().st_size} bytes; a preprocessing.yaml is a few lines")
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise DataError(f"{file} is not readable YAML: {error}") from None
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise DataError(f"{file} holds {type(content).__name__}, not keys and values such as `resize: 256`")
    return Fields(file, content, known)


def number(value: Any, *, above: float = -math.inf) -> float | None:
    """A finite number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e30 and value > above else None


def count(value: Any) -> int | None:
    """A whole number above 0; None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
