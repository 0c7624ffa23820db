"""The command group, and the border where every error becomes a message and an exit code."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import click
import cloup

from domino_onnx._version import __version__
from domino_onnx.cli import (
    apply,
    benchmark,
    completion,
    compress,
    convert,
    deploy,
    doctor,
    evaluate,
    finetune,
    inspect,
    search,
    sweep,
    verify,
)
from domino_onnx.cli.console import print_json, print_no_more, print_whatever_comes
from domino_onnx.cli.interrupting import ends_like_ctrl_c
from domino_onnx.errors import DominoError
from domino_onnx.report.text import printable_lines

__all__ = ["cli", "main"]

_INTERRUPTED = 130
_WIDEST = 120
_MORE_MEMORY = "take smaller batches or fewer samples, or end other programs"
_LIBRARIES = (
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "torch",
    "onnx-graphsurgeon",
    "domino-onnx-kernels",
)
_BUG = "this is a bug in domino-onnx; run again with DOMINO_ONNX_DEBUG=1 and report the traceback"


def libraries() -> str:
    """The versions of what decides about results, on one line; what isn't installed is left out."""
    found = [f"Python {platform.python_version()}"]
    for name in _LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    return ", ".join(found)


_SECTIONS = (
    cloup.Section("Prune", [compress.command, sweep.command, search.command, apply.command, finetune.command]),
    cloup.Section(
        "Look and check", [inspect.command, evaluate.command, verify.command, doctor.command, benchmark.command]
    ),
    cloup.Section("Rewrite", [convert.command, deploy.command]),
    cloup.Section("Set up", [completion.command]),
)


@cloup.group(
    sections=_SECTIONS,
    align_sections=True,
    context_settings=cloup.Context.settings(
        help_option_names=["-h", "--help"],
        formatter_settings=cloup.HelpFormatter.settings(max_width=_WIDEST, col2_min_width=40),
    ),
)
@cloup.version_option(__version__, prog_name="domino-onnx", message=f"%(prog)s %(version)s\n{libraries()}")
def cli() -> None:
    """Compress trained ONNX models with mixed N:M sparsity, layer by layer, without their source code.

    \b
    domino-onnx compress model.onnx --sparsity 0.75 --data calibration.npz
    """


def main() -> None:
    """Run the command line and exit: 0 done, 1 error, 2 usage, 3 a check failed, 130 interrupted."""
    print_whatever_comes()
    try:
        with ends_like_ctrl_c():
            code = cli.main(standalone_mode=False, complete_var=completion.VARIABLE) or 0
        sys.exit(code)
    except click.exceptions.Exit as leave:
        sys.exit(leave.exit_code)
    except click.ClickException as error:
        _print_document("UsageError", error.format_message())
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt) as error:
        _print_document("KeyboardInterrupt", "interrupted", _notes(error))
        with contextlib.suppress(OSError):  # the terminal may have gone
            click.echo(printable_lines("\n".join(["interrupted", *_notes(error)])), err=True)
        sys.exit(_INTERRUPTED)
    except DominoError as error:
        _fail(error, error.exit_code)
    except MemoryError as error:
        _fail(MemoryError(f"memory ran out{f': {error}' if str(error) else ''}; {_MORE_MEMORY}"), 1, _notes(error))
    except BrokenPipeError:
        print_no_more()
        sys.exit(1)
    except OSError as error:
        _fail(error, 1)
    except (Exception, RecursionError) as error:
        if os.environ.get("DOMINO_ONNX_DEBUG"):
            raise
        _fail(error, 1, [f"{type(error).__name__}: {_BUG}", *_notes(error)])


def _notes(error: BaseException) -> list[str]:
    """What was added to the error, or to the interruption that click made an `Abort` of."""
    around = [error] if error.__cause__ is None else [error, error.__cause__]
    return [note for each in around for note in getattr(each, "__notes__", ())]


def _print_document(name: str, message: str, notes: Sequence[str] = ()) -> None:
    """With --json an error is a document on stdout as well, so that a reader of JSON always gets one.

    Names that aren't UTF-8 are escaped as JSON escapes them.
    """
    if "--json" not in sys.argv:
        return
    document = {"type": name, "message": message, **({"notes": list(notes)} if notes else {})}
    try:
        print_json(json.dumps({"error": document}, ensure_ascii=False))
    except OSError:  # stderr tells it too
        print_no_more()


def _fail(error: BaseException, code: int, notes: Sequence[str] = ()) -> None:
    name, lines = type(error).__name__, notes or _notes(error)
    _print_document(name, str(error), lines)
    told = printable_lines("\n".join([str(error) or name, *lines]))
    prefix = click.style("error:", fg="red", bold=True)
    with contextlib.suppress(OSError):
        click.echo(f"{prefix} {told}", err=True)
    sys.exit(code)
