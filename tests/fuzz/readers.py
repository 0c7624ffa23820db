"""What reads bytes that others wrote: each gives a value, or an error that is meant for its user."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from domino_onnx.data.arrays import read_arrays
from domino_onnx.data.inputs import InputSpec
from domino_onnx.data.preprocessing import read_preprocessing
from domino_onnx.errors import DominoError
from domino_onnx.graph import read_manifest, read_model, take_inventory
from domino_onnx.options import read_recipe
from domino_onnx.scheme import Manifest, Plan, SchemePool
from domino_onnx.storage import Storage

__all__ = ["READERS", "SEEDS", "Reader", "read"]

SEEDS = Path(__file__).parent / "seeds"
"""A folder for each reader, with what it can read."""
Reader = Callable[[bytes, Path], None]
_IMAGE = InputSpec(name="x", dtype=np.dtype(np.float32), axes=("n", 3, 8, 8))


def read(name: str, data: bytes, folder: Path) -> None:
    """Let a reader have the bytes; whatever it raises besides a DominoError is a fault."""
    with contextlib.suppress(DominoError):
        READERS[name](data, folder)


def _file(data: bytes, folder: Path, name: str) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def _plan(data: bytes, folder: Path) -> None:
    plan = Plan.load(_file(data, folder, "plan.json"))
    assert Plan.from_json(plan.to_json()) == plan


def _manifest(data: bytes, folder: Path) -> None:
    manifest = Manifest.from_json(data.decode("utf-8", "replace"))
    assert Manifest.from_json(manifest.to_json()) == manifest


def _record(data: bytes, folder: Path) -> None:
    record = Storage.from_json(data.decode("utf-8", "replace"))
    assert Storage.from_json(record.to_json()) == record


def _model(data: bytes, folder: Path) -> None:
    file = read_model(_file(data, folder, "model.onnx"))
    take_inventory(file, SchemePool.fixed_m(), {})
    read_manifest(file.proto)


def _arrays(data: bytes, folder: Path) -> None:
    for _, arrays in read_arrays(_file(data, folder, "data.npz")):
        for array in arrays.values():
            assert array.dtype.kind != "O"
            array[:1].sum() if array.dtype.kind in "iufb" and array.ndim else None


def _recipe(data: bytes, folder: Path) -> None:
    read_recipe(_file(data, folder, "recipe.toml"))


def _report(data: bytes, folder: Path) -> None:
    read_recipe(_file(data, folder, "report.json"))


def _preprocessing(data: bytes, folder: Path) -> None:
    read_preprocessing(_file(data, folder, "preprocessing.yaml"), [_IMAGE])


READERS: Mapping[str, Reader] = {
    "manifest": _manifest,
    "model": _model,
    "npz": _arrays,
    "packed": _model,
    "plan": _plan,
    "preprocessing": _preprocessing,
    "recipe": _recipe,
    "record": _record,
    "report": _report,
}
