"""What a sweep says of sizes: the dense model's are those of its files, whatever they would be converted to."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

from domino_onnx.options import CompressOptions, DataOptions, OutputOptions
from domino_onnx.pipeline import sweep


@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize("output", [OutputOptions(weights="int8"), OutputOptions(precision="fp16"), OutputOptions()])
def test_the_dense_size_is_that_of_the_files_as_they_are(output: OutputOptions, external: bool, tmp_path: Path) -> None:
    tiny = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        tiny (float[n, 32] x) => (float[n, 32] y) { y = MatMul (x, w) }""")
    weight = np.random.default_rng(1).standard_normal((32, 32)).astype(np.float32)
    tiny.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    tiny.metadata_props.add(key="author", value="a test")
    folder = tmp_path / "model"
    folder.mkdir()
    onnx.save(tiny, folder / "m.onnx", save_as_external_data=external, location="m.data", size_threshold=0)
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(2).standard_normal((64, 32)).astype(np.float32))
    options = CompressOptions(data=DataOptions(calibration=tmp_path / "data.npz"), output=output)
    result = sweep(folder / "m.onnx", [0.5], options, keeps=False)
    files = [folder / "m.onnx"] + [folder / "m.data"] * external
    assert result.dense_bytes == sum(file.stat().st_size for file in files)
    zipped = sum(len(gzip.compress(file.read_bytes(), mtime=0)) for file in files)
    assert result.dense_bytes_gzipped == pytest.approx(zipped, abs=64)  # whose headers have no names
