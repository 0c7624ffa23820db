"""Whatever is stored of a pruned weight, in any form: `verify` names the weight when one byte of it is another."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from domino_onnx.errors import ModelError
from domino_onnx.options import NO_DATA, CompressOptions, overridden
from domino_onnx.pipeline import compress, convert, verify
from domino_onnx.precision import Conversion
from domino_onnx.scheme import NMScheme

node = helper.make_node
Array = np.ndarray[Any, np.dtype[Any]]
SIZE = 128
PLAIN = [node("MatMul", ["x", "w"], ["y"])]
QDQ = [node("DequantizeLinear", ["w", "scale", "zero"], ["v"], axis=1), node("MatMul", ["x", "v"], ["y"])]
TURNED = [
    node("Identity", ["scale"], ["same"]),
    node("DequantizeLinear", ["w", "same", "zero"], ["v"], axis=1),
    node("Transpose", ["v"], ["t"]),
    node("MatMul", ["x", "t"], ["y"]),
]
FAKE = [
    node("QuantizeLinear", ["w", "scale", "zero"], ["q"], axis=1),
    node("DequantizeLinear", ["q", "back", "zero"], ["v"], axis=1),
    node("MatMul", ["x", "v"], ["y"]),
]
CAST = [
    node("Cast", ["wide"], ["scale"], to=TensorProto.FLOAT),
    *FAKE,
]
TWICE = [
    *FAKE[:2],
    node("QuantizeLinear", ["w", "other"], ["r"], axis=1),
    node("DequantizeLinear", ["r", "other"], ["u"], axis=1),
    node("MatMul", ["x", "v"], ["h"]),
    node("MatMul", ["h", "u"], ["y"]),
]
HALF = {"output.precision": "fp16"}
INT8 = {"output.weights": "int8"}
PACKED = {"output.format": "packed"}
CASES: dict[str, tuple[list[onnx.NodeProto], dict[str, Any], set[str]]] = {
    "float32": (PLAIN, {}, {"w"}),
    "float16": (PLAIN, HALF, {"w"}),
    "packed by positions": (PLAIN, PACKED, {"domino_onnx.0.values", "domino_onnx.0.codes"}),
    "packed by a bitmask": (
        PLAIN,
        PACKED | {"goal.scheme": NMScheme(8, 16)},
        {"domino_onnx.0.values", "domino_onnx.0.codes"},
    ),
    "packed float16": (PLAIN, PACKED | HALF, {"domino_onnx.0.values", "domino_onnx.0.codes"}),
    "int8": (PLAIN, INT8, {"w_quantized", "w_scale", "w_zero_point"}),
    "packed int8": (PLAIN, INT8 | PACKED, {"domino_onnx.0.values", "domino_onnx.0.codes", "w_scale", "w_zero_point"}),
    "int8 in float16": (PLAIN, INT8 | HALF, {"w_quantized", "w_scale", "w_zero_point"}),
    "quantised before": (QDQ, {}, {"w", "scale", "zero"}),
    "behind Identity and Transpose": (TURNED, {}, {"w", "scale", "zero"}),
    "quantised as it runs": (FAKE, {}, {"w", "scale", "back", "zero"}),
    "quantised as it runs, in float16": (FAKE, HALF, {"w", "scale", "back", "zero"}),
    "with scales in another type": (CAST, {}, {"w", "wide", "back", "zero"}),
    "with scales for each reader": (TWICE, {}, {"w", "scale", "back", "zero", "other"}),
}


def arrays(nodes: list[onnx.NodeProto]) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    read = {name for each in nodes for name in each.input}
    weight = rng.integers(1, 100, (SIZE, SIZE)) * rng.choice([-1, 1], (SIZE, SIZE))
    is_float = any(nodes is each for each in (PLAIN, FAKE, CAST, TWICE))
    stored = {
        "w": weight.astype(np.float32) / 100 if is_float else weight.astype(np.int8),
        "scale": (np.arange(SIZE) + 1).astype(np.float32) / 100,
        "wide": (np.arange(SIZE) + 1).astype(np.float64) / 100,
        "other": (np.arange(SIZE) + 3).astype(np.float32) / 100,
        "back": (np.arange(SIZE) + 2).astype(np.float32) / 100,
        "zero": np.zeros(SIZE, np.int8),
    }
    made = {name for each in nodes for name in each.output}
    return {name: values for name, values in stored.items() if name in read - made}


def options(given: dict[str, Any]) -> CompressOptions:
    fields = {"goal.scheme": NMScheme(2, 4), "data.calibration": NO_DATA, "finetune.enabled": False}
    return overridden(CompressOptions(), {**fields, "run.threads": 1, **given})


def written(case: str, make_model: Callable[..., Any], save: Callable[..., Path], folder: Path) -> Path:
    nodes, given, _ = CASES[case]
    source = save(make_model(nodes, {"x": ["n", SIZE]}, {"y": ["n", SIZE]}, arrays(nodes), opset=17))
    compress(source, folder / "out.onnx", options(given))
    return folder / "out.onnx"


def aged(path: Path, field: str) -> None:
    """Take a field out of the manifest, as an older version would have written it."""
    model = onnx.load(path)
    entry = next(entry for entry in model.metadata_props if entry.key == "domino_onnx.manifest")
    assert f'"{field}"' in entry.value
    entry.value = re.sub(rf',"{field}":"[0-9a-f]{{64}}"', "", entry.value)
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("case", CASES)
def test_a_byte_of_anything_that_is_stored_of_a_weight(
    case: str, make_model: Callable[..., Any], save: Callable[..., Path], tmp_path: Path
) -> None:
    path = written(case, make_model, save, tmp_path)
    assert verify(path).holds
    model = onnx.load(path)
    of_weight = {tensor.name: tensor for tensor in model.graph.initializer if tensor.name in CASES[case][2]}
    assert of_weight.keys() == CASES[case][2]
    for name, tensor in of_weight.items():
        content = numpy_helper.to_array(tensor).tobytes()
        for place in (0, len(content) // 2 + 1, len(content) - 1):
            changed = bytearray(content)
            changed[place] ^= 1
            tensor.raw_data = bytes(changed)
            path.write_bytes(model.SerializeToString())
            try:
                (problem,) = verify(path).problems
            except ModelError as error:
                problem = str(error)
            assert re.search(r"\bw(_quantized)?\b", problem), (name, place, problem)
        tensor.raw_data = content
    path.write_bytes(model.SerializeToString())
    assert verify(path).holds


@pytest.mark.parametrize("case", ["int8", "quantised before", "quantised as it runs", "with scales for each reader"])
def test_a_manifest_that_tells_nothing_of_scales_still_holds(
    case: str, make_model: Callable[..., Any], save: Callable[..., Path], tmp_path: Path
) -> None:
    path = written(case, make_model, save, tmp_path)
    aged(path, "scales_sha256")
    assert verify(path).holds


def test_scales_that_change_places_are_found(
    make_model: Callable[..., Any], save: Callable[..., Path], tmp_path: Path
) -> None:
    path = written("with scales for each reader", make_model, save, tmp_path)
    model = onnx.load(path)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    tensors["scale"].raw_data, tensors["other"].raw_data = tensors["other"].raw_data, tensors["scale"].raw_data
    path.write_bytes(model.SerializeToString())
    assert verify(path).problems == (
        "w (MatMul_4): the scales or zero points that make its values are others than when it was written",
    )


def test_a_conversion_proves_nothing_that_was_open_or_wrong(
    make_model: Callable[..., Any], save: Callable[..., Path], tmp_path: Path
) -> None:
    source = written("quantised as it runs", make_model, save, tmp_path)
    older, spoilt, half = (tmp_path / name for name in ("older.onnx", "spoilt.onnx", "half.onnx"))
    older.write_bytes(source.read_bytes())
    aged(older, "scales_sha256")
    convert(older, half, conversion=Conversion(precision="fp16"))
    assert verify(half).holds
    assert "scales_sha256" not in half.read_bytes().decode("latin-1")
    model = onnx.load(source)
    next(tensor for tensor in model.graph.initializer if tensor.name == "back").raw_data = b"\x01" * 4 * SIZE
    spoilt.write_bytes(model.SerializeToString())
    convert(spoilt, half, conversion=Conversion(precision="fp16"), force=True)
    assert "scales or zero points" in verify(half).problems[0]
