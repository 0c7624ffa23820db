"""Messages in Python's words: the program speaks of options, as its command line has them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from domino_onnx.options import KEYWORDS

__all__ = ["in_python", "placed"]

_OPTIONS = {
    "output-kind": "output_kinds",
    "batch-axis": "batch_axes",
    "input-shape": "input_shapes",
    "no-finetune": "finetune=False",
    "resume": "resume=True",
    "force": "force=True",
    "speed-only": "speed_only=True",
    "report": "to_html()",
}
"""Options that are called otherwise as keywords. All others have a hyphen where keywords have an underscore."""
_CHOICES = frozenset(("auto", "cpu", "cuda", "dense", "packed", "fp16", "int8", "tensorrt", "2:4", "none"))
_SPOKEN = frozenset((*KEYWORDS, "force", "strict", "log", "report", "teacher", "bridge"))
_FIELDS = {field: keyword for keyword, field in KEYWORDS.items()}
_OPERAND = r" (?:[A-Z]{2,}|<[\w .]+>|'<[\w .]+>'|[\w./-]+\.onnx)"
_COMMANDS = "apply|benchmark|compress|convert|deploy|doctor|evaluate|finetune|inspect|search|sweep|verify"
_COMMAND = re.compile(rf"domino-onnx ({_COMMANDS})\b((?:{_OPERAND})*)((?: --[a-z-]+(?: [\w:]+)?)*)")
_OPTION = re.compile(r"(?<![\w-])--([a-z]+(?:-[a-z]+)*)(?: (\w+)=(\w+|\.\.\.)| (\w+):SIZES| ([\w:]*\w(?:\.\w+)?))?")
_FIELD = re.compile(rf"\b({'|'.join(map(re.escape, _FIELDS))})\b(?: = ('\w+'|\d+))?(?: in a recipe)?")


def in_python(message: str, places: Mapping[Path, str] | None = None) -> str:
    """The message with keywords in place of options, and calls in place of commands.

    Parameters
    ----------
    places
        Names for paths that the user never gave: ``data`` for a file that arrays were put into.
    """
    for path, name in sorted((places or {}).items(), key=lambda place: -len(str(place[0]))):
        message = message.replace(str(path), name)
    message = _COMMAND.sub(_call, message)
    return _FIELD.sub(_named, _OPTION.sub(_keyword, message))


def _call(command: re.Match[str]) -> str:
    """``domino-onnx convert MODEL --format dense`` as ``domino_onnx.convert(MODEL, format="dense")``."""
    name, operands, options = command.groups()
    words = [_operand(each.strip()) for each in re.findall(_OPERAND, operands)]
    words += [_given(*each.partition(" ")[::2]) for each in options.split(" --")[1:]]
    return f"domino_onnx.{name}({', '.join(words)})" if words else f"domino_onnx.{name}"


def _operand(said: str) -> str:
    """A name for an object of the caller's, else a path."""
    name = said.strip("'<>")
    return f'"{said}"' if said.endswith(".onnx") else name.replace(" ", "_")


def _given(name: str, value: str) -> str:
    return f"{_spoken(name)}=..." if value.isupper() else _spoken(name, value)


def _keyword(option: re.Match[str]) -> str:
    name, key, value, shaped, word = option.groups()
    if name.replace("-", "_") not in _SPOKEN and name not in _OPTIONS:
        return option[0]
    if key is not None:
        return f'{_spoken(name)}={{"{key}": {value if value.isdecimal() or value == "..." else json.dumps(value)}}}'
    if shaped is not None:
        return f'{_spoken(name)}={{"{shaped}": SIZES}}'
    if word in _CHOICES:
        return _spoken(name, word)
    return _spoken(name) if word is None or word.partition(".")[0].isupper() else f"{_spoken(name)} {word}"


def _spoken(name: str, value: str = "") -> str:
    keyword = _OPTIONS.get(name, name.replace("-", "_"))
    return f'{keyword}="{value}"' if value else keyword


def _named(field: re.Match[str]) -> str:
    name, value = field.groups()
    return f"{_FIELDS[name]}={value}" if value else _FIELDS[name]


def placed(document: Any, places: Mapping[Path, str]) -> Any:
    """A document of a report: with names for paths that the user never gave, and warnings in Python's words."""
    if isinstance(document, Mapping):
        return {
            key: [in_python(each, places) for each in value] if key == "warnings" else placed(value, places)
            for key, value in document.items()
        }
    if isinstance(document, list):
        return [placed(each, places) for each in document]
    named = {str(path): f"<{name}>" for path, name in places.items()}
    return named.get(document, document) if isinstance(document, str) else document
