"""Which execution provider a session gets, on machines with and without a GPU."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from domino_onnx.errors import DependencyError, DeviceMemoryError, ModelError
from domino_onnx.runtime import Session, cuda_objection, providers

CUDA = "CUDAExecutionProvider"
HAS_CUDA = CUDA in onnxruntime.get_available_providers()


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    cuda_objection.cache_clear()
    yield
    cuda_objection.cache_clear()


def runtime(session: Callable[..., Any], *, built_with: tuple[str, ...] = (CUDA, "CPUExecutionProvider")) -> Any:
    return SimpleNamespace(__version__="9.9", get_available_providers=lambda: built_with, InferenceSession=session)


def test_the_cpu_is_never_asked_about() -> None:
    assert providers.providers("cpu") == ["CPUExecutionProvider"]
    assert cuda_objection.cache_info().misses == 0


@pytest.mark.skipif(HAS_CUDA, reason="this ONNX Runtime has CUDA")
def test_a_package_without_cuda_runs_on_the_cpu_and_says_so() -> None:
    assert providers.providers("auto") == ["CPUExecutionProvider"]
    with pytest.raises(DependencyError, match=r"--device cuda: .* has no CUDAExecutionProvider .*onnxruntime-gpu"):
        providers.providers("cuda")


@pytest.mark.skipif(HAS_CUDA, reason="this ONNX Runtime has CUDA")
def test_automatic_sessions_run(save: Callable[..., Path], make_model: Callable[..., Any]) -> None:
    from onnx import helper

    model = save(make_model([helper.make_node("Relu", ["x"], ["y"])], {"x": [2]}, {"y": [2]}, {}))
    session = Session(model, device="auto")
    assert session.provider == "CPUExecutionProvider"
    np.testing.assert_array_equal(session.run({"x": np.array([-1, 2], np.float32)})["y"], [0, 2])


def test_libraries_that_are_missing_are_named_and_nothing_is_printed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """ONNX Runtime tells of them on the error stream, from native code, and runs on the CPU."""

    def session(*_: Any, **__: Any) -> Any:
        os.write(2, b"\x1b[1;31m[E:ort] Failed to load library cuda.so with error: libcublasLt.so.13: not here\n")
        sys.stdout.write("falling back")
        return SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"])

    monkeypatch.setattr(providers, "require_onnxruntime", lambda: runtime(session))
    assert providers.providers("auto") == ["CPUExecutionProvider"]
    assert providers.cuda_objection() == f"ONNX Runtime 9.9 can't use its {CUDA}: libcublasLt.so.13: not here"
    assert cuda_objection.cache_info().misses == 1
    sys.stdout.flush()
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_a_machine_without_a_gpu_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def session(*_: Any, **__: Any) -> Any:
        raise RuntimeError(
            "[ONNXRuntimeError] CUDA failure 100: no CUDA-capable device is detected ; GPU=0 ; hostname=h"
        )

    monkeypatch.setattr(providers, "require_onnxruntime", lambda: runtime(session))
    with pytest.raises(DependencyError, match=r"CUDA failure 100: no CUDA-capable device is detected$"):
        providers.providers("cuda")


def test_a_gpu_that_computes_something_else_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def session(*_: Any, **__: Any) -> Any:
        return SimpleNamespace(get_providers=lambda: [CUDA], run=lambda *_: [np.zeros(1, np.float32)])

    monkeypatch.setattr(providers, "require_onnxruntime", lambda: runtime(session))
    assert providers.cuda_objection() is not None


def test_a_gpu_that_works_is_used_in_full_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    def session(*_: Any, **__: Any) -> Any:
        return SimpleNamespace(get_providers=lambda: [CUDA], run=lambda _, inputs: [2 * inputs["x"]])

    monkeypatch.setattr(providers, "require_onnxruntime", lambda: runtime(session))
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert cuda_objection() is None
    for device in ("auto", "cuda"):
        (name, options), second = providers.providers(device)
        assert (name, second) == (CUDA, "CPUExecutionProvider")
        assert (options["use_tf32"], options["device_id"]) == ("0", "3")


@pytest.mark.parametrize(
    "said",
    [
        "Non-zero status code returned while running Conv node. bfc_arena.cc:376: Failed to allocate memory for "
        "requested buffer of size 1073741824",
        "CUDA failure 2: out of memory ; GPU=0",
        "CUDNN failure 4002: CUDNN_STATUS_ALLOC_FAILED",
    ],
)
def test_a_full_gpu_is_told_apart_from_a_bad_model(
    said: str, save: Callable[..., Path], make_model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnx import helper

    session = Session(save(make_model([helper.make_node("Relu", ["x"], ["y"])], {"x": [2]}, {"y": [2]}, {})))

    def full(*_: Any) -> Any:
        raise RuntimeError(said)

    monkeypatch.setattr(session, "_session", SimpleNamespace(run=full))
    with pytest.raises(ModelError):  # on the CPU the model asks for more than any machine has
        session.run({"x": np.zeros(2, np.float32)})
    monkeypatch.setattr(session, "_on_cuda", True)
    with pytest.raises(DeviceMemoryError, match=r"the GPU's memory is full .*--batch-size"):
        session.run({"x": np.zeros(2, np.float32)})
