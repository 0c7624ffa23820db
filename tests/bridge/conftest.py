"""ONNX Runtime is the oracle of every test of the bridge."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from domino_onnx.bridge import BridgeParity, build, check_parity

Array = np.ndarray[Any, np.dtype[Any]]
Reference = Callable[[onnx.ModelProto, Mapping[str, Array]], dict[str, Array]]
Parity = Callable[..., BridgeParity]


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def reference() -> Reference:
    """Evaluate a model in ONNX Runtime."""

    def evaluate(model: onnx.ModelProto, inputs: Mapping[str, Array]) -> dict[str, Array]:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))

    return evaluate


@pytest.fixture(scope="session")
def parity(reference: Reference) -> Parity:
    """Compare the bridge with ONNX Runtime on one model and its inputs."""

    def compare(model: onnx.ModelProto, inputs: Mapping[str, Array], **tolerances: float) -> BridgeParity:
        return check_parity(build(model), inputs, reference(model, inputs), **tolerances)

    return compare


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of real models, which is not part of the project."""
    folder = os.environ.get("DOMINO_ONNX_SHARED")
    if folder is None:
        pytest.skip("DOMINO_ONNX_SHARED names no folder of real models")
    return Path(folder)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
