"""Where output goes: results on stdout, progress and warnings on stderr."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
from rich.console import RenderableType

from domino_onnx.cli.progress import LineObserver, LiveObserver, QuietObserver
from domino_onnx.errors import OutputError
from domino_onnx.report.console import PlainConsole

if TYPE_CHECKING:
    from domino_onnx.stages import Observer

__all__ = [
    "observing",
    "present",
    "present_or_json",
    "print_json",
    "print_no_more",
    "print_whatever_comes",
]

_WIDEST = 120


@contextlib.contextmanager
def observing(quiet: bool) -> Iterator[Observer]:
    """An observer for the time of a command; it tells warnings alone if `quiet`."""
    console = PlainConsole(stderr=True)
    if quiet:
        yield QuietObserver()
    elif console.is_terminal:
        with LiveObserver(console) as live:
            yield live
    else:
        with LineObserver() as lines:
            yield lines


def present(view: RenderableType) -> None:
    """Print a result; wide enough for its columns where the output is no terminal.

    Raises
    ------
    OutputError
        If it can't be printed: the disk is full to which the output goes.
    """
    console = PlainConsole()
    if not console.is_terminal:
        console = PlainConsole(width=_WIDEST, no_color=True)
    with _printing():
        console.print(view)


def present_or_json(view: RenderableType, document: dict[str, Any], *, as_json: bool, quiet: bool) -> None:
    """The document with ``--json``, else the view, unless quiet; OutputError as `present`."""
    if as_json:
        from domino_onnx.report.documents import dump

        with _printing():
            print_json(dump(document))
    elif not quiet:
        present(view)


def print_json(text: str) -> None:
    """Print a document; where the output can't show all of its characters, those beyond ASCII as JSON escapes them."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeError:
        text = re.sub(r"[^\x00-\x7f]+", lambda found: json.dumps(found[0])[1:-1], text)
    click.echo(text)


def print_whatever_comes() -> None:
    """From now on a character that an output's encoding lacks is printed as ?, and is no error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def print_no_more() -> None:
    """Send to nowhere what is still to be printed: the stream would fail again when the program ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def _printing() -> Iterator[None]:
    """Within the block an error of the stream is one of the program."""
    try:
        yield
    except BrokenPipeError:  # the reader has seen enough, which is no error
        raise
    except OSError as error:
        print_no_more()
        raise OutputError(f"can't print the result: {error.strerror or error}") from None
