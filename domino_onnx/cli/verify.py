"""`domino-onnx verify`."""

from __future__ import annotations

from pathlib import Path

import cloup

from domino_onnx.cli import options as o
from domino_onnx.cli.console import present_or_json
from domino_onnx.errors import CheckFailed

__all__ = ["command"]


@cloup.command("verify", short_help="Check a file against its own manifest.")
@o.model_argument
@o.run_options()
def command(model: Path, as_json: bool, quiet: bool, verbose: int) -> None:
    """Check, from the file alone, that MODEL holds what its manifest says; exit code 3 if it doesn't.

    \b
    domino-onnx verify model.sparse.onnx
    """
    from domino_onnx.pipeline import verify
    from domino_onnx.report.verified import verify_document, verify_view

    o.begin(verbose, quiet)
    verdict = verify(model)
    present_or_json(verify_view(verdict), verify_document(verdict), as_json=as_json, quiet=quiet)
    if not verdict.holds:
        raise SystemExit(CheckFailed.exit_code)
