"""Recipe files: all options of a run as TOML, or as a report holds them."""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from domino_onnx.codec import convert, decode, plain
from domino_onnx.errors import OptionError
from domino_onnx.options.compress import CompressOptions
from domino_onnx.options.groups import Goal

__all__ = ["overridden", "read_recipe", "recipe_document", "recipe_of", "with_files"]

_KEY = "recipe"
"""Where a report has the recipe of its run."""
_REPLACES = {"finetune.steps": "finetune.time", "finetune.time": "finetune.steps"}
"""Fields that answer the same question: one that is given replaces the other."""

_IN_MEMORY = re.compile(r"<[\w ]+>")
"""What the report of a Python call says in place of a path that the caller never gave."""
_FILES = {"data.calibration": "--data", "data.evaluation": "--eval-data", "goal.plan": "--plan"}
"""Fields that may have one, and the options that give them."""


def read_recipe(path: Path) -> CompressOptions:
    """Read a recipe: TOML with a table for each group, or the JSON report of an earlier run.

    Raises
    ------
    OptionError
        If the file can't be read, has an unknown key, or a value that the field doesn't take.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise OptionError(f"can't read the recipe {path}: {error.strerror or error}") from None
    if path.suffix.lower() != ".json":
        return decode(text, CompressOptions, what=f"the recipe {path}", error=OptionError, syntax="toml")
    report = decode(text, dict[str, Any], what=f"the report {path}", error=OptionError, syntax="json")
    if _KEY not in report:
        raise OptionError(f"{path} holds no recipe: give a TOML file, or the JSON report of a compress run")
    return _converted(report[_KEY], f"the recipe in {path}")


def recipe_of(document: Mapping[str, Any]) -> CompressOptions:
    """The options of a report's document, or of its recipe alone.

    Raises
    ------
    OptionError
        If it has an unknown key, or a value that the field doesn't take.
    """
    return _converted(document.get(_KEY, document), "the recipe")


def recipe_document(options: CompressOptions) -> dict[str, Any]:
    """The options as a report holds them: plain values, a mapping for each group.

    Whether a run went on from an earlier attempt is no part of what it did.
    """
    document: dict[str, Any] = plain(options)
    del document["run"]["resume"]
    return document


def overridden(options: CompressOptions, given: Mapping[str, Any]) -> CompressOptions:
    """The options with some fields replaced.

    Parameters
    ----------
    given
        Values by ``group.field``. If one of the goal's is not None, the goal that `options` have is dropped first. None
        for all of them leaves it. Steps of finetuning drop its time, and the other way round.
    """
    fields: dict[str, dict[str, Any]] = defaultdict(dict)
    replaced = {_REPLACES[name]: None for name, value in given.items() if name in _REPLACES and value is not None}
    for name, value in {**replaced, **given}.items():
        group, field = name.split(".")
        fields[group][field] = value
    if all(value is None for value in fields["goal"].values()):
        del fields["goal"]
    before = {group: Goal() if group == "goal" else getattr(options, group) for group in fields}
    groups: dict[str, Any] = {name: dataclasses.replace(before[name], **values) for name, values in fields.items()}
    return dataclasses.replace(options, **groups)


def with_files(options: CompressOptions, taken: Collection[str], given: Collection[str] = ()) -> CompressOptions:
    """The options of a recipe without samples and plans that were in memory, and in no file.

    Parameters
    ----------
    taken
        Fields as ``group.field`` that the command takes. Others are left out: it makes nothing of them.
    given
        Fields that aren't looked at, as they are going to be replaced.

    Raises
    ------
    OptionError
        Naming what is to be given again.
    """
    for name, option in _FILES.items():
        group, field = name.split(".")
        value = getattr(getattr(options, group), field)
        if name in given or value is None or not _IN_MEMORY.fullmatch(str(value)):
            continue
        if name in taken:
            raise OptionError(
                f"the recipe names {value}, which was in memory when its report was made: give {option} again"
            )
        options = dataclasses.replace(options, **{group: dataclasses.replace(getattr(options, group), **{field: None})})
    return options


def _converted(document: Any, what: str) -> CompressOptions:
    return convert(document, CompressOptions, what=what, error=OptionError)
