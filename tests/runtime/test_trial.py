"""A model that ends ONNX Runtime's process ends a child, and is an error here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from domino_onnx.errors import ModelError
from domino_onnx.runtime import require_survivable


@pytest.fixture
def model(make_model: Callable[..., onnx.ModelProto]) -> bytes:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    made = make_model([node], {"x": ["n", 8]}, {"y": ["n", 8]}, {"w": np.eye(8, dtype=np.float32)})
    return bytes(made.SerializeToString())


def test_a_good_model_passes(model: bytes) -> None:
    require_survivable(model)


def test_what_onnx_runtime_refuses_is_told_in_its_words(model: bytes) -> None:
    broken = onnx.ModelProto.FromString(model)
    broken.graph.node[0].op_type = "Conv"
    with pytest.raises(ModelError, match=r"can't load the model: .*Conv"):
        require_survivable(broken.SerializeToString())


@pytest.mark.parametrize(
    ("survives", "says"), [("", r"\(SIGSEGV\)$"), ("lean", "without the graph optimisations of .* it runs")]
)
def test_a_crash_is_an_error(survives: str, says: str, model: bytes, crashing: Callable[[str], None]) -> None:
    crashing(survives)
    with pytest.raises(ModelError, match=f"crashes on the model.*{says}"):
        require_survivable(model)


def test_a_conversion_that_crashes_writes_nothing(
    make_model: Callable[..., onnx.ModelProto], save: Callable[..., Any], crashing: Callable[[str], None]
) -> None:
    from domino_onnx.pipeline import convert
    from domino_onnx.precision import Conversion

    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    source = save(make_model([node], {"x": ["n", 8]}, {"y": ["n", 8]}, {"w": np.eye(8, dtype=np.float32)}))
    crashing("")
    with pytest.raises(ModelError, match="SIGSEGV"):
        convert(source, source.parent / "half.onnx", conversion=Conversion(precision="fp16"))
    assert list(source.parent.iterdir()) == [source]
