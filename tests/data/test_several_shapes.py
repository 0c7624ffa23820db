"""Samples of several shapes: runs have one of them each, and no sample is lost, changed or taken twice."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("yaml")

from domino_onnx.data import Dataset, Split, images, joined, load_data  # noqa: E402
from domino_onnx.errors import DataError  # noqa: E402

Array = np.ndarray[Any, np.dtype[Any]]
ModelOf = Callable[..., onnx.ModelProto]
Load = Callable[..., Dataset]
SIZES = [(8, 13), (8, 20), (16, 24), (8, 12), (4, 30), (8, 16), (12, 30)]
"""(height, width) of files."""
LINES = "resize: {height: 8}\npad_width_divisor: 4\npad_value: [1, 2, 3]\nscale: 1\n"


@pytest.fixture
def lines(tmp_path: Path, pixels: Callable[..., Array]) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number, (height, width) in enumerate(SIZES):
        Image.fromarray(pixels(height, width, seed=number)).save(folder / f"{number}.png")
    return folder


def files_of(data: Dataset) -> list[Path]:
    (samples,) = data.arrays.values()
    return list(samples.source.files)  # type: ignore[attr-defined]


def taken(data: Dataset, size: int) -> dict[int, Array]:
    """What the runs give of each sample; each run is of one shape."""
    runs = data.runs(size)
    assert all(1 <= len(run) <= size for run in runs)
    found = {int(index): row for run in runs for index, row in zip(run, data.take(run)["x"], strict=True)}
    assert sum(map(len, runs)) == len(found) == data.count
    return found


class TestImages:
    def test_each_is_as_wide_as_its_shape_and_filled_up_at_the_right(self, lines: Path, load: Load) -> None:
        data = load(LINES, ["b", 3, 8, None])
        found = taken(data, 3)
        for index, file in enumerate(files_of(data)):
            image = Image.open(file)
            width = math.ceil(8 * image.width / image.height)
            want = np.tile(np.array([1, 2, 3], np.uint8), (8, math.ceil(width / 4) * 4, 1))
            want[:, :width] = np.asarray(image.resize((width, 8), Image.BILINEAR))
            np.testing.assert_array_equal(found[index], want.transpose(2, 0, 1))
        assert sorted(len(run) for run in data.runs(32)) == [1, 2, 2, 2]  # 60, and 12, 16 and 20 pixels

    def test_both_sides_may_be_free(self, lines: Path, load: Load) -> None:
        data = load("pad_height_divisor: 8\npad_width_divisor: 16\nscale: 1\nlayout: NHWC", ["b", None, None, 3])
        shapes = {file.name: taken(data, 1)[index].shape for index, file in enumerate(files_of(data))}
        assert (shapes["0.png"], shapes["2.png"], shapes["6.png"]) == ((8, 16, 3), (16, 32, 3), (16, 32, 3))
        assert taken(data, 1)[0][-1, -1].tolist() == [0, 0, 0]

    def test_one_width_for_all_is_as_ever(self, lines: Path, load: Load) -> None:
        data = load(LINES.replace(": 4", ": 64"), ["b", 3, 8, None])
        assert data.sizes is None
        assert data.take(np.arange(7))["x"].shape == (7, 3, 8, 64)

    def test_they_may_be_varied(self, lines: Path, load: Load) -> None:
        data = load(LINES + "augment: {flip: true, crop_padding: 2}", ["b", 3, 8, None])
        for run in data.runs(32):
            plain, varied = data.take(run)["x"], data.take(run, draw=1)["x"]
            assert plain.shape == varied.shape
        assert (plain != varied).any()

    def test_an_input_without_a_batch_axis_takes_one_a_run(self, lines: Path, load: Load) -> None:
        data = load(LINES, [3, 8, None])
        assert sorted(run["x"].shape[2] for run in data.batches(32)) == [12, 12, 16, 16, 20, 20, 60]

    @pytest.mark.parametrize(
        ("text", "shape", "said"),
        [
            (LINES, ["b", 3, 8, 20], r"becomes \(3, 8, (16|12|60)\), the input is x"),
            (LINES, ["b", 3, 16, None], "becomes.*the input is x"),
            (LINES, [2, 3, 8, None], "samples of 4 shapes; the model runs 2 at a time, which must have one"),
            ("scale: 1", ["b", 3, None, None], r"keep sizes of their own, `resize: \{height: ...\}`"),
        ],
    )
    def test_what_does_not_fit_is_said_before_any_work(
        self, text: str, shape: list[Any], said: str, lines: Path, load: Load
    ) -> None:
        with pytest.raises(DataError, match=said):
            load(text, shape).take(np.arange(7))

    def test_a_damaged_head_is_an_error_that_names_the_file(self, lines: Path, load: Load) -> None:
        (lines / "3.png").write_bytes(b"\x89PNG")
        with pytest.raises(DataError, match=r"3\.png is not a readable image"):
            load(LINES, ["b", 3, 8, None])

    def test_an_image_that_changes_meanwhile_is_refused(
        self, lines: Path, load: Load, pixels: Callable[..., Array], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(images, "_CACHED_BYTES", 0)
        data = load(LINES, ["b", 3, 8, None])
        place = [file.name for file in files_of(data)].index("4.png")
        data.take(np.array([place]))
        Image.fromarray(pixels(8, 8)).save(lines / "4.png")
        with pytest.raises(DataError, match=r"4\.png was changed while it was in use"):
            data.take(np.array([place]))


class TestArrays:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for number, (count, length) in enumerate([(3, 5), (2, 7), (2, 5)]):
            labels = np.arange(count) + 10 * number
            x = np.broadcast_to(labels[:, None], (count, length)).astype(np.float32)
            np.savez(tmp_path / f"{number}.npz", x=x, labels=labels)
        return tmp_path

    def test_a_folder_of_npz_may_have_one_shape_a_file(self, folder: Path, model_of: ModelOf) -> None:
        data = load_data(folder, model_of(["b", None]))
        assert data.labels is not None
        assert data.labels.tolist() == [0, 1, 2, 10, 11, 20, 21]
        found = taken(data, 4)
        assert [found[index].tolist() for index in range(7)] == [
            [label] * length for label, length in zip(data.labels, [5, 5, 5, 7, 7, 5, 5], strict=True)
        ]
        assert [run.tolist() for run in data.runs(4)] == [[0, 1, 2, 5], [3, 4], [6]]

    def test_samples_along_another_axis(self, tmp_path: Path, model_of: ModelOf) -> None:
        for number, length in enumerate((3, 4)):
            np.savez(tmp_path / f"{number}.npz", x=np.full((length, 2, 6), number, np.float32))
        model = model_of([None, "batch", 6])
        assert [run["x"].shape for run in load_data(tmp_path, model).batches(8)] == [(3, 2, 6), (4, 2, 6)]

    def test_the_median_stands_for_all_and_the_extremes_for_the_others(self, folder: Path, model_of: ModelOf) -> None:
        data = load_data(folder, model_of(["b", None]))
        assert data.shapes() == {"x": (1, 5)}
        assert data.some(32).tolist() == [0, 1, 2, 5, 6]
        assert [samples.tolist() for samples in data.extremes(2)] == [[0, 1], [3, 4]]
        longer = data.subset(np.array([0, 3, 4]))
        assert (longer.shapes(), longer.some(1).tolist()) == ({"x": (1, 7)}, [1])

    def test_the_parts_of_a_split_have_runs_of_one_shape(self, folder: Path, model_of: ModelOf) -> None:
        split = Split.of(load_data(folder, model_of(["b", None])), evaluation=None, seed=0)
        batches = split.batches(4)
        assert sorted(np.concatenate(batches.samples)) == list(range(7))
        for run in batches.samples:
            assert split.fit.take(run)["x"].shape[0] == len(run)

    def test_others_of_one_shape_join_them(self, folder: Path, model_of: ModelOf) -> None:
        data = load_data(folder, model_of(["b", None]))
        others = Dataset(arrays={"x": np.full((2, 7), 99, np.float32)}, constant={}, labels=None)
        together = joined(data, data, others)
        found = taken(together, 32)
        assert [len(found[index]) for index in range(16)] == [5, 5, 5, 7, 7, 5, 5] * 2 + [7, 7]
        assert [run.tolist() for run in together.runs(32)] == [[0, 1, 2, 5, 6, 7, 8, 9, 12, 13], [3, 4, 10, 11, 14, 15]]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=40), st.integers(1, 9), st.data())
def test_runs_are_of_one_shape_and_in_the_order_of_their_first_samples(
    lengths: list[int], size: int, data: st.DataObject
) -> None:
    sizes = np.array(lengths, np.int64)[:, None]
    numbers = np.arange(len(lengths))
    made = Dataset(arrays={"x": numbers}, constant={}, labels=None, sizes=sizes)
    chosen = np.array(data.draw(st.permutations(numbers.tolist())), np.int64)[: data.draw(st.integers(0, len(numbers)))]
    runs = [run.tolist() for run in made.chunks(chosen, size)]
    buckets: dict[int, list[list[int]]] = {}
    for index in chosen.tolist():  # the plain way: fill a run of each shape, and begin another when it is full
        full = buckets.setdefault(lengths[index], [[]])
        if len(full[-1]) == min(size, made.count):
            full.append([])
        full[-1].append(index)
    order = chosen.tolist()
    assert runs == sorted((run for each in buckets.values() for run in each), key=lambda run: order.index(run[0]))
