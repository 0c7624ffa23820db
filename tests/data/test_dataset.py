"""Data that fit are read as they are; data that don't are refused with what was expected."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from domino_onnx.data import load_data
from domino_onnx.errors import DataError

node = helper.make_node


def model_of(**inputs: tuple[int, list[Any] | None]) -> onnx.ModelProto:
    """A model with these inputs, as (type, shape)."""
    values = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()]
    graph = helper.make_graph([node("Constant", [], ["y"], value_float=1.0)], "g", values, [])
    return helper.make_model(graph)


F, I64 = TensorProto.FLOAT, TensorProto.INT64
IMAGE = {"x": (F, ["batch", 3, 4])}


@pytest.fixture
def npz(tmp_path: Path) -> Callable[..., Path]:
    def write(**arrays: Any) -> Path:
        path = tmp_path / "data.npz"
        np.savez(path, **arrays)
        return path

    return write


def test_samples_come_back_in_order_and_in_the_inputs_type(npz: Callable[..., Path]) -> None:
    x = np.arange(7 * 12, dtype=np.float64).reshape(7, 3, 4)
    data = load_data(npz(x=x, labels=np.arange(7)), model_of(**IMAGE))
    assert data.count == 7
    assert data.labels is not None
    assert data.labels.tolist() == list(range(7))
    batches = list(data.batches(3))
    assert [len(batch["x"]) for batch in batches] == [3, 3, 1]
    got = np.concatenate([batch["x"] for batch in batches])
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, x)


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("wrong name", {"image": np.zeros((2, 3, 4))}, "lacks 'x' and holds 'image', which is no input.*inputs are x"),
    ("one too many", {"x": np.zeros((2, 3, 4)), "z": np.zeros(2)}, "npz holds 'z', which is no input"),
    ("wrong axis", {"x": np.zeros((2, 3, 5))}, r"\(2, 3, 5\).*\?,3,4"),
    ("flat", {"x": np.zeros((2, 12))}, r"\(2, 12\)"),
    ("two axes more", {"x": np.zeros((2, 2, 2, 3, 4))}, "doesn't fit"),
    ("scalar", {"x": np.float32(3)}, "samples"),
    ("empty", {"x": np.zeros((0, 3, 4))}, "no samples"),
    ("nan", {"x": np.full((2, 3, 4), np.nan)}, "holds NaN or infinity in 24 of 24 values"),
    ("infinite", {"x": np.full((2, 3, 4), np.inf, np.float32)}, "NaN or infinity"),
    ("too large for float32", {"x": np.full((2, 3, 4), 1e300)}, "infinity"),
    ("text", {"x": np.full((2, 3, 4), "a")}, "not numbers"),
    ("bytes", {"x": np.full((2, 3, 4), b"a")}, "not numbers"),
    ("complex", {"x": np.zeros((2, 3, 4), complex)}, "not numbers"),
    ("times", {"x": np.zeros((2, 3, 4), "datetime64[s]")}, "not numbers"),
    ("objects", {"x": np.array([{"a": 1}, None], object)}, "readable"),
    ("float labels", {"x": np.zeros((2, 3, 4)), "labels": np.zeros(2)}, "labels.*2 integers"),
    ("too few labels", {"x": np.zeros((2, 3, 4)), "labels": np.zeros(1, int)}, "labels"),
    ("one-hot labels", {"x": np.zeros((2, 3, 4)), "labels": np.zeros((2, 5), int)}, "labels"),
    (
        "text labels",
        {"x": np.zeros((2, 3, 4)), "labels": np.array(["a", "b"])},
        "labels.*2 integers.*metric of your own",
    ),
    ("negative labels", {"x": np.zeros((2, 3, 4)), "labels": np.array([0, -1])}, "holds -1; classes count from 0"),
    ("only labels", {"labels": np.zeros(2, int)}, "npz lacks 'x'; the model's inputs are x"),
    ("nothing", {}, "no arrays"),
]


@pytest.mark.parametrize(("arrays", "says"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
def test_data_that_do_not_fit_are_refused(arrays: dict[str, Any], says: str, npz: Callable[..., Path]) -> None:
    path = npz(**arrays)
    with pytest.raises(DataError, match=f"(?s){says}") as refused:
        load_data(path, model_of(**IMAGE))
    assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    ("kind", "array", "fits"),
    [
        (I64, np.array([[1], [2]], np.uint8), True),
        (I64, np.array([[1.0], [2.0]]), False),
        (TensorProto.UINT8, np.array([[1], [255]]), True),
        (TensorProto.UINT8, np.array([[1], [256]]), False),
        (TensorProto.UINT8, np.array([[1], [-1]]), False),
        (TensorProto.BOOL, np.array([[True], [False]]), True),
        (TensorProto.BOOL, np.array([[1], [0]]), True),
        (TensorProto.BOOL, np.array([[1], [2]]), False),
        (TensorProto.FLOAT16, np.array([[1], [2]]), True),
        (TensorProto.FLOAT16, np.array([[1.0], [1e6]]), False),
        (TensorProto.BFLOAT16, np.array([[1.0], [2.5]]), True),
        (TensorProto.BFLOAT16, np.array([[1.0], [np.nan]]), False),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
def test_values_are_cast_where_nothing_is_lost(kind: int, array: Any, fits: bool, npz: Callable[..., Path]) -> None:
    model = model_of(x=(kind, ["b", 1]))
    path = npz(x=array)
    if fits:
        data = load_data(path, model)
        assert data.arrays["x"].dtype == helper.tensor_dtype_to_np_dtype(kind)
        values = data.take(np.arange(2))["x"]
        assert values.dtype == data.arrays["x"].dtype
        np.testing.assert_array_equal(values.astype(np.float64), array.astype(np.float64))
    else:
        with pytest.raises(DataError, match="'x'"):
            load_data(path, model)


class TestFiles:
    def test_missing_paths_and_other_formats(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="no file or folder"):
            load_data(tmp_path / "missing.npz", model_of(**IMAGE))
        for content in (b"", b"hello", b"PK\x03\x04", bytes(2000), b"\x93NUMPY" + bytes(100)):
            (tmp_path / "bad.npz").write_bytes(content)
            with pytest.raises(DataError, match=r"bad\.npz"):
                load_data(tmp_path / "bad.npz", model_of(**IMAGE))

    def test_every_truncation_is_refused(self, npz: Callable[..., Path]) -> None:
        path = npz(x=np.ones((2, 3, 4), np.float32))
        content = path.read_bytes()
        for length in range(0, len(content), 7):
            path.write_bytes(content[:length])
            with pytest.raises(DataError):
                load_data(path, model_of(**IMAGE))

    def test_damaged_members_are_refused(self, npz: Callable[..., Path]) -> None:
        path = npz(x=np.ones((2, 3, 4), np.float32))
        content = path.read_bytes()
        for place in range(0, len(content), 11):
            path.write_bytes(content[:place] + bytes([content[place] ^ 0x5A]) + content[place + 1 :])
            with contextlib.suppress(DataError):
                load_data(path, model_of(**IMAGE))

    @pytest.mark.parametrize(
        "header",
        [
            "(",
            "-" * 5000 + "1",
            "a\n  b\n c",
            "{'descr': '<f8', 'fortran_order': False, 'shape': (2**70,)}",
            "{'descr': '<f8', 'fortran_order': False, 'shape': (1" + "0" * 25 + ",)}",
            "{'descr': '<f8', 1: False, 'shape': (2,)}",
        ],
    )
    def test_odd_headers_are_refused(self, header: str, tmp_path: Path) -> None:
        array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(100)
        with zipfile.ZipFile(tmp_path / "odd.npz", "w") as archive:
            archive.writestr("x.npy", array)
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "x.npy").write_bytes(array)
        for name in ("odd.npz", "folder"):
            with pytest.raises(DataError, match="is not a readable"):
                load_data(tmp_path / name, model_of(**IMAGE))

    def test_damaged_packed_members_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "data.npz"
        np.savez_compressed(path, x=np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32))
        content = path.read_bytes()
        for place in range(0, len(content), 11):
            path.write_bytes(content[:place] + bytes([content[place] ^ 0x5A]) + content[place + 1 :])
            with contextlib.suppress(DataError):
                load_data(path, model_of(**IMAGE))

    def test_pickles_are_never_loaded(self, tmp_path: Path) -> None:
        class Evil:
            def __reduce__(self) -> tuple[Any, ...]:
                return os.mkdir, (str(tmp_path / "pwned"),)

        evil = np.array([Evil()], object)
        np.savez(tmp_path / "evil.npz", x=evil)
        (tmp_path / "folder").mkdir()
        np.save(tmp_path / "folder" / "x.npy", evil, allow_pickle=True)
        import pickle

        (tmp_path / "raw.npz").write_bytes(pickle.dumps(Evil()))
        for name in ("evil.npz", "folder", "raw.npz"):
            with pytest.raises(DataError):
                load_data(tmp_path / name, model_of(**IMAGE))
        assert not (tmp_path / "pwned").exists()

    def test_zip_bombs_are_not_unpacked(self, tmp_path: Path) -> None:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 26, 3, 4)})
        path = tmp_path / "bomb.npz"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as member:
            member.write(header.getvalue())
            for _ in range(20):
                member.write(bytes(1 << 24))
        assert path.stat().st_size < 1 << 20
        with pytest.raises(DataError, match="not real data"):
            load_data(path, model_of(**IMAGE))

    def test_headers_that_promise_too_much_are_refused(self, tmp_path: Path) -> None:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 45, 3, 4)})
        with zipfile.ZipFile(tmp_path / "liar.npz", "w") as archive:
            archive.writestr("x.npy", header.getvalue() + bytes(100))
        with pytest.raises(DataError):
            load_data(tmp_path / "liar.npz", model_of(**IMAGE))
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "x.npy").write_bytes(header.getvalue() + bytes(100))
        with pytest.raises(DataError):
            load_data(tmp_path / "folder", model_of(**IMAGE))

    def test_a_folder_of_npz_is_joined_in_the_order_of_names(self, tmp_path: Path) -> None:
        for name, value in (("b", 2), ("a", 1), ("c", 3)):
            np.savez(tmp_path / f"{name}.npz", x=np.full((2, 3, 4), value, np.float32), labels=np.full(2, value))
        data = load_data(tmp_path, model_of(**IMAGE))
        assert data.take(np.arange(6))["x"][:, 0, 0].tolist() == [1, 1, 2, 2, 3, 3]
        assert data.labels is not None
        assert data.labels.tolist() == [1, 1, 2, 2, 3, 3]

    def test_npz_files_that_do_not_match_are_refused(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", x=np.zeros((2, 3, 4)))
        np.savez(tmp_path / "b.npz", x=np.zeros((2, 3, 5)))
        with pytest.raises(DataError, match=r"b\.npz: array 'x' of shape \(2, 3, 5\)"):
            load_data(tmp_path, model_of(**IMAGE))
        np.savez(tmp_path / "b.npz", x=np.zeros((2, 3, 4, 5)))
        with pytest.raises(DataError, match="fit together: array 'x'"):
            load_data(tmp_path, model_of(x=(F, None)))
        np.savez(tmp_path / "b.npz", z=np.zeros((2, 3, 4)))
        with pytest.raises(DataError, match=r"b\.npz"):
            load_data(tmp_path, model_of(**IMAGE))

    def test_a_folder_of_npy_has_one_file_an_input(self, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", np.ones((5, 3, 4), np.float32))
        np.save(tmp_path / "labels.npy", np.arange(5))
        data = load_data(tmp_path, model_of(**IMAGE))
        assert data.count == 5
        assert data.labels is not None

    def test_an_empty_folder_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="holds no"):
            load_data(tmp_path, model_of(**IMAGE))


_LARGE = """
import sys
import numpy as np
import onnx
from pathlib import Path
from domino_onnx.data import load_data
from domino_onnx.runtime import peak_memory

