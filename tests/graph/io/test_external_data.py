"""External data stay external, in files of their own."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from domino_onnx.errors import OutputError
from domino_onnx.graph import (
    read_model,
    take_inventory,
)
from domino_onnx.options import CompressOptions, Goal
from domino_onnx.pipeline import compress, convert
from domino_onnx.scheme import NMScheme, SchemePool, WeightKey

from .writing import Make, external_model, prune, values


class TestExternalData:
    arrays = {name: values(16, 16, seed=index) for index, name in enumerate("abc")}  # noqa: RUF012
    places = {"a": ("one.bin", 0), "b": ("one.bin", 4096), "c": ("sub/two.bin", 101)}  # noqa: RUF012

    def check(self, source: Path, output: Path, weights: Mapping[WeightKey, Any], run_ort: Any) -> onnx.ModelProto:
        """The written model is external still, runs, and holds the pruned weights."""
        bare = onnx.load(output, load_external_data=False)
        assert all(tensor.data_location == TensorProto.EXTERNAL for tensor in bare.graph.initializer)
        full = onnx.load(output)
        for tensor in full.graph.initializer:
            np.testing.assert_array_equal(numpy_helper.to_array(tensor), weights[WeightKey(tensor.name)])
        assert run_ort(output, {"x": values(1, 16)})[0].shape == (1, 16)
        return bare

    @pytest.mark.parametrize("beside", [True, False])
    def test_it_stays_external_and_the_source_stays_as_it_is(
        self, beside: bool, make_model: Make, tmp_path: Path, run_ort: Any
    ) -> None:
        source = external_model(make_model, tmp_path / "in", self.places, self.arrays)
        before = {path: path.read_bytes() for path in (tmp_path / "in").rglob("*") if path.is_file()}
        folder = tmp_path / "in" if beside else tmp_path / "out"
        folder.mkdir(exist_ok=True)
        weights = prune(source, folder / "out.onnx")
        bare = self.check(source, folder / "out.onnx", weights, run_ort)
        assert all(path.read_bytes() == content for path, content in before.items())
        new = {path for path in tmp_path.rglob("*") if path.is_file()} - set(before)
        assert len(new) == 3  # the model and two data files
        for tensor in bare.graph.initializer:
            entries = {entry.key: entry.value for entry in tensor.external_data}
            data = (folder / entries["location"]).read_bytes()
            part = data[int(entries["offset"]) :][: int(entries["length"])]
            assert hashlib.sha1(part).hexdigest() == entries["checksum"]
            assert int(entries["offset"]) == self.places[tensor.name][1]

    @pytest.mark.parametrize(
        "made",
        [functools.partial(compress, options=CompressOptions(goal=Goal(sparsity=0.5))), convert],
        ids=["compress", "convert"],
    )
    def test_a_name_too_long_for_a_data_file_is_refused_before_the_work(
        self, made: Callable[..., Any], make_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def work(*_: object, **__: object) -> None:
            raise AssertionError("the work has begun")

        monkeypatch.setattr("domino_onnx.stages.reading.read.drawn_samples", work)
        monkeypatch.setattr("domino_onnx.stages.writing.converting.write_model", work)
        source = external_model(make_model, tmp_path / "in", self.places, self.arrays)
        output = tmp_path / ("o" * 235 + ".onnx")
        output.touch()  # the model itself could have the name
        output.unlink()
        with pytest.raises(OutputError, match=r"can't have a data file: File name too long.*22 characters longer"):
            made(source, output)
        assert [path.name for path in tmp_path.iterdir()] == ["in"]

    def test_bytes_between_the_weights_are_kept(self, make_model: Make, tmp_path: Path) -> None:
        source = external_model(make_model, tmp_path, self.places, self.arrays)
        prune(source, tmp_path / "out.onnx")
        bare = onnx.load(tmp_path / "out.onnx", load_external_data=False)
        location = next(entry.value for entry in bare.graph.initializer[0].external_data if entry.key == "location")
        data = (tmp_path / location).read_bytes()
        assert len(data) == len((tmp_path / "one.bin").read_bytes())
        assert data[1024:4096] == b"\xee" * 3072
        assert data[-7:] == b"\xee" * 7

    def test_a_data_file_of_the_outputs_name_is_not_overwritten(
        self, make_model: Make, tmp_path: Path, run_ort: Any
    ) -> None:
        """out.onnx.data is what many tools would write, and here it is the source's own."""
        places = dict.fromkeys(self.arrays, ("out.onnx.data", 0))
        places = {name: ("out.onnx.data", 1024 * index) for index, name in enumerate(places)}
        source = external_model(make_model, tmp_path, places, self.arrays)
        before = (tmp_path / "out.onnx.data").read_bytes()
        weights = prune(source, tmp_path / "out.onnx")
        assert (tmp_path / "out.onnx.data").read_bytes() == before
        self.check(source, tmp_path / "out.onnx", weights, run_ort)

    def test_replacing_an_output_leaves_no_orphan_data(self, make_model: Make, tmp_path: Path, run_ort: Any) -> None:
        source = external_model(make_model, tmp_path / "in", self.places, self.arrays)
        folder = tmp_path / "out"
        folder.mkdir()
        prune(source, folder / "out.onnx")
        first = {path.name for path in folder.iterdir()}
        (folder / "out.onnx.data").write_bytes(b"not ours")
        weights = prune(source, folder / "out.onnx", force=True, scheme=NMScheme(1, 4))
        self.check(source, folder / "out.onnx", weights, run_ort)
        second = {path.name for path in folder.iterdir()}
        assert len(second) == len(first) + 1
        assert "out.onnx.data" in second

    @pytest.mark.parametrize(
        ("start", "kept"),
        [
            *((start, True) for start in (b"", b"\x08\x08")),
            *((start, False) for start in (b"PK\x03\x04", b"\x89PNG\r\n", b"\xff\xd8\xff\xe0", b"\x93NUMPY\x01\x00")),
        ],
    )
    def test_only_files_that_begin_as_a_model_may_keep_data(
        self, start: bytes, kept: bool, make_model: Make, tmp_path: Path
    ) -> None:
        """Other files of the folder, as images to calibrate with, aren't read."""
        source = external_model(make_model, tmp_path / "in", self.places, self.arrays)
        (folder := tmp_path / "out").mkdir()
        prune(source, folder / "out.onnx")
        first = {path.name for path in folder.iterdir()} - {"out.onnx"}
        (folder / "other").write_bytes(start + " and ".join(sorted(first)).encode())
        prune(source, folder / "out.onnx", force=True, scheme=NMScheme(1, 4))
        left = {path.name for path in folder.iterdir()} & first
        assert left == (first if kept else set())

    def test_an_output_in_the_way_of_its_own_source_data_can_be_pruned_again(
        self, make_model: Make, tmp_path: Path, run_ort: Any
    ) -> None:
        source = external_model(make_model, tmp_path, self.places, self.arrays)
        prune(source, tmp_path / "first.onnx")
        weights = prune(tmp_path / "first.onnx", tmp_path / "second.onnx", scheme=NMScheme(1, 4))
        self.check(source, tmp_path / "second.onnx", weights, run_ort)
        onnx.load(tmp_path / "first.onnx")

    def test_overlapping_ranges_are_left_alone(self, make_model: Make, tmp_path: Path) -> None:
        whole = values(16, 32)
        source = external_model(
            make_model,
            tmp_path,
            {"a": ("one.bin", 0), "b": ("one.bin", 1020), "c": ("one.bin", 4096)},
            {"a": whole[:, :16].copy(), "b": whole[:, 16:].copy(), "c": values(16, 16)},
        )
        file = read_model(source)
        inventory = take_inventory(file, SchemePool.fixed_m(), {})
        assert [site.key.name for site in inventory.sites] == ["c"]
        assert all("shares its bytes" in skip.reason for skip in inventory.skips)

    def test_a_weight_that_two_names_share_is_left_alone(self, make_model: Make, tmp_path: Path) -> None:
        source = external_model(
            make_model, tmp_path, {"a": ("o", 0), "b": ("o", 0)}, {"a": values(16, 16), "b": values(16, 16)}
        )
        inventory = take_inventory(read_model(source), SchemePool.fixed_m(), {})
        assert not inventory.sites
        assert len(inventory.skips) == 2

    def test_a_tensor_without_offset_and_length_is_the_whole_file(
        self, make_model: Make, tmp_path: Path, run_ort: Any
    ) -> None:
        source = external_model(make_model, tmp_path, {"a": ("a.bin", 0)}, {"a": self.arrays["a"]})
        (tmp_path / "a.bin").write_bytes(self.arrays["a"].tobytes())
        model = onnx.load(source, load_external_data=False)
        del model.graph.initializer[0].external_data[1:]
        source.write_bytes(model.SerializeToString())
        weights = prune(source, tmp_path / "out.onnx")
        self.check(source, tmp_path / "out.onnx", weights, run_ort)
