"""Deploying needs the kernels and onnx-graphsurgeon."""

from __future__ import annotations

import pytest

pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
pytest.importorskip("onnx_graphsurgeon", reason="onnx-graphsurgeon is not installed")


@pytest.fixture(autouse=True)
def _kernels(brief_timing: None) -> None:
    """Skip where the library was never built."""
    del brief_timing
    kernels = pytest.importorskip("domino_onnx_kernels", reason="domino-onnx-kernels is not installed")
    try:
        kernels.library_path()
    except FileNotFoundError as error:
        pytest.skip(str(error))
