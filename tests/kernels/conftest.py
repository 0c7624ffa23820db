"""The library, and the instruction sets of this processor."""

from __future__ import annotations

import ctypes

import pytest

pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")


@pytest.fixture(scope="session")
def library() -> str:
    """The shared library; tests are skipped where it was never built."""
    kernels = pytest.importorskip("domino_onnx_kernels", reason="domino-onnx-kernels is not installed")
    try:
        path: str = kernels.library_path()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    return path


@pytest.fixture(params=["plain", "avx2", "avxvnni", "avx512"])
def instruction_set(request: pytest.FixtureRequest, library: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each set in turn; those that this processor lacks are skipped."""
    names = ctypes.CDLL(library).domino_onnx_instruction_sets
    names.restype = ctypes.c_char_p
    if request.param not in names().decode().split(","):
        pytest.skip(f"this processor has no {request.param}")
    monkeypatch.setenv("DOMINO_ONNX_KERNELS", request.param)
    return str(request.param)
