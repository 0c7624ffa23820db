"""Arrays from .npz files, and from folders of .npz or .npy files; nothing is unpickled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from domino_onnx.data.images import IMAGE_ENDINGS
from domino_onnx.data.numpy_files import map_npy, map_npz
from domino_onnx.errors import DataError

__all__ = ["read_arrays"]


def read_arrays(path: Path) -> list[tuple[Path, dict[str, NDArray[Any]]]]:
    """The arrays by name of an .npz, of each in a folder of .npz in the order of their names, or of a folder of .npy.

    Those of .npy files, and large ones of an .npz that isn't packed, are memory-mapped: nothing of them is read yet.

    Raises
    ------
    DataError
        If the file or folder is missing, or it holds no arrays, or one can't be read.
    """
    if path.is_file():
        return [(path, _read_npz(path))]
    if not path.is_dir():
        raise DataError(
            f"there is no file or folder {path}; --data takes an .npz file, a folder of .npz or .npy files, or images "
            "with a preprocessing.yaml"
        )
    archives = sorted(path.glob("*.npz"))
    if archives:
        return _read_alike(archives)
    arrays = {file.stem: _read_npy(file) for file in sorted(path.glob("*.npy"))}
    if not arrays:
        raise DataError(f"the folder {path} holds no data: no .npz and no .npy file, and no image")
    return [(path, arrays)]


def _read_alike(archives: list[Path]) -> list[tuple[Path, dict[str, NDArray[Any]]]]:
    parts = [_read_npz(archive) for archive in archives]
    for archive, part in zip(archives, parts, strict=True):
        if part.keys() != parts[0].keys():
            raise DataError(f"{archive} holds {sorted(part)}, {archives[0].name} holds {sorted(parts[0])}")
    return list(zip(archives, parts, strict=True))


def _read_npy(path: Path) -> NDArray[Any]:
    try:
        return map_npy(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a readable .npy file: {_why(error)}") from None


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    if path.suffix.lower() in IMAGE_ENDINGS:
        raise DataError(f"{path} is one image: give the folder that it is in, with a preprocessing.yaml")
    if path.suffix.lower() == ".npy":
        raise DataError(
            f"{path} is one array without a name: put it into a folder under its input's name, or into a .npz "
            "(np.savez('data.npz', INPUT=array))"
        )
    try:
        arrays = map_npz(path)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} is not a readable .npz file (one array per input, no pickles; very large data as a folder of "
            f".npy files): {_why(error)}"
        ) from None
    if not arrays:
        raise DataError(f"{path} holds no arrays")
    return arrays


def _why(error: OSError | ValueError) -> object:
    """Without the path, which the message has already."""
    return getattr(error, "strerror", None) or error