model = onnx.load(sys.argv[1])
before = peak_memory()
data = load_data(Path(sys.argv[2]), model)
part = data.subset(np.arange(1, data.count, 2)).subset(np.arange(10))
taken = [data.take(np.array([0, data.count // 2, data.count - 1])), *part.batches(4)]
assert [len(batch["x"]) for batch in taken] == [3, 4, 4, 2]
assert all(batch["x"].dtype == np.float32 for batch in taken)
assert taken[0]["x"][:, 0].tolist() == [7, 0, 9]
print(data.count, peak_memory() - before)
"""


class TestMappedFiles:
    @pytest.mark.skipif(sys.platform == "win32", reason="files have no holes there, and no peak of memory is told")
    def test_data_larger_than_memory_are_read_batch_by_batch(self, tmp_path: Path) -> None:
        """8 GiB, which lie on disk as a hole: of them only what is taken comes into memory."""
        model = tmp_path / "model.onnx"
        model.write_bytes(model_of(x=(F, ["b", 1 << 16])).SerializeToString())
        (tmp_path / "data").mkdir()
        array = np.lib.format.open_memmap(tmp_path / "data" / "x.npy", "w+", np.float64, (1 << 14, 1 << 16))
        array[0, 0], array[-1, 0] = 7, 9
        array.flush()
        del array
        done = subprocess.run(
            [sys.executable, "-c", _LARGE, model, tmp_path / "data"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        count, peak = map(int, done.stdout.split())
        assert count == 1 << 14
        assert peak < 256 << 20

    @pytest.mark.parametrize(
        ("kind", "array", "says"),
        [
            (F, np.array([[1.0], [np.nan], [3.0]]), "NaN or infinity in 1 of "),
            (TensorProto.UINT8, np.array([[1], [256], [3]]), "don't fit uint8"),
        ],
    )
    def test_their_values_are_checked_when_they_are_taken(
        self, kind: int, array: Any, says: str, tmp_path: Path
    ) -> None:
        np.save(tmp_path / "x.npy", array)
        data = load_data(tmp_path, model_of(x=(kind, ["b", 1])))
        assert data.take(np.array([0, 2]))["x"].tolist() == [[1], [3]]
        with pytest.raises(DataError, match=f"samples 0 to 1.*{says}") as refused:
            data.take(np.array([0, 1]))
        assert str(tmp_path) in str(refused.value)

    def test_their_types_are_checked_at_once(self, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", np.zeros((2, 3, 4)))
        with pytest.raises(DataError, match="wants integers"):
            load_data(tmp_path, model_of(x=(I64, ["b", 3, 4])))
        np.save(tmp_path / "x.npy", np.full((2, 3, 4), "a"))
        with pytest.raises(DataError, match="not numbers"):
            load_data(tmp_path, model_of(**IMAGE))


class TestShapesOfInputs:
    def test_a_fixed_batch_decides_the_runs(self, npz: Callable[..., Path]) -> None:
        data = load_data(npz(x=np.arange(10, dtype=np.float32).reshape(10, 1)), model_of(x=(F, [4, 1])))
        assert data.batch == 4
        assert [batch["x"].reshape(-1).tolist() for batch in data.batches(32)] == [[0, 1, 2, 3], [4, 5, 6, 7]]

    def test_fewer_samples_than_the_fixed_batch_are_refused(self, npz: Callable[..., Path]) -> None:
        with pytest.raises(DataError, match=r"3 samples.*4 at a time"):
            load_data(npz(x=np.zeros((3, 1), np.float32)), model_of(x=(F, [4, 1])))

    def test_stacked_samples_are_one_run_each(self, npz: Callable[..., Path]) -> None:
        x = np.arange(5 * 2 * 3, dtype=np.float32).reshape(5, 2, 3)
        data = load_data(npz(x=x), model_of(x=(F, [2, 3])))
        assert data.stacked
        runs = list(data.batches(32))
        assert len(runs) == 5
        np.testing.assert_array_equal(runs[3]["x"], x[3])

    def test_a_scalar_input_is_the_same_in_every_run(self, npz: Callable[..., Path]) -> None:
        model = model_of(x=(F, ["b", 2]), rate=(I64, []))
        data = load_data(npz(x=np.zeros((5, 2), np.float32), rate=np.int64(16000)), model)
        assert data.count == 5
        runs = list(data.batches(2))
        assert len(runs) == 3
        assert all(run["rate"].shape == () and run["rate"] == 16000 for run in runs)

    def test_different_counts_are_refused(self, npz: Callable[..., Path]) -> None:
        model = model_of(x=(F, ["b", 2]), z=(F, ["b", 2]))
        with pytest.raises(DataError, match="different numbers"):
            load_data(npz(x=np.zeros((5, 2)), z=np.zeros((4, 2))), model)

    def test_an_input_named_labels_is_an_input(self, npz: Callable[..., Path]) -> None:
        data = load_data(npz(labels=np.zeros((5, 2), np.float32)), model_of(labels=(F, ["b", 2])))
        assert data.labels is None
        assert data.count == 5

    def test_inputs_of_unknown_rank_take_any_array_with_samples(self, npz: Callable[..., Path]) -> None:
        data = load_data(npz(x=np.zeros((5, 2, 2), np.float32)), model_of(x=(F, None)))
        assert data.count == 5

    def test_inputs_that_hold_no_numbers_are_refused(self, npz: Callable[..., Path]) -> None:
        with pytest.raises(DataError, match="doesn't hold numbers"):
            load_data(npz(x=np.zeros((5, 2))), model_of(x=(TensorProto.STRING, ["b", 2])))
        model = model_of()
        value = helper.make_tensor_sequence_value_info("x", F, ["b", 2])
        model.graph.input.append(value)
        with pytest.raises(DataError, match="not a tensor"):
            load_data(npz(x=np.zeros((5, 2))), model)

    def test_a_subset_has_its_own_labels(self, npz: Callable[..., Path]) -> None:
        x = np.arange(6, dtype=np.float32).reshape(6, 1)
        data = load_data(npz(x=x, labels=np.arange(6) * 10), model_of(x=(F, ["b", 1])))
        part = data.subset(np.array([4, 1]))
        assert part.labels is not None
        assert part.labels.tolist() == [40, 10]
        assert part.take(np.arange(2))["x"].tolist() == [[4], [1]]
        assert part.subset(np.array([1])).take(np.arange(1))["x"].tolist() == [[1]]


class TestLabels:
    def classifier(self, *outputs: tuple[int, list[Any] | None]) -> onnx.ModelProto:
        model = model_of(x=(F, ["b", 2]))
        values = [helper.make_tensor_value_info(f"y{n}", *output) for n, output in enumerate(outputs)]
        model.graph.output.extend(values)
        return model

    @pytest.mark.parametrize(
        ("outputs", "refused"),
        [
            ([(F, ["b", 3])], True),
            ([(F, ["b", 4])], False),
            ([(I64, ["b", 3]), (F, ["b", 1]), (F, ["b", 3, 3]), (TensorProto.FLOAT16, ["b", 3])], True),
            ([(F, ["b", 5]), (F, ["b", 3])], False),
            ([(F, ["b", "classes"]), (F, ["b", 3])], False),
            ([(F, None), (F, ["b", 3])], False),
            ([], False),
        ],
    )
    def test_classes_that_the_model_does_not_know(
        self, outputs: list[Any], refused: bool, npz: Callable[..., Path]
    ) -> None:
        path = npz(x=np.zeros((2, 2), np.float32), labels=np.array([0, 3]))
        with pytest.raises(DataError, match=r"label is 3.*3 classes.*from 0") if refused else contextlib.nullcontext():
            load_data(path, self.classifier(*outputs))


class TestLabelsForAMetric:
    """A user's metric takes labels of any kind. Only class indices are classes."""

    @pytest.mark.parametrize(
        ("labels", "classes"),
        [
            (np.array(["ab", "c", "d"]), False),
            (np.array([0.5, 2.0, 1.0]), False),
            (np.array([-1, 2, 1]), False),
            (np.eye(3, dtype=np.int64), False),
            (np.array([0, 2, 1], np.uint8), True),
        ],
    )
    def test_each_sample_keeps_its_own(self, labels: Any, classes: bool, npz: Callable[..., Path]) -> None:
        data = load_data(npz(x=np.zeros((3, 3, 4)), labels=labels), model_of(**IMAGE), any_labels=True)
        part = data.subset(np.array([2, 0]))
        assert part.truth is not None
        np.testing.assert_array_equal(part.truth, labels[[2, 0]])
        assert (data.labels is not None) == (part.labels is not None) == classes

    @pytest.mark.parametrize("labels", [np.array(["a", "b"]), np.zeros((2, 3)), np.array("a")])
    def test_there_must_be_one_a_sample(self, labels: Any, npz: Callable[..., Path]) -> None:
        with pytest.raises(DataError, match=r"'labels' is .*; there must be 3, one a sample"):
            load_data(npz(x=np.zeros((3, 3, 4)), labels=labels), model_of(**IMAGE), any_labels=True)


def test_labels_may_be_of_any_output_with_classes(npz: Callable[..., Path]) -> None:
    model = model_of(**IMAGE)
    model.graph.output.extend(
        helper.make_tensor_value_info(name, F, ["batch", count]) for name, count in (("box", 4), ("scores", 10))
    )
    path = npz(x=np.zeros((2, 3, 4)), labels=np.array([0, 9]))
    assert load_data(path, model).labels is not None
    path = npz(x=np.zeros((2, 3, 4)), labels=np.array([0, 10]))
    with pytest.raises(DataError, match="a label is 10, but the model tells 10 classes apart"):
        load_data(path, model)


def test_some_samples_evenly_from_all_over(npz: Callable[..., Path]) -> None:
    data = load_data(npz(x=np.arange(10, dtype=np.float32).reshape(10, 1)), model_of(x=(F, ["b", 1])))
    assert data.evenly(10) is data
    assert data.evenly(3).take(np.arange(3))["x"].ravel().tolist() == [0, 3, 6]


def test_one_array_without_a_name_is_told_where_to_go(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((4, 3, 4), np.float32))
    with pytest.raises(DataError, match=r"one array without a name: put it into a folder .* or into a \.npz"):
        load_data(tmp_path / "x.npy", model_of(**IMAGE))
