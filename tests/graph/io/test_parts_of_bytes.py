"""Elements that share bytes: external data of 2, 4 and 6 bits a value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from domino_onnx.errors import ModelError
from domino_onnx.graph import bytes_by_reader, loaded, read_model
from domino_onnx.precision import Conversion, converted

from .writing import Make

SHAPE = (5, 3)
BITS = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2, "FLOAT6E2M3": 6, "FLOAT6E3M2": 6}
KINDS = [pytest.param(name, bits, id=name) for name, bits in BITS.items() if hasattr(TensorProto, name)]
node = helper.make_node


def written(make_model: Make, folder: Path, kind: str, data: bytes, declared: int | None = None) -> Path:
    """A model with one such tensor outside, whose bytes are `data`, and a Constant that holds the same inside."""
    data_type = TensorProto.DataType.Value(kind)
    inside = TensorProto(name="q", data_type=data_type, dims=SHAPE, raw_data=data)
    outside = TensorProto(name="q", data_type=data_type, dims=SHAPE, data_location=TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value="q.bin")
    if declared is not None:
        outside.external_data.add(key="length", value=str(declared))
    nodes = [node("Constant", [], ["c"], value=inside), node("Neg", ["x"], ["y"])]
    model = make_model(nodes, {"x": (1,)}, {"y": (1,)}, {"q": outside}, opset=26, ir=10)
    (folder / "q.bin").write_bytes(data)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


@pytest.mark.parametrize(("kind", "bits"), KINDS)
class TestPartsOfBytes:
    def test_values_are_those_of_the_same_bytes_inline(
        self, kind: str, bits: int, make_model: Make, tmp_path: Path
    ) -> None:
        size = -(-15 * bits // 8)
        data = np.random.default_rng(0).integers(0, 256, size, np.uint8)
        data[-1] &= (1 << (15 * bits % 8 or 8)) - 1  # what is left of the last byte is zero
        file = read_model(written(make_model, tmp_path, kind, data.tobytes(), size))
        [outside] = file.proto.graph.initializer
        expected = numpy_helper.to_array(file.proto.graph.node[0].attribute[0].t)
        found = file.array(outside)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found.view(np.uint8), expected.view(np.uint8))

    def test_a_copy_in_memory_holds_the_same_bytes(
        self, kind: str, bits: int, make_model: Make, tmp_path: Path
    ) -> None:
        data = bytes(range(-(-15 * bits // 8)))
        copy = loaded(read_model(written(make_model, tmp_path, kind, data)), {})
        assert copy.proto.graph.initializer[0].raw_data == data

    def test_their_bytes_are_counted_as_they_are_stored(
        self, kind: str, bits: int, make_model: Make, tmp_path: Path
    ) -> None:
        size = -(-15 * bits // 8)
        file = read_model(written(make_model, tmp_path, kind, bytes(size)))
        assert {nbytes for _, _, nbytes in bytes_by_reader(file.proto)} == {size}

    @pytest.mark.parametrize("wrong", [-1, 1, 15])
    def test_other_lengths_are_refused(
        self, kind: str, bits: int, wrong: int, make_model: Make, tmp_path: Path
    ) -> None:
        size = -(-15 * bits // 8)
        with pytest.raises(ModelError, match="its shape needs"):
            read_model(written(make_model, tmp_path, kind, bytes(size + 15), size + wrong))


def test_two_values_a_byte_lowest_first(make_model: Make, tmp_path: Path) -> None:
    file = read_model(written(make_model, tmp_path, "INT4", bytes([0x21, 0xF8, 7, 0, 0, 0, 0, 0xC])))
    found: Any = file.array(file.proto.graph.initializer[0]).astype(int)
    assert found.tolist() == [[1, 2, -8], [-1, 7, 0], [0, 0, 0], [0, 0, 0], [0, 0, -4]]


@pytest.mark.parametrize("precision", ["keep", "fp16"])
def test_weights_of_four_bits_outside_the_model_are_converted(
    precision: Any, make_model: Make, tmp_path: Path, run_ort: Any
) -> None:
    weight = np.random.default_rng(1).integers(-8, 8, (64, 64)).astype(helper.tensor_dtype_to_np_dtype(22))
    nodes = [
        node("DequantizeLinear", ["q", "s"], ["w"]),
        node("MatMul", ["x", "w"], ["a"]),
        node("MatMul", ["a", "v"], ["y"]),
    ]
    arrays = {
        "q": numpy_helper.from_array(weight, "q"),
        "s": numpy_helper.from_array(np.float32(0.01), "s"),
        "v": numpy_helper.from_array(np.random.default_rng(2).standard_normal((64, 64)).astype(np.float32), "v"),
    }
    model = make_model(nodes, {"x": (1, 64)}, {"y": (1, 64)}, arrays, opset=21, ir=10)
    onnx.save(model, tmp_path / "inside.onnx")
    onnx.save(model, tmp_path / "outside.onnx", save_as_external_data=True, size_threshold=0, location="q.data")
    wanted = Conversion(precision=precision, weights="int8")
    inside, outside = (
        converted(read_model(tmp_path / f"{name}.onnx"), {}, None, wanted).file for name in ("inside", "outside")
    )
    for one, other in zip(inside.proto.graph.initializer, outside.proto.graph.initializer, strict=True):
        assert one.name == other.name
        np.testing.assert_array_equal(inside.array(one), outside.array(other))
