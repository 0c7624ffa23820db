"""Arrays of an .npz that aren't read before they are needed, against numpy's own reader."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from domino_onnx.data.numpy_files import map_npz, read_npz

ARRAYS: dict[str, NDArray[Any]] = {
    "floats": np.arange(24, dtype=np.float32).reshape(4, 3, 2),
    "columns first": np.asfortranarray(np.arange(12, dtype=np.int64).reshape(3, 4)),
    "big endian": np.arange(5, dtype=">f8"),
    "scalar": np.float64(3.5),
    "none": np.zeros((0, 3)),
}


@pytest.fixture(autouse=True)
def _map_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domino_onnx.data.numpy_files._MAPPED", 0)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_the_same_arrays_as_numpy_reads(save: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    save(path, **ARRAYS)
    found = map_npz(path)
    with np.load(path) as expected:
        assert found.keys() == set(expected.files)
        for name in expected.files:
            assert found[name].dtype == expected[name].dtype
            np.testing.assert_array_equal(found[name], expected[name])
    assert isinstance(found["floats"], np.memmap) == (save is np.savez)


def test_a_map_can_not_be_written_to(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **ARRAYS)
    with pytest.raises(ValueError, match="read-only"):
        map_npz(tmp_path / "a.npz")["floats"][0] = 0


def test_small_arrays_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domino_onnx.data.numpy_files._MAPPED", 1 << 20)
    np.savez(tmp_path / "a.npz", **ARRAYS)
    assert not any(isinstance(array, np.memmap) for array in map_npz(tmp_path / "a.npz").values())


@pytest.mark.parametrize("read", [map_npz, read_npz])
def test_pickles_are_refused(read: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.array([{}, 1], object))
    with pytest.raises(ValueError, match="allow_pickle"):
        read(tmp_path / "a.npz")


@pytest.mark.parametrize("place", range(0, 700, 7))
def test_a_changed_byte_is_an_error_or_another_value(place: int, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, floats=ARRAYS["floats"], more=np.ones(9))
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= 0xFF
    path.write_bytes(data)
    try:
        found = map_npz(path)
    except ValueError:
        return
    for array in found.values():
        assert array.nbytes <= len(data)
        np.array(array)


def test_a_member_that_ends_behind_the_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, floats=ARRAYS["floats"])
    with zipfile.ZipFile(path) as archive:
        start = archive.infolist()[0].header_offset
    data = path.read_bytes()
    path.write_bytes(data[: start + 60] + data[-120:])
    with pytest.raises((ValueError, OSError), match=r"."):
        map_npz(path)
