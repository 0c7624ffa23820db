"""Which names may files be written under: none that is read, and none that exists unless it may be replaced."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from domino_onnx.errors import OutputError
from domino_onnx.files.names import check_name

__all__ = ["NOTHING", "Replacing", "check_ending", "check_model_ending", "check_output", "name_beside"]

_MODEL = ".onnx"
_WRITTEN = (_MODEL, ".html", ".json")
"""Endings of what commands write: no reader of samples takes these from a folder."""


class Replacing:
    """Which files that exist a writer may replace: any with `force`, none without."""

    def __init__(self, *, force: bool = False) -> None:
        self.force = force

    def allows(self, output: Path) -> bool:  # noqa: ARG002  # a run that goes on looks at it
        """Whether what is there under this name may go."""
        return self.force

    def announce(self, output: Path, whole: Path, parts: Mapping[Path, str]) -> None:
        """Hear of a whole file before it is renamed to `output`.

        Parameters
        ----------
        parts
            Files that belong to it and are in place already, each with its SHA-256.
        """


NOTHING = Replacing()
"""Nothing that exists may be replaced."""


def check_output(output: Path, inputs: Iterable[Path], replacing: Replacing, *, what: str = "output") -> None:
    """Refuse a file's name before any work is done.

    Parameters
    ----------
    inputs
        Files and folders that are read: nothing of them is replaced, whatever may be. A model, report or plan in a
        folder of samples is none of them.
    what
        The file's part in the work, as messages call it.

    Raises
    ------
    OutputError
        If it is an input, exists and may not be replaced, is no regular file, has a name that isn't UTF-8, or can't be
        written.
    """
    check_name(output, f"the {what}", OutputError)
    try:
        _check_output(output, inputs, replacing, what)
    except (OSError, ValueError) as error:  # a name that is too long, for instance
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"the {what} {str(output)!r:.200} can't be written: {reason}; give another name") from None


def check_ending(output: Path, endings: Sequence[str], *, what: str = "output") -> None:
    """Refuse a name that ends as those of other kinds of files do.

    Raises
    ------
    OutputError
        If it doesn't end in one of `endings`, in capitals or not.
    """
    if output.suffix.lower() not in endings:
        raise OutputError(f"the {what} {output} must end in {' or '.join(dict.fromkeys(endings))}")


def check_model_ending(output: Path, models: Iterable[Path] = ()) -> None:
    """Refuse a name for an ONNX file that ends neither in .onnx nor as that of a model that is read; `check_ending`."""
    check_ending(output, (_MODEL, *(model.suffix.lower() for model in models if model.suffix)))


def name_beside(model: Path, kind: str) -> Path:
    """Where a file made of a model goes by default: ``model.KIND.onnx`` next to ``model.onnx``."""
    return model.parent / f"{model.stem}.{kind}{model.suffix or _MODEL}"


def _check_output(output: Path, inputs: Iterable[Path], replacing: Replacing, what: str) -> None:
    if "\0" in str(output):
        raise ValueError("a name holds no NUL")
    check_name(output.parent.resolve(), f"the folder of the {what}", OutputError)
    if output.is_dir():
        raise OutputError(f"the {what} {output} is a folder; give the name of a file")
    for given in inputs:
        if (why := _why_lost(given, output)) is not None:
            raise OutputError(f"the {what} {output} {why}, {given}; give another name")
    if output.exists() and not output.is_file():
        raise OutputError(f"the {what} {output} is no regular file, so that it can't be replaced; give another name")
    if output.exists() and not replacing.allows(output):
        raise OutputError(f"the {what} {output} exists; give another name, or --force to replace it")
    if not output.parent.is_dir():
        raise OutputError(f"the folder {output.parent} of the {what} doesn't exist; make it first")
    if not os.access(output.parent, os.W_OK):
        raise OutputError(f"the folder {output.parent} of the {what} can't be written to; name another one")


def _why_lost(given: Path, output: Path) -> str | None:
    """Why writing `output` would replace what is read from `given`, or a sample in that folder; None if it wouldn't."""
    if not given.exists() or not output.exists():
        return None
    if output.samefile(given):
        return "is the input itself"
    in_folder = given.is_dir() and output.parent.samefile(given)
    return "lies in the folder that is read" if in_folder and output.suffix.lower() not in _WRITTEN else None
