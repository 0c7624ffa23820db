"""Small models of many exporters and test suites: what the bridge can build agrees with ONNX Runtime."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

from domino_onnx.bridge import build, check_parity, missing_operators

pytestmark = pytest.mark.shared

CORPUS = Path(os.environ.get("DOMINO_ONNX_SHARED", "/nonexistent")) / "corpus"
REFUSALS = (Fail, InvalidArgument, RuntimeException)
#: Sizes to try for dimensions that the model leaves open, until ONNX Runtime accepts the input.
SIZES = (2, 1, 4, 8, 16, 32, 128, 512)
#: Models that pool a smaller image away, which ONNX Runtime doesn't refuse.
LARGE = {"pypi_real__e47acedf6632": (64,)}


def test_the_corpus_is_there(shared: Path) -> None:
    assert any((shared / "corpus").glob("*.onnx"))


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.onnx")), ids=lambda path: path.stem)
def test_model(path: Path, rng: np.random.Generator) -> None:
    model = onnx.load(path)
    missing = missing_operators(model)
    if missing:
        pytest.skip(f"no torch counterpart for {', '.join(missing)}")
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    try:
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Fail as error:
        pytest.skip(f"ONNX Runtime refuses the model: {error}")
    inputs, expected = _answer(model, session, LARGE.get(path.stem, SIZES), rng)
    half = any(np.asarray(output).dtype == np.float16 for output in expected.values())
    rtol, atol = (5e-3, 1e-2) if half else (1e-3, 1e-4)
    result = check_parity(build(model), inputs, expected, rtol=rtol, atol=atol)
    assert result.ok, result


def _answer(
    model: onnx.ModelProto, session: ort.InferenceSession, sizes: tuple[int, ...], rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    names = [output.name for output in session.get_outputs()]
    stored = {tensor.name for tensor in model.graph.initializer}
    for size in sizes:
        inputs = {i.name: _random(i, size, rng) for i in model.graph.input if i.name not in stored}
        try:
            outputs = session.run(names, inputs)
        except REFUSALS:
            continue
        if all(np.asarray(output).size for output in outputs):
            return inputs, {name: np.asarray(value) for name, value in zip(names, outputs, strict=True)}
    pytest.skip("ONNX Runtime accepts none of the inputs tried")


def _random(value: onnx.ValueInfoProto, size: int, rng: np.random.Generator) -> np.ndarray:
    kind = value.type.tensor_type
    shape = [dim.dim_value if dim.dim_value > 0 else size for dim in kind.shape.dim]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    drawn = rng.standard_normal(shape) if dtype.kind == "f" else rng.integers(0, 2, shape)
    return np.asarray(drawn).astype(dtype)
