"""Sessions of ONNX Runtime with an explicit provider, and its errors in our words."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.errors import LESS_MEMORY, DeviceMemoryError, ModelError
from domino_onnx.options import Device
from domino_onnx.runtime.kernels import kernels_library, register_kernels
from domino_onnx.runtime.providers import providers, require_onnxruntime

__all__ = ["Session", "error_types", "first_line"]

_REGISTERED = 2
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

    Attributes
    ----------
    provider
        The execution provider that really runs, as the session says.
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
        If `device` is "cuda" and nothing runs there, or a deployed model finds no kernels.
    """

    def __init__(
        self,
        model: Path | bytes,
        *,
        device: Device = "cpu",
        threads: int = 0,
        lean: bool = False,
        piece: bool = False,
    ) -> None:
        ort = require_onnxruntime()
        self._errors = error_types()
        self._run_options = ort.RunOptions
        options = ort.SessionOptions()
        options.log_severity_level = 4  # its errors reach the user as ours
        options.intra_op_num_threads = threads
        register_kernels(options)
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
            if "domino_onnx:" in str(error):  # an operator of this domain isn't registered
                kernels_library()
            raise self._told(f"ONNX Runtime {ort.__version__} can't load {self._name}", error) from None
        self.provider: str = self._session.get_providers()[0]
        self.output_names: tuple[str, ...] = tuple(output.name for output in self._session.get_outputs())
        self.output_types: dict[str, str] = {output.name: output.type for output in self._session.get_outputs()}

    def run(self, inputs: Mapping[str, NDArray[Any]], *, seconds: float | None = None) -> dict[str, NDArray[Any]]:
        """All outputs by name; ModelError if the run fails, or takes longer than `seconds` (a loop may never end).

        Raises
        ------
        DeviceMemoryError
            If the GPU's memory doesn't hold what is computed.
        """
        for name, array in inputs.items():
            if array.dtype.isbuiltin == _REGISTERED:  # by ml_dtypes
                raise ModelError(f"ONNX Runtime takes no {array.dtype} from Python, which input {name!r} holds")
        run_options = self._run_options()
        timer = None if seconds is None else threading.Timer(seconds, setattr, (run_options, "terminate", True))
        if timer is not None:
            timer.start()
        try:
            outputs: Sequence[NDArray[Any]] = self._session.run(None, dict(inputs), run_options)
        except self._errors as error:
            raise self._told(f"ONNX Runtime can't run {self._name}", error) from None
        finally:
            if timer is not None:
                timer.cancel()
        return {name: _as_array(output) for name, output in zip(self.output_names, outputs, strict=True)}

    def _told(self, what: str, error: Exception) -> ModelError | DeviceMemoryError:
        if self._on_cuda and any(sign in str(error) for sign in _FULL):
            return DeviceMemoryError(f"{what}: the GPU's memory is full ({first_line(error)}). {LESS_MEMORY}")
        return ModelError(f"{what}: {first_line(error)}")

    def run_all(
        self, batches: Iterator[Mapping[str, NDArray[Any]]], batch_axes: Mapping[str, int]
    ) -> dict[str, NDArray[Any]]:
        """The outputs of all batches, joined along their batch axis, which is the first where `batch_axes` has none."""
        parts = [self.run(batch) for batch in batches]
        return {
            name: np.concatenate([part[name] for part in parts], batch_axes.get(name, 0)) for name in self.output_names
        }


def error_types() -> tuple[type[Exception], ...]:
    """All that ONNX Runtime raises."""
    state = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    own = (value for value in vars(state).values() if isinstance(value, type) and issubclass(value, Exception))
    return (*own, RuntimeError, ValueError, TypeError)


def _as_array(output: Any) -> Any:
    """A sequence of maps from classes to numbers, as scikit-learn's converters give it, as (samples, classes)."""
    if isinstance(output, list) and output and all(isinstance(each, dict) for each in output):
        return np.array([list(each.values()) for each in output], np.float32)
    return output


def first_line(error: Exception) -> str:
    """What an error says, short enough for a message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:500]
