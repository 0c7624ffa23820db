"""What makes a run one that can be interrupted: what is kept of it, and how it is asked to stop."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.scheme import NMScheme, Plan, WeightKey
from domino_onnx.search import Decision, Prediction
from domino_onnx.stages.checkpoint import Checkpoint
from domino_onnx.stages.context import Run
from domino_onnx.stages.planning import Planned
from domino_onnx.stages.solving import Solved

__all__ = ["open_checkpoint", "solved_once", "stopping"]

_NOT_THE_RUN = frozenset(
    {"checkpoint", "checkpoint_every", "data", "device", "eval_data", "force", "form", "plan", "resume", "threads"}
)
"""Options that another try at the same run may change."""
_HASHED_SAMPLES = 32

Arrays = Mapping[str, NDArray[np.generic]]


def open_checkpoint(run: Run, *, teacher_sha256: str = "") -> Checkpoint | None:
    """The folder that the options name; None if they name none.

    Raises
    ------
    CheckpointError
        If it can't be made, or holds a checkpoint that isn't to be resumed.
    """
    options = run.options
    if options.checkpoint is None:
        return None
    fields = (field.name for field in dataclasses.fields(options) if field.name not in _NOT_THE_RUN)
    same = {
        "model": run.file.sha256,
        "teacher": teacher_sha256,
        "data": _data_sha256(run),
        "plan": "" if options.plan is None else Plan.load(options.plan).to_json(),
        **{name: repr(getattr(options, name)) for name in fields},
    }
    return Checkpoint(options.checkpoint, same, resume=options.resume)


def solved_once(
    run: Run, checkpoint: Checkpoint | None, make: Callable[[], tuple[Planned, Solved]]
) -> tuple[Planned, Solved]:
    """A plan and its weights: from the checkpoint if they are there, else made now, and kept there."""
    part = checkpoint.part("solved") if checkpoint is not None else None
    saved = part.load() if part is not None else None
    if saved is not None:
        return _restored(run, *saved)
    planned, solved = make()
    if part is not None:
        part.save(*_packed(run, planned, solved))
    return planned, solved


@contextlib.contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """Within the block SIGINT and SIGTERM only make the function say yes; the second one interrupts at once."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    asked = False

    def ask(*_: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _data_sha256(run: Run) -> str:
    """Of the shapes and of some samples from all over the data."""
    data = run.data
    if data is None:
        return ""
    digest = hashlib.sha256(str(data.count).encode())
    for place in np.unique(np.linspace(0, data.count - 1, _HASHED_SAMPLES).astype(np.int64)):
        for name, array in sorted(data.take(np.array([place])).items()):
            digest.update(f"{name} {array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _packed(run: Run, planned: Planned, solved: Solved) -> tuple[dict[str, Any], Arrays]:
    document = {
        "plan": planned.plan.to_json(),
        "prediction": None if planned.prediction is None else dataclasses.asdict(planned.prediction),
        "decisions": [_decision_document(decision) for decision in planned.decisions],
        "weights": [_key_document(key) for key in solved.weights],
        "biases": [_key_document(key) for key in solved.biases],
        "solver": solved.solver,
        "errors": [[_key_document(key), error] for key, error in solved.errors.items()],
        "divergence": solved.divergence,
        "seconds": run.seconds,
        "peaks": run.peaks,
        "warnings": run.warnings,
    }
    arrays = {f"weight.{place}": np.asarray(array) for place, array in enumerate(solved.weights.values())}
    return document, arrays | {f"bias.{place}": np.asarray(array) for place, array in enumerate(solved.biases.values())}


def _restored(run: Run, document: Mapping[str, Any], arrays: Arrays) -> tuple[Planned, Solved]:
    """What `_packed` packed; the stages that made it are told of as if they had run now."""
    run.seconds.update(document["seconds"])
    run.peaks.update(document["peaks"])
    for warning in document["warnings"]:
        run.warn(warning)
    prediction = document["prediction"]
    planned = Planned(
        plan=run.admit(Plan.from_json(document["plan"])),
        prediction=None if prediction is None else Prediction(**prediction),
        decisions=tuple(_decision(each) for each in document["decisions"]),
    )
    solved = Solved(
        weights={_key(key): arrays[f"weight.{place}"] for place, key in enumerate(document["weights"])},
        biases={_key(key): arrays[f"bias.{place}"] for place, key in enumerate(document["biases"])},
        solver=document["solver"],
        errors={_key(key): error for key, error in document["errors"]},
        divergence=document["divergence"],
    )
    return planned, solved


def _key_document(key: WeightKey) -> list[Any]:
    return [key.name, list(key.scope)]


def _key(document: list[Any]) -> WeightKey:
    name, scope = document
    return WeightKey(name, tuple(scope))


def _decision_document(decision: Decision) -> dict[str, Any]:
    return {
        "step": decision.step,
        "kind": decision.kind,
        "key": None if decision.key is None else _key_document(decision.key),
        "scheme": None if decision.scheme is None else str(decision.scheme),
        "achieved": list(decision.achieved),
        "loss": decision.loss,
    }


def _decision(document: Mapping[str, Any]) -> Decision:
    key, scheme = document["key"], document["scheme"]
    return Decision(
        step=document["step"],
        kind=document["kind"],
        key=None if key is None else _key(key),
        scheme=None if scheme is None else NMScheme.parse(scheme),
        achieved=tuple(document["achieved"]),
        loss=document["loss"],
    )
