"""Which of ONNX Runtime's execution providers runs a session, and why CUDA's can't where it can't."""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from types import ModuleType

import numpy as np
from onnx import TensorProto, helper

from domino_onnx.errors import DependencyError
from domino_onnx.options import Device

__all__ = ["CUDA", "cuda_objection", "providers", "require_onnxruntime"]

CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"
_PACKAGES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino", "ort-nightly")


def require_onnxruntime() -> ModuleType:
    """The module `onnxruntime`, from exactly one of the packages that provide it.

    Raises
    ------
    DependencyError
        If none is installed, or two: they overwrite each other's files, and which one answers is chance.
    """
    installed = [name for name in _PACKAGES if _is_installed(name)]
    if len(installed) > 1:
        both = " ".join(installed)
        raise DependencyError(
            f"{' and '.join(installed)} are both installed; they are one module under two names and overwrite each "
            f"other. Run `pip uninstall -y {both}`, then install one: `pip install onnxruntime` on a machine without "
            "an NVIDIA GPU, `pip install onnxruntime-gpu` with one"
        )
    try:
        return _quiet(importlib.import_module("onnxruntime"))
    except ImportError as error:
        raise DependencyError(
            f"ONNX Runtime is missing ({error}): `pip install onnxruntime`, or `pip install onnxruntime-gpu` on a "
            "machine with an NVIDIA GPU"
        ) from None


def _quiet(ort: ModuleType) -> ModuleType:
    """The module, without what it logs outside of sessions: 1.31 warns with each session on CUDA."""
    ort.set_default_logger_severity(4)
    return ort


def providers(device: Device) -> list[str | tuple[str, dict[str, str]]]:
    """The providers of a session with their options, the one that is wanted first.

    Raises
    ------
    DependencyError
        If `device` is "cuda" and nothing runs there.
    """
    if device == "cpu":
        return [_CPU]
    objection = cuda_objection()
    if objection is None:
        return [(CUDA, _cuda_options()), _CPU]
    if device == "cuda":
        raise DependencyError(f"--device cuda: {objection}")
    return [_CPU]


@functools.cache
def cuda_objection() -> str | None:
    """Why ONNX Runtime can't run on CUDA here; None if it can.

    A package with the provider lists it on every machine, and falls back to the CPU silently. So a graph of one node
    is run, once a process.

    Raises
    ------
    DependencyError
        As `require_onnxruntime`.
    """
    ort = require_onnxruntime()
    available = ort.get_available_providers()
    if CUDA not in available:
        return (
            f"this ONNX Runtime {ort.__version__} has no {CUDA} (it has {', '.join(available)}); install "
            "onnxruntime-gpu instead of onnxruntime, with the CUDA libraries it names"
        )
    failure = ""
    with _captured() as said:
        try:
            runs = _runs_on_cuda(ort)
        except Exception as error:  # noqa: BLE001  (a driver, a library or a kernel: its errors have no common type)
            runs, failure = False, str(error)
    return None if runs else f"ONNX Runtime {ort.__version__} can't use its {CUDA}: {_reason(failure, said)}"


def _cuda_options() -> dict[str, str]:
    """Float32 in full, convolutions by rule instead of by a race, and no more memory than is asked for.

    Many sessions run at once, each with an arena of its own, and torch takes memory too.
    """
    return {
        "device_id": os.environ.get("LOCAL_RANK", "0"),  # which GPU, if torch's launcher started several processes
        "use_tf32": "0",
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
    }


def _runs_on_cuda(ort: ModuleType) -> bool:
    """Whether y = x + x comes out right, on CUDA."""
    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # the libraries of NVIDIA's Python packages, which the loader doesn't find by itself
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "g", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    session = ort.InferenceSession(
        model.SerializeToString(), providers=[(CUDA, _cuda_options()), _CPU], enable_fallback=0
    )
    if session.get_providers()[0] != CUDA:
        return False
    return bool(session.run(None, {"x": np.array([1.5], np.float32)})[0] == 3)


def _reason(failure: str, said: list[str]) -> str:
    """The one line that tells most of what went wrong."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join([failure, *said]))
    for pattern in (r"with error: (.+)", r"(CUDA failure \d+: [^;]+)", r"(Require cuDNN .+? and CUDA \S+)"):
        found = re.search(pattern, text)
        if found:
            return found.group(1).strip()
    return (text.strip().splitlines() or ["it doesn't say why"])[0][:300]


@contextlib.contextmanager
def _captured() -> Iterator[list[str]]:
    """What is written to the standard streams within the block, by Python or by native code. It isn't shown."""
    said: list[str] = []
    printed = io.StringIO()
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with tempfile.TemporaryFile() as file:
            os.dup2(file.fileno(), 2)
            try:
                with contextlib.redirect_stdout(printed):
                    yield said
            finally:
                os.dup2(kept, 2)
                file.seek(0)
                said += [file.read().decode(errors="replace"), printed.getvalue()]
    finally:
        os.close(kept)


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
