"""Sessions of ONNX Runtime with an explicit provider, and its errors in our words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.errors import LESS_MEMORY, DeviceMemoryError, ModelError, RunError
from domino_onnx.options import Device
from domino_onnx.runtime.interruptible import interruptible
from domino_onnx.runtime.kernels import lacks_kernels, register_kernels
from domino_onnx.runtime.providers import providers, require_onnxruntime
from domino_onnx.runtime.raised import error_types, first_line

__all__ = ["LONGEST", "OR_SLOW", "Session", "check_types"]

LONGEST = 300.0
"""Seconds that one run may take: a loop in a model may never end."""
OR_SLOW = "a loop in it may never end. Take smaller batches if it is only slow"
_REGISTERED = 2
_NO_MEMORY = ("bad_alloc", "Failed to allocate memory", "bad allocation")
_FULL = ("Failed to allocate memory", "out of memory", "ALLOC_FAILED")
"""What ONNX Runtime, CUDA and its libraries say when a GPU's memory is full."""


class Session:
    """An ONNX Runtime session on one model.

    Parameters
    ----------
    lean
        For a single run of a large model: takes least memory, and isn't optimised.
    piece
        For a part of a model, one of many sessions that take turns with other work. It keeps no memory between runs.
        Its threads don't spin between runs. Products with integers behind DequantizeLinear stay floats, whatever else
        this part holds.
    timed
        For runs that are timed, several sessions in turns: they have no thread of their own, and no thread works when
        they have ended. Neither a deadline nor Ctrl-C ends them.

    Attributes
    ----------
    provider
        The execution provider that really runs, as the session says.
    inputs
        Of each input its type, as ONNX Runtime writes it, and its shape, with names or None for free axes.
    output_names
        In the graph's order.
    output_types
        Of each output, as ONNX Runtime writes it: ``"tensor(float)"``.

    Raises
    ------
    ModelError
        If ONNX Runtime refuses the model.
    DeviceMemoryError
        If the model doesn't fit into the GPU's memory.
    DependencyError
        If `device` is "cuda" and nothing runs there, or a deployed model finds no kernels that can be loaded.
    """

    def __init__(
        self,
        model: Path | bytes,
        *,
        device: Device = "cpu",
        threads: int = 0,
        lean: bool = False,
        piece: bool = False,
        timed: bool = False,
    ) -> None:
        ort = require_onnxruntime()
        self._timed = timed
        self._errors = error_types()
        self._run_options = ort.RunOptions
        options = ort.SessionOptions()
        options.log_severity_level = 4  # its errors reach the user as ours
        options.intra_op_num_threads = threads
        objection = register_kernels(options)
        if timed:  # else threads that wait busily for a session's next run take the cores from another session's run
            options.add_session_config_entry("session.force_spinning_stop", "1")
        if piece:  # threads that wait busily would take the cores from whatever works between two runs
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
            options.enable_cpu_mem_arena = (
                False  # each piece would keep an arena of its own, as large as its largest run
            )
        if lean:  # one run is wanted, so neither an arena nor prepacked copies of the weights
            options.enable_cpu_mem_arena = False
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.add_session_config_entry("session.disable_prepacking", "1")
        self._name = str(model) if isinstance(model, Path) else "the model"
        source = str(model) if isinstance(model, Path) else model
        chosen = providers(device)
        self._on_cuda = len(chosen) > 1
        options.use_deterministic_compute = self._on_cuda
        try:  # without a fallback: it prints, and goes on elsewhere
            self._session = ort.InferenceSession(source, options, providers=chosen, enable_fallback=0)
        except self._errors as error:
            if objection is not None and lacks_kernels(error):
                raise objection from None
            raise self._told(f"ONNX Runtime {ort.__version__} can't load {self._name}", error) from None
        self.provider: str = self._session.get_providers()[0]
        self.inputs: dict[str, tuple[str, list[Any]]] = {
            given.name: (given.type, given.shape) for given in self._session.get_inputs()
        }
        self.output_names: tuple[str, ...] = tuple(output.name for output in self._session.get_outputs())
        self.output_types: dict[str, str] = {output.name: output.type for output in self._session.get_outputs()}

    def run(self, inputs: Mapping[str, NDArray[Any]], *, seconds: float = LONGEST) -> dict[str, NDArray[Any]]:
        """All outputs by name.

        Raises
        ------
        RunError
            If the run fails.
        ModelError
            If it takes longer than `seconds`, or memory runs out.
        DeviceMemoryError
            If the GPU's memory doesn't hold what is computed.
        """
        check_types(inputs)
        outputs = self._outputs(dict(inputs), seconds)
        return {name: _as_array(output) for name, output in zip(self.output_names, outputs, strict=True)}

    def _outputs(self, inputs: dict[str, NDArray[Any]], seconds: float) -> Sequence[NDArray[Any]]:
        run_options, ended = self._run_options(), []

        def end() -> None:
            ended.append(True)
            run_options.terminate = True

        def work() -> Sequence[NDArray[Any]]:
            outputs: Sequence[NDArray[Any]] = self._session.run(None, inputs, run_options)
            return outputs

        try:
            return work() if self._timed else interruptible(work, end, seconds)
        except self._errors as error:
            if ended:
                raise ModelError(f"ONNX Runtime takes more than {seconds:g} s to run {self._name}: {OR_SLOW}") from None
            raise self._told(f"ONNX Runtime can't run {self._name}", error, RunError) from None

    def _told(self, what: str, error: Exception, kind: type[ModelError] = ModelError) -> ModelError | DeviceMemoryError:
        if self._on_cuda and any(sign in str(error) for sign in _FULL):
            return DeviceMemoryError(f"{what}: the GPU's memory is full ({first_line(error)}). {LESS_MEMORY}")
        if any(sign in str(error) for sign in _NO_MEMORY):
            return ModelError(f"{what}: memory ran out. Take smaller batches, or end other programs")
        return kind(f"{what}: {first_line(error)}")

    def run_all(
        self, batches: Iterator[Mapping[str, NDArray[Any]]], batch_axes: Mapping[str, int]
    ) -> dict[str, NDArray[Any]]:
        """The outputs of all batches, joined along their batch axis, which is the first where `batch_axes` has none."""
        parts = [self.run(batch) for batch in batches]
        return {
            name: np.concatenate([part[name] for part in parts], batch_axes.get(name, 0)) for name in self.output_names
        }


def check_types(inputs: Mapping[str, NDArray[Any]]) -> None:
    """Raise ModelError if an array's type is one that ONNX Runtime doesn't take from Python."""
    for name, array in inputs.items():
        if array.dtype.isbuiltin == _REGISTERED:  # by ml_dtypes
            raise ModelError(f"ONNX Runtime takes no {array.dtype} from Python, which input {name!r} holds")


def _as_array(output: Any) -> Any:
    """A sequence of maps from classes to numbers, as scikit-learn's converters give it, as (samples, classes)."""
    if isinstance(output, list) and output and all(isinstance(each, dict) for each in output):
        return np.array([list(each.values()) for each in output], np.float32)
    return output
