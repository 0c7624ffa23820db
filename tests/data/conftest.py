"""Folders of images with their preprocessing.yaml."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from domino_onnx.data import Dataset, load_data

ModelOf = Callable[..., onnx.ModelProto]


@pytest.fixture
def model_of() -> ModelOf:
    """A model whose one input `x` has this shape and type."""

    def build(shape: Sequence[Any] | None, kind: int = TensorProto.FLOAT, **others: list[Any]) -> onnx.ModelProto:
        values = [helper.make_tensor_value_info("x", kind, shape)]
        values += [helper.make_tensor_value_info(name, kind, shape) for name, shape in others.items()]
        constant = helper.make_node("Constant", [], ["y"], value_float=1.0)
        return helper.make_model(helper.make_graph([constant], "g", values, []))

    return build


@pytest.fixture
def pixels() -> Callable[..., np.ndarray[Any, Any]]:
    """(height, width, 3) random pixels, smooth enough for JPEG."""

    def make(height: int, width: int, seed: int = 0) -> np.ndarray[Any, Any]:
        coarse = np.random.default_rng(seed).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3))
        return np.kron(coarse, np.ones((4, 4, 1)))[:height, :width].astype(np.uint8)

    return make


@pytest.fixture
def load(tmp_path: Path, model_of: ModelOf) -> Callable[..., Dataset]:
    """Load the images in the test's folder `images` as this YAML says, for an input of this shape."""

    def call(text: str, shape: Sequence[Any] | None = None, *, any_labels: bool = False, **options: Any) -> Dataset:
        (tmp_path / "preprocessing.yaml").write_text("images: images\n" + text, encoding="utf-8")
        return load_data(tmp_path, model_of(shape, **options), any_labels=any_labels)

    return call
