"""`domino-onnx evaluate`."""

from __future__ import annotations

from pathlib import Path

import click

from domino_onnx.cli.console import observing, present_or_json
from domino_onnx.cli.options import common_options, run_options, set_up_logging

__all__ = ["command"]

_PATH = click.Path(path_type=Path)


@click.command("evaluate")
@click.argument("reference", type=_PATH)
@click.argument("candidate", type=_PATH)
@click.option("--data", type=_PATH, required=True, help="Samples, with `labels` for top-1: .npz, a folder, or images.")
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Samples a run.")
@run_options
@common_options
def command(
    reference: Path,
    candidate: Path,
    data: Path,
    batch_size: int,
    device: str,
    threads: int,
    as_json: bool,
    quiet: bool,
    verbose: int,
    seed: int,
) -> None:
    """Compare CANDIDATE with REFERENCE in ONNX Runtime: top-1, agreement, KL divergence, cosine.

    \b
    domino-onnx evaluate model.onnx model.sparse.onnx --data evaluation.npz
    """
    from domino_onnx.pipeline import evaluate
    from domino_onnx.report.document import evaluation_document
    from domino_onnx.report.terminal import evaluation_view

    set_up_logging(verbose, quiet)
    with observing(quiet) as observer:
        evaluation = evaluate(
            reference,
            candidate,
            data,
            device=device,  # type: ignore[arg-type]  # click.Choice has checked it
            threads=threads,
            batch_size=batch_size,
            observer=observer,
        )
    document = {"reference": str(reference), "candidate": str(candidate), **evaluation_document(evaluation)}
    present_or_json(evaluation_view(evaluation), document, as_json=as_json, quiet=quiet)
