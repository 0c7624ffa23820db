"""One hash tells a model from others, with all files that hold it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from domino_onnx.errors import ModelError
from domino_onnx.graph import read_model

from .writing import Make, external_model, node, values

PLACES = {"a": ("z.data", 0), "b": ("more/b.data", 64), "c": ("more.data", 0)}
"""In the order of their names, `more.data` comes before what is in the folder `more`."""


def test_a_model_in_one_file_has_the_hash_of_the_file(make_model: Make, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    model = make_model([node("MatMul", ["x", "w"], ["y"])], {"x": (1, 8)}, {"y": None}, {"w": values(8, 8)})
    path.write_bytes(model.SerializeToString())
    assert read_model(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_data_files_follow_in_the_order_of_their_names(make_model: Make, tmp_path: Path) -> None:
    path = external_model(make_model, tmp_path / "in", PLACES, {name: values(16, 16) for name in PLACES})
    files = [path, *(path.parent / name for name in ("more.data", "more/b.data", "z.data"))]
    expected = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    assert read_model(path).sha256 == expected
    path.parent.rename(tmp_path / "elsewhere")
    assert read_model(tmp_path / "elsewhere" / path.name).sha256 == expected


def test_other_data_give_another_hash(make_model: Make, tmp_path: Path) -> None:
    models = [
        external_model(make_model, tmp_path / str(seed), PLACES, {name: values(16, 16) for name in PLACES})
        for seed in range(2)
    ]
    data = models[1].parent / "more/b.data"
    data.write_bytes(data.read_bytes()[:-1] + b"!")
    assert models[0].read_bytes() == models[1].read_bytes()
    assert read_model(models[0]).sha256 != read_model(models[1]).sha256


def test_an_older_hash_is_known_without_a_look_at_the_data(make_model: Make, tmp_path: Path) -> None:
    path = external_model(make_model, tmp_path, PLACES, {name: values(16, 16) for name in PLACES})
    fingerprint = read_model(path).fingerprint
    older, newer = hashlib.sha256(path.read_bytes()).hexdigest(), read_model(path).sha256
    (tmp_path / "z.data").rename(tmp_path / "away.data")
    assert fingerprint.is_named(older)
    with pytest.raises(ModelError, match=r"can't read .*z\.data"):
        fingerprint.is_named(newer)
    (tmp_path / "away.data").rename(tmp_path / "z.data")
    assert fingerprint.is_named(newer)
    assert not fingerprint.is_named("0" * 64)


def test_data_are_read_when_the_hash_is_asked_for(make_model: Make, tmp_path: Path) -> None:
    path = external_model(make_model, tmp_path, PLACES, {name: values(16, 16) for name in PLACES})
    known, unknown = read_model(path), read_model(path)
    sha256 = known.sha256
    (tmp_path / "z.data").unlink()
    assert known.sha256 == sha256, "it was kept"
    with pytest.raises(ModelError, match=r"can't read .*z\.data"):
        _ = unknown.sha256
