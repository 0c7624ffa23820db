"""Each form of samples gives the same arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper

from domino_onnx.api.samples import samples_file
from domino_onnx.data import load_data
from domino_onnx.errors import DataError

Array = np.ndarray[Any, np.dtype[Any]]


def read(given: Any, folder: Path, model: Path, proto: ModelProto) -> dict[str, Array]:
    """What the stages get to see."""
    data = load_data(samples_file(given, "data", folder, model, {}), proto)
    found = data.take(np.arange(data.count))
    return found if data.labels is None else {**found, "labels": data.labels}


def feeds(rows: Array) -> Iterator[dict[str, Array]]:
    """A generator, whose last feed is shorter."""
    for start in range(0, len(rows), 40):
        yield {"x": rows[start : start + 40]}


@pytest.mark.parametrize(
    "form", [lambda rows: rows, lambda rows: {"x": rows}, feeds, lambda rows: list(feeds(rows)),
             lambda rows: [rows[:5], rows[5:]], lambda rows: [(rows,)]],
    ids=["array", "by name", "generator", "list", "arrays", "tuple"],
)  # fmt: skip
def test_every_form_is_the_same(
    form: Callable[[Array], Any], rows: Array, small: ModelProto, save: Any, tmp_path: Path
) -> None:
    found = read(form(rows), tmp_path, save(small), small)
    np.testing.assert_array_equal(found["x"], rows)


def test_labels_of_feeds_may_be_texts_of_any_length(rows: Array, small: ModelProto, save: Any, tmp_path: Path) -> None:
    texts = [["a", "longer"], ["", "the longest of all"], ["b", "c"]]
    given = [{"x": rows[2 * place : 2 * place + 2], "labels": texts[place]} for place in range(3)]
    path = samples_file(iter(given), "data", tmp_path, save(small), {})
    with np.load(path) as archive:
        assert archive["labels"].tolist() == [text for pair in texts for text in pair]
        np.testing.assert_array_equal(archive["x"], rows[:6])


def test_a_dataloader_of_pairs_has_labels(rows: Array, small: ModelProto, save: Any, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    labels = np.arange(96) % 4
    pairs = torch.utils.data.TensorDataset(torch.from_numpy(rows).requires_grad_(), torch.from_numpy(labels))
    found = read(torch.utils.data.DataLoader(pairs, batch_size=40), tmp_path, save(small), small)
    np.testing.assert_array_equal(found["x"], rows)
    np.testing.assert_array_equal(found["labels"], labels)


@pytest.mark.parametrize("form", [
    lambda x, label: {"x": x, "labels": int(label)},
    lambda x, label: (x, label),
    lambda x, label: {"x": x, "labels": np.array([label])},
])  # fmt: skip
def test_a_scalar_is_one_label(form: Any, rows: Array, small: ModelProto, save: Any, tmp_path: Path) -> None:
    labels = np.arange(9) % 4
    found = read([form(rows[i : i + 1], labels[i]) for i in range(9)], tmp_path, save(small), small)
    np.testing.assert_array_equal(found["x"], rows[:9])
    np.testing.assert_array_equal(found["labels"], labels)


def test_a_scalar_text_is_one_label(rows: Array, small: ModelProto, save: Any, tmp_path: Path) -> None:
    given = [{"x": rows[i : i + 1], "labels": text} for i, text in enumerate(("a", "longer"))]
    with np.load(samples_file(given, "data", tmp_path, save(small), {})) as archive:
        assert archive["labels"].tolist() == ["a", "longer"]
    with np.load(samples_file({"x": rows[:1], "labels": 3}, "eval_data", tmp_path, save(small, "b.onnx"), {})) as alone:
        assert alone["labels"].tolist() == [3]


def test_names_that_are_no_file_names(rows: Array, make_model: Any, save: Any, tmp_path: Path) -> None:
    node = helper.make_node("MatMul", ["a/b:0", "w"], ["y"])
    model = make_model([node], {"a/b:0": ["batch", 32]}, {"y": ["batch", 32]}, {"w": np.eye(32, dtype=np.float32)})
    found = read(({"a/b:0": rows[i : i + 8]} for i in range(0, 96, 8)), tmp_path, save(model), model)
    np.testing.assert_array_equal(found["a/b:0"], rows)


def test_feeds_are_joined_along_the_batch_axis(make_model: Any, save: Any, tmp_path: Path) -> None:
    nodes = [helper.make_node("Add", ["x", "c"], ["a"]), helper.make_node("Mul", ["a", "s"], ["y"])]
    model = make_model(nodes, {"x": [3, "batch"], "c": ["batch"], "s": [1]}, {"y": [3, "batch"]}, {})
    x, c, s = (np.random.default_rng(0).standard_normal(shape).astype(np.float32) for shape in ((3, 20), (20,), (1,)))
    found = read(
        [{"x": x[:, i : i + 5], "c": c[i : i + 5], "s": s} for i in range(0, 20, 5)], tmp_path, save(model), model
    )
    for name, array in (("x", x), ("c", c), ("s", s)):
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((each for each in ()), "holds no samples"),
        (3, "give a path, an array, arrays by input, or an iterable of feeds"),
        ([{"x": np.zeros((2, 32))}, {"z": np.zeros((2, 32))}], "feed 1 has ['z'], feed 0 has ['x']"),
        ([np.zeros((2, 32)), np.zeros((2, 31))], "feed 1: 'x' is float64 (2, 31), that of feed 0 is float64 (2, 32)"),
        ({"x": None}, "'x' is None; give an array of numbers"),
        ({"x": [[1.0], [1.0, 2.0]]}, "'x' is [[1.0], [1.0, 2.0]]; give an array of numbers, whose rows all have one"),
        ([{"x": np.array([None])}], "feed 0: 'x' is array([None], dtype=object); give an array of numbers"),
        ([np.float32(1)] * 2, "feed 0: 'x' is float32 (); it must have 2 axes, of which axis 0 counts samples"),
        ([{"x": np.zeros(32)}] * 2, "2 axes, of which axis 0 counts samples; give array[None] for one sample"),
        ([["a", "b", "c"]], "feed 0 is 3 parts; the model's inputs are 'x'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(given: Any, said: str, small: ModelProto, save: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        samples_file(given, "eval_data", tmp_path, save(small), {})
    assert said in str(caught.value)
    assert str(caught.value).startswith("eval_data")


def test_feeds_of_several_lengths_come_in_their_order(make_model: Any, save: Any, tmp_path: Path) -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    model = make_model(
        [node], {"x": ["batch", "time", 4]}, {"y": ["batch", "time", 4]}, {"w": np.eye(4, dtype=np.float32)}
    )
    given = [
        {"x": np.full((count, length, 4), number, np.float32), "labels": np.full(count, number)}
        for number, (count, length) in enumerate([(2, 3), (1, 3), (3, 5), (2, 3)])
    ]
    data = load_data(samples_file(iter(given), "data", tmp_path, save(model), {}), model)
    assert data.labels is not None
    assert data.labels.tolist() == [0, 0, 1, 2, 2, 2, 3, 3]
    lengths = [3, 3, 3, 5, 5, 5, 3, 3]
    for place, (label, length) in enumerate(zip(data.labels, lengths, strict=True)):
        np.testing.assert_array_equal(data.take(np.array([place]))["x"], np.full((1, length, 4), label))
    assert [run.tolist() for run in data.runs(32)] == [[0, 1, 2, 6, 7], [3, 4, 5]]
    with pytest.raises(DataError, match=r"feed 2: 'x' is float32 \(1, 3, 5\), that of feed 0 is float32 \(1, 3, 4\)"):
        samples_file(
            [{"x": np.zeros(shape, np.float32)} for shape in ((1, 3, 4), (1, 2, 4), (1, 3, 5))],
            "data", tmp_path, save(model), {},
        )  # fmt: skip


@pytest.mark.parametrize("axes", [{}, {"x": 1}, {"x": "none"}])
def test_feeds_with_too_few_axes(axes: Any, make_model: Any, save: Any, tmp_path: Path) -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    model = make_model(
        [node], {"x": ["batch", "time", 4]}, {"y": ["batch", "time", 4]}, {"w": np.eye(4, dtype=np.float32)}
    )
    with pytest.raises(DataError, match=r"feed 0: 'x' is float32 \(4,\); it must have [23] axes"):
        samples_file([np.zeros(4, np.float32)] * 2, "data", tmp_path, save(model), axes)


def test_feeds_of_which_each_is_a_sample_may_differ(make_model: Any, save: Any, tmp_path: Path) -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    model = make_model([node], {"x": ["time", "f"]}, {"y": ["time", 4]}, {"w": np.eye(4, dtype=np.float32)})
    given = [np.full((length, 4), number, np.float32) for number, length in enumerate((3, 3, 6))]
    axes: Any = {"x": "none"}
    data = load_data(samples_file(given, "data", tmp_path, save(model), axes), model, axes)
    assert [run["x"].shape for run in data.batches(32)] == [(3, 4), (3, 4), (6, 4)]
