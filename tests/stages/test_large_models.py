"""Models that don't fit into memory: weights come and go one by one, and what was written is checked by samples."""

from __future__ import annotations

import hashlib
import importlib
import weakref
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from domino_onnx.errors import CheckFailed
from domino_onnx.evaluate import check_sample
from domino_onnx.graph import read_model
from domino_onnx.options import NO_DATA, CompressOptions, overridden
from domino_onnx.pipeline import compress, verify
from domino_onnx.report.compressed_document import compress_document
from domino_onnx.scheme import Budget, Inventory, NMScheme, SchemePool, Site, StoredNumbers, WeightKey, WeightLayout
from domino_onnx.search import search_domino
from domino_onnx.solve import PrunedWeights
from domino_onnx.stages import solving
from domino_onnx.stages.writing import write as writing

domino = importlib.import_module("domino_onnx.search.domino")
Array = np.ndarray[Any, np.dtype[Any]]
LAYERS, WIDTH = 6, 32


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Six matrices one behind the other, in an external file."""
    generator = np.random.default_rng(0)
    weights = [generator.standard_normal((WIDTH, WIDTH), np.float32) for _ in range(LAYERS)]
    graph = helper.make_graph(
        [helper.make_node("MatMul", [f"x{place}", f"w{place}"], [f"x{place + 1}"]) for place in range(LAYERS)],
        "chain",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, [1, WIDTH])],
        [helper.make_tensor_value_info(f"x{LAYERS}", TensorProto.FLOAT, [1, WIDTH])],
        [numpy_helper.from_array(weight, f"w{place}") for place, weight in enumerate(weights)],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "chain.onnx"
    onnx.save(made, path, save_as_external_data=True, location="chain.data", size_threshold=0)
    return path


def options(**more: Any) -> CompressOptions:
    fields = {"data.calibration": NO_DATA, "finetune.enabled": False, "run.threads": 1, "goal.scheme": NMScheme(2, 4)}
    return overridden(CompressOptions(), {**fields, **more})


class Counting(PrunedWeights):
    """How often each weight is asked for, and how many are alive at the same time."""

    asked: ClassVar[Counter[WeightKey]] = Counter()
    alive, most = 0, 0

    def __getitem__(self, key: WeightKey) -> Array:
        array = super().__getitem__(key)
        Counting.asked[key] += 1
        Counting.alive += 1
        Counting.most = max(Counting.most, Counting.alive)
        weakref.finalize(array, Counting.gone)
        return array

    @classmethod
    def gone(cls) -> None:
        cls.alive -= 1


def test_external_weights_are_made_once_and_one_at_a_time(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Counting, "asked", Counter())
    monkeypatch.setattr(Counting, "most", 0)
    monkeypatch.setattr(solving, "PrunedWeights", Counting)
    compress(model, tmp_path / "out.onnx", options())
    assert set(Counting.asked.values()) == {1}
    assert len(Counting.asked) == LAYERS
    assert Counting.most == 1
    assert Counting.alive == 0
    assert verify(tmp_path / "out.onnx").holds


def test_the_data_file_is_the_old_one_but_for_the_weights(model: Path, tmp_path: Path) -> None:
    dense = model.with_name("chain.data")
    dense.write_bytes(dense.read_bytes() + b"behind the last weight")
    compress(model, tmp_path / "out.onnx", options())
    (data,) = tmp_path.glob("out.onnx.*.data")
    written = data.read_bytes()
    assert data.name.split(".")[2] == hashlib.sha256(written).hexdigest()[:16]
    old, new = (
        np.frombuffer(content[: -len(b"behind the last weight")], np.float32)
        for content in (dense.read_bytes(), written)
    )
    assert written.endswith(b"behind the last weight")
    np.testing.assert_array_equal(new[new != 0], old[new != 0])
    assert np.count_nonzero(new) == new.size // 2


def test_a_model_that_is_too_large_to_run_is_checked_by_samples(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "_MOST_TO_RUN", 0)
    result = compress(model, tmp_path / "out.onnx", options())
    assert result.parity is None
    assert result.sampled is not None
    assert (result.sampled.weights, result.sampled.groups) == (LAYERS, LAYERS * WIDTH * WIDTH // 4)
    assert compress_document(result)["sampled"] == {"weights": LAYERS, "groups": LAYERS * WIDTH * WIDTH // 4}


@pytest.mark.parametrize(("value", "said"), [(7.0, "that the source doesn't have"), (None, "keeps more than 2 of 4")])
def test_a_sample_finds_what_is_wrong(model: Path, tmp_path: Path, value: float | None, said: str) -> None:
    output = tmp_path / "out.onnx"
    compress(model, output, options())
    (data,) = tmp_path.glob("out.onnx.*.data")
    wrong = np.memmap(data, np.float32, "r+")
    wrong[:] = (
        np.where(wrong == 0, wrong, value) if value else np.memmap(model.with_name("chain.data"), np.float32, "r")
    )
    wrong.flush()
    with pytest.raises(CheckFailed, match=said):
        check_sample(read_model(model), read_model(output), seed=0)


def test_a_part_of_the_groups_votes_in_a_large_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """What all groups vote for in equal rows, a part of them votes for as well."""
    site = Site(
        key=WeightKey("w"),
        name="w",
        op="Gemm",
        layout=WeightLayout((640, 16), 1),
        numbers=StoredNumbers("float32"),
        consumers=("w",),
        schemes=SchemePool.fixed_m().for_reduction(16),
    )
    weight = np.tile(np.random.default_rng(0).standard_normal((1, 16), np.float32), (640, 1))
    inventory, budgets = Inventory(sites=(site,), skips=()), [Budget(measure="params", reduction=0.9)]
    whole = search_domino(inventory, budgets, lambda _: weight)
    monkeypatch.setattr(domino, "_MOST_WEIGHTS", 1)
    monkeypatch.setattr(domino, "_FEWER_GROUPS", 8)
    assert search_domino(inventory, budgets, lambda _: weight) == whole
