"""Weights that are fixed functions are left dense in a model, unless they are named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from domino_onnx.options import NO_DATA, CompressOptions, DataOptions, FinetuneOptions, Goal
from domino_onnx.pipeline import compress, inspect
from domino_onnx.scheme import Inventory, NMScheme, SchemePool

Take = Callable[..., Inventory]
Make = Callable[..., ModelProto]
POOL = SchemePool.parse("1:2,2:4")


def dfl_model(make_model: Make, weight: NDArray[np.float32] | None = None) -> ModelProto:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["t"], name="head"),
        helper.make_node("Conv", ["t", "bins"], ["y"], name="dfl"),
    ]
    trained = np.random.default_rng(0).standard_normal((16, 16, 1, 1)).astype(np.float32)
    bins = np.arange(16, dtype=np.float32).reshape(1, 16, 1, 1) if weight is None else weight
    return make_model(nodes, {"x": (1, 16, 4, 4)}, {"y": None}, {"w": trained, "bins": bins})


def test_it_is_left_dense_and_the_reason_says_what_it_is(make_model: Make, inventory: Take) -> None:
    found = inventory(dfl_model(make_model), pool=POOL)
    assert [site.key.name for site in found.sites] == ["w"]
    (skip,) = found.skips
    assert skip.reason == (
        "is a fixed function, not trained: evenly spaced numbers, as the bins of an expected value are; "
        "it is pruned only where a pattern to include names it"
    )
    assert skip.counted
    assert skip.zeros == 1


@pytest.mark.parametrize(("pattern", "sites"), [("bins", ["bins"]), ("dfl", ["bins"]), ("*", ["w", "bins"])])
def test_one_that_is_named_is_pruned_all_the_same(
    pattern: str, sites: list[str], make_model: Make, inventory: Take
) -> None:
    found = inventory(dfl_model(make_model), pool=POOL, include=(pattern,))
    assert [site.key.name for site in found.sites] == sites


def test_one_that_is_named_and_excluded_is_excluded(make_model: Make, inventory: Take) -> None:
    found = inventory(dfl_model(make_model), pool=POOL, include=("*",), exclude=("bins",))
    assert [skip.reason for skip in found.skips] == ["excluded by 'bins'"]


def test_a_manifest_names_weights_and_no_nodes_of_the_same_name(
    make_model: Make, save: Callable[..., Path], tmp_path: Path
) -> None:
    """A node that reads fixed numbers is called like a weight that was pruned."""
    model = dfl_model(make_model)
    model.graph.node[1].name = "w"
    options = CompressOptions(
        goal=Goal(scheme=NMScheme(2, 4)),
        data=DataOptions(calibration=NO_DATA),
        finetune=FinetuneOptions(enabled=False),
    )
    compress(save(model), tmp_path / "out.onnx", options)
    assert [site.key.name for site in inspect(tmp_path / "out.onnx").inventory.sites] == ["w"]


def test_that_it_is_fixed_says_more_than_that_it_cannot_be_divided(make_model: Make, inventory: Take) -> None:
    grey = np.array([0.299, 0.587, 0.114], np.float32).reshape(1, 3, 1, 1)
    model = make_model([helper.make_node("Conv", ["x", "w"], ["y"])], {"x": (1, 3, 4, 4)}, {"y": None}, {"w": grey})
    (skip,) = inventory(model, pool=POOL).skips
    assert skip.reason == "is a fixed function, not trained: a conversion of colours"
    (skip,) = inventory(model, pool=POOL, include=("w",)).skips
    assert "not divisible" in skip.reason


def test_transposed_storage_and_integers_are_followed(make_model: Make, inventory: Take) -> None:
    frequencies, instants = np.ogrid[:129, :256]
    waves = np.cos(2 * np.pi * frequencies * instants / 256)[:, None]
    scale = np.abs(waves).max(axis=(1, 2)).astype(np.float32) / 127
    integers = np.rint(waves / scale[:, None, None]).astype(np.int8)
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s"], ["f"], axis=2),
        helper.make_node("Transpose", ["f"], ["v"], perm=[2, 1, 0]),
        helper.make_node("Conv", ["x", "v"], ["y"]),
    ]
    arrays = {"w": np.ascontiguousarray(integers.transpose(2, 1, 0)), "s": scale}
    (skip,) = inventory(make_model(nodes, {"x": (1, 1, 512)}, {"y": None}, arrays), pool=POOL).skips
    assert "sines or cosines" in skip.reason


def test_other_numbers_at_the_same_place_are_pruned(make_model: Make, inventory: Take) -> None:
    trained = np.random.default_rng(2).standard_normal((1, 16, 1, 1)).astype(np.float32)
    assert [site.key.name for site in inventory(dfl_model(make_model, trained), pool=POOL).sites] == ["w", "bins"]


def test_half_precision_in_a_file(make_model: Make, inventory: Take) -> None:
    tensor = numpy_helper.from_array(np.eye(32).astype(np.float16), "w")
    model = make_model(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        {"x": (1, 32)},
        {"y": None},
        {"w": tensor},
        dtype=TensorProto.FLOAT16,
    )
    (skip,) = inventory(model, pool=POOL).skips
    assert "selection" in skip.reason
