"""A model that is foreign, or was just changed, runs in a child process: whatever it does ends no more than that.

Native code crashes on some models, and none says beforehand how long it runs or how much memory it takes.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.errors import ModelError
from domino_onnx.options import Device
from domino_onnx.runtime.child import Child
from domino_onnx.runtime.providers import CUDA
from domino_onnx.runtime.session import LONGEST, check_types

__all__ = ["ChildSession"]

_Task = tuple[tuple[int, ...] | None, tuple[tuple[int, ...], ...]]
"""A file, and the shapes of its inputs."""
_too_slow: dict[_Task, tuple[float, str]] = {}
"""What took too long: so many seconds, and what was said then. It isn't run as long again for nothing."""


class ChildSession:
    """As `Session`, in a child process with a limit of memory and of time. It ends with the block it is opened for.

    Parameters
    ----------
    model
        A file, or a serialised model with all data inline.
    lean
        As for `Session`.

    Attributes
    ----------
    provider, output_names, output_types
        As of `Session`.
    inputs
        Of each input its type and shape, as ONNX Runtime has them.

    Raises
    ------
    ModelError
        If ONNX Runtime refuses the model, or it takes too much memory or time.
    CrashError
        If ONNX Runtime crashes on it.
    ProcessError
        If no child can be started, or it was ended from outside.
    DeviceMemoryError, DependencyError
        As `Session`.
    """

    def __init__(self, model: Path | bytes, *, device: Device = "cpu", threads: int = 0, lean: bool = False) -> None:
        self._name = str(model) if isinstance(model, Path) else "the model"
        self._known = _identity(model) if isinstance(model, Path) else None
        self.provider: str = ""
        self._child: Child | None = Child.take()
        self._at_the_end = weakref.finalize(self, self._child.end)
        source = str(model.absolute()) if isinstance(model, Path) else np.frombuffer(model, np.uint8)
        request = {"do": "open", "model": source, "device": device, "threads": threads, "lean": lean}
        try:
            opened = self._child.ask(request, LONGEST, f"to load {self._name}", self._name)
        except BaseException:
            self.close()
            raise
        self.provider = opened["provider"]
        self.inputs: dict[str, tuple[str, list[Any]]] = opened["inputs"]
        self.output_types: dict[str, str] = opened["outputs"]
        self.output_names: tuple[str, ...] = tuple(self.output_types)

    def run(self, inputs: Mapping[str, NDArray[Any]], *, seconds: float = LONGEST) -> dict[str, NDArray[Any]]:
        """All outputs by name.

        Raises
        ------
        RunError
            If the run fails.
        ModelError
            If it takes longer than `seconds`, or too much memory.
        CrashError, ProcessError, DeviceMemoryError
            As for the whole class.
        """
        if self._child is None:
            raise ModelError(f"the session with {self._name} is closed")
        check_types(inputs)
        task = self._known, tuple(value.shape for _, value in sorted(inputs.items()))
        limit, objection = _too_slow.get(task, (0.0, ""))
        if limit >= seconds:
            raise ModelError(objection)
        request = {"do": "run", "inputs": dict(inputs)}
        try:
            answer = self._child.ask(request, seconds, f"to run {self._name}", self._name)
        except ModelError as error:
            if self._known is not None and self._child.was_too_slow:
                _too_slow[task] = seconds, str(error)
            raise
        return dict(answer["outputs"])

    def close(self) -> None:
        """Give the model's memory back."""
        child, self._child = self._child, None
        if child is not None:
            self._at_the_end.detach()
            if self.provider == CUDA:  # what the driver keeps for a process would be missing elsewhere
                child.end()
            else:
                child.give_back()

    def __enter__(self) -> ChildSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _identity(model: Path) -> tuple[int, ...] | None:
    """What tells a file, as it is now, from others; None if there is none."""
    try:
        found = model.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
