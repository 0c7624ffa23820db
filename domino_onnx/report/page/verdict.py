"""What a run comes to, in a few sentences, and how far that can be trusted."""

from __future__ import annotations

import math

from domino_onnx.outputs import Comparison
from domino_onnx.percentage import percent
from domino_onnx.report.page.second_file import second_verdict
from domino_onnx.report.results import CompressResult
from domino_onnx.report.text import file_size, printable, samples_in_words, score_in_words

__all__ = ["judged_on", "verdict"]


def verdict(result: CompressResult) -> str:
    """Zeros, score and size, and what a second file gained."""
    said = [f"{percent(result.sparsity, 1)} of the weights are zeros."]
    if result.parity is None:
        said.append("The file was not run against the dense model.")
    elif result.parity.inputs != "random":
        said.append(_scored(result.parity.comparison, drawn=result.parity.inputs == "drawn"))
    dense = result.nbytes if result.sizes is None else result.sizes.before
    before = f" instead of {file_size(dense)}" if result.nbytes < dense else ""
    said.append(f"The file takes {file_size(result.nbytes)}{before}.")
    if result.deployed is not None:
        said.append(second_verdict(result.deployed))
    return " ".join(said)


def _scored(comparison: Comparison, *, drawn: bool) -> str:
    if not math.isfinite(comparison.drop):
        return "Some of its outputs are no numbers."
    on = samples_in_words(comparison.samples, drawn=drawn)
    before, after = comparison.dense_score, comparison.dense_score - comparison.drop
    if comparison.custom is not None:
        return f"{printable(comparison.metric)} goes from {before:.4g} to {after:.4g} on {on}."
    if comparison.top1_reference is not None:
        points = 100 * (after - before)
        if not points:
            return f"Top-1 stays at {percent(after, 2)} on {on}."
        moved = f"{abs(points):.2f} points {'more' if points > 0 else 'less'}"
        return f"Top-1 goes from {percent(before, 2)} to {percent(after, 2)} on {on}: {moved}."
    return f"Compared with the dense model on {on}: {score_in_words(comparison.metric, after)}."


def judged_on(result: CompressResult) -> str:
    """Which samples the figures are of, and how far they can be trusted."""
    if result.parity is None or result.parity.inputs == "random":
        return "No samples judged the file."
    if result.parity.inputs == "drawn":
        return "Drawn samples judged the file. They show no accuracy. Real samples measure it, and keep more of it."
    if result.judge_seen:
        return "The weights were fitted to the samples that judged the file. Expect less on new data."
    return "Samples that nothing was learned from judged the file."
