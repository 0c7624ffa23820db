"""A good model, and refusals of hostile ones, which come soon."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from domino_onnx.errors import ModelError
from domino_onnx.pipeline import inspect

SECONDS = 30.0
"""The most that the program promises to take for any small file; a machine with other work on it needs a second."""


@pytest.fixture
def soon() -> Iterator[None]:
    """The test ends in the seconds that are promised."""
    start = time.perf_counter()
    yield
    assert time.perf_counter() - start < SECONDS


@pytest.fixture
def refused() -> Callable[..., str]:
    """The message of the ModelError that `inspect` raises; it names the file."""

    def message_of(path: Path, says: str = "") -> str:
        with pytest.raises(ModelError) as error:
            inspect(path)
        message = str(error.value)
        assert str(path) in message
        assert says.lower() in message.lower()
        return message

    return message_of


@pytest.fixture
def good(make_model: Callable[..., onnx.ModelProto]) -> onnx.ModelProto:
    weight = np.random.default_rng(0).standard_normal((16, 8)).astype(np.float32)
    return make_model(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="n")], {"x": (1, 16)}, {"y": (1, 8)}, {"w": weight}
    )
