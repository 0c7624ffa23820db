"""What there is to say of the form and the version that a file was written in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from domino_onnx.graph import OnnxFile, WeightForm
from domino_onnx.storage import Form

__all__ = ["dense_notes", "ir_notes"]


def dense_notes(form: Form, weights: Sequence[WeightForm]) -> tuple[str, ...]:
    """What to tell a user who asked for another form and gets a file that is dense all through."""
    if form == "dense" or any(weight.kind != "dense" for weight in weights):
        return ()
    reasons = Counter(weight.reason for weight in weights).most_common(1)
    why = f"{reasons[0][1]} of {len(weights)}: {reasons[0][0]}" if reasons else "there is none of a fitting type"
    return (f"--format {form}: every weight stays dense; {why}",)


def ir_notes(read: int, written: OnnxFile) -> tuple[str, ...]:
    """What to tell of a file that was written in a newer IR version than it was read in."""
    now = written.proto.ir_version
    if now == read:
        return ()
    return (f"written as IR version {now}, where stored tensors aren't inputs as well; IR version {read} wants that",)
