"""A fresh file holds; a file that was changed since says where."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from domino_onnx.errors import CheckFailed
from domino_onnx.options import NO_DATA, CompressOptions, overridden
from domino_onnx.pipeline import compress, convert, verify
from domino_onnx.precision import Conversion
from domino_onnx.scheme import NMScheme

node = helper.make_node


def for_target(
    target: str,
    make_model: Callable[..., Any],
    save: Callable[..., Path],
    folder: Path,
    exclude: tuple[str, ...] = (),
) -> Path:
    """A model of two MatMuls, compressed."""
    generator = np.random.default_rng(0)
    nodes = [node("MatMul", ["x", "a"], ["h"]), node("MatMul", ["h", "b"], ["y"])]
    arrays = {name: generator.standard_normal((16, 16)).astype(np.float32) for name in "ab"}
    source = save(make_model(nodes, {"x": (1, 16)}, {"y": None}, arrays))
    output = folder / "out.onnx"
    given = {
        "data.calibration": NO_DATA,
        "goal.scheme": NMScheme(4, 16),
        "target.runtime": target,
        "target.exclude": exclude,
    }
    compress(source, output, overridden(CompressOptions(), given))
    return output


@pytest.fixture
def written(make_model: Callable[..., Any], save: Callable[..., Path], tmp_path: Path) -> Path:
    """The same for any runtime."""
    return for_target("generic", make_model, save, tmp_path)


def change(path: Path, edit: Callable[[onnx.ModelProto], None]) -> None:
    model = onnx.load(path)
    edit(model)
    path.write_bytes(model.SerializeToString())


def set_weight(model: onnx.ModelProto, name: str, edit: Callable[[Any], None]) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == name)
    array = numpy_helper.to_array(tensor).copy()
    edit(array)
    tensor.CopyFrom(numpy_helper.from_array(array, name))


def test_a_fresh_file_holds(written: Path) -> None:
    verdict = verify(written)
    assert verdict.holds
    assert {finding.weight for finding in verdict.findings} == {"a", "b"}
    assert all(finding.zeros == 192 and finding.scheme == "4:16" for finding in verdict.findings)
    assert not verdict.problems


def test_one_pruned_weight_that_came_back_is_found(written: Path) -> None:
    def revive(array: Any) -> None:
        place = np.argwhere(array == 0)[5]
        array[tuple(place)] = 1e-30

    change(written, lambda model: set_weight(model, "b", revive))
    verdict = verify(written)
    assert not verdict.holds
    (problem,) = verdict.problems
    assert problem.startswith("b (MatMul_1):")
    assert "4 of every 16" in problem


def test_another_mask_of_the_same_scheme_is_found(written: Path) -> None:
    def swap(array: Any) -> None:
        column = array[:, 0]
        alive, dead = np.flatnonzero(column)[0], np.flatnonzero(column == 0)[0]
        column[dead], column[alive] = column[alive], 0

    change(written, lambda model: set_weight(model, "a", swap))
    verdict = verify(written)
    assert not verdict.holds
    assert "other weights are zero" in verdict.problems[0]


def test_a_single_changed_bit_is_named(written: Path) -> None:
    def nudge(array: Any) -> None:
        row, column = np.argwhere(array != 0)[7]
        array[row, column] = np.nextafter(array[row, column], np.float32(np.inf))

    change(written, lambda model: set_weight(model, "b", nudge))
    verdict = verify(written)
    assert verdict.problems == (
        "b (MatMul_1): its values are others than when it was written, though the same weights are zero",
    )


def test_a_manifest_without_hashes_of_values_still_holds(written: Path) -> None:
    def age(model: onnx.ModelProto) -> None:
        for entry in model.metadata_props:
            if entry.key == "domino_onnx.manifest":
                entry.value = re.sub(',"values_sha256":"[0-9a-f]{64}"', "", entry.value)
                assert "values_sha256" not in entry.value

    change(written, age)
    change(written, lambda model: set_weight(model, "a", lambda array: np.multiply(array, 1.5, out=array)))
    assert verify(written).holds


def test_a_weight_that_is_gone_or_reshaped_is_found(written: Path) -> None:
    def rename(model: onnx.ModelProto) -> None:
        model.graph.initializer[0].name = "renamed"
        model.graph.node[0].input[1] = "renamed"

    change(written, rename)
    assert "gone" in verify(written).problems[0]

    def reshape(model: onnx.ModelProto) -> None:
        model.graph.initializer[1].dims[:] = [32, 8]

    change(written, reshape)
    assert any("shape was (16, 16) and is (32, 8)" in problem for problem in verify(written).problems)


def test_a_file_without_a_manifest_promises_nothing(written: Path) -> None:
    change(written, lambda model: model.ClearField("metadata_props"))
    verdict = verify(written)
    assert not verdict.holds
    assert verdict.manifest is None
    assert "no domino-onnx manifest" in verdict.problems[0]


@pytest.mark.parametrize("text", ["", "{}", "null", '{"version": 2}', '{"version": 1, "weights": 3}'])
def test_a_garbage_manifest_is_a_failed_check(text: str, written: Path) -> None:
    def spoil(model: onnx.ModelProto) -> None:
        for entry in model.metadata_props:
            if entry.key == "domino_onnx.manifest":
                entry.value = text

    change(written, spoil)
    with pytest.raises(CheckFailed, match="manifest"):
        verify(written)


def test_nan_is_no_zero(written: Path) -> None:
    change(written, lambda model: set_weight(model, "a", lambda array: array.__setitem__(array != 0, np.nan)))
    (problem,) = verify(written).problems
    assert "though the same weights are zero" in problem


@pytest.mark.parametrize("name", ["a", "b"])
@pytest.mark.parametrize("target", ["generic", "tensorrt"])
def test_nan_is_found_for_every_target(
    name: str, target: str, make_model: Callable[..., Any], save: Callable[..., Path], tmp_path: Path
) -> None:
    output = for_target(target, make_model, save, tmp_path)
    assert verify(output).holds
    change(output, lambda model: set_weight(model, name, lambda array: array.__setitem__(array != 0, np.nan)))
    (problem,) = verify(output).problems
    assert problem.startswith(f"{name} (MatMul_{'ab'.index(name)}): its values are others")


def test_nan_in_a_weight_that_the_manifest_leaves_alone_is_no_matter_of_it(
    make_model: Callable[..., Any], save: Callable[..., Path], tmp_path: Path
) -> None:
    output = for_target("tensorrt", make_model, save, tmp_path, exclude=("b",))
    change(output, lambda model: set_weight(model, "b", lambda array: array.__setitem__((0, 0), np.nan)))
    assert verify(output).holds


@pytest.mark.parametrize(
    ("zeros", "counts"), [(0, "0 zeros"), (-1, "-1 zeros"), (191, "191 zeros"), (256, "256 zeros")]
)
def test_zeros_that_are_not_those_of_the_weight_are_found(zeros: int, counts: str, written: Path) -> None:
    def lie(model: onnx.ModelProto) -> None:
        for entry in model.metadata_props:
            if entry.key == "domino_onnx.manifest":
                document = json.loads(entry.value)
                document["weights"][1] |= {"zeros": zeros, "sparsity": zeros / 256}
                entry.value = json.dumps(document)

    change(written, lie)
    expected = (f"b (MatMul_1): the manifest counts {counts} in it, and there are 192",)
    assert verify(written).problems == expected
    converted = written.with_name("half.onnx")
    convert(written, converted, conversion=Conversion(precision="fp16"))
    (problem,) = verify(converted).problems
    assert problem.endswith(expected[0].split(":")[1])  # a conversion makes nothing true
