"""A folder of images without a preprocessing.yaml: the lines that are shown make the images fit the model."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper
from PIL import Image

from domino_onnx.data import load_data
from domino_onnx.errors import DataError


def model_of(shape: list[int | str], dtype: int = TensorProto.FLOAT) -> ModelProto:
    """A model that gives its input back."""
    ports = [helper.make_tensor_value_info(name, dtype, shape) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", ports[:1], ports[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


@pytest.fixture
def images(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for place, size in enumerate([(40, 60, 3), (70, 50, 3), (64, 64, 3)]):
        Image.fromarray(generator.integers(0, 256, size, np.uint8)).save(tmp_path / f"{place}.png")
    return tmp_path


def told(folder: Path, model: ModelProto) -> str:
    with pytest.raises(DataError) as refused:
        load_data(folder, model)
    return str(refused.value)


@pytest.mark.parametrize(
    ("shape", "dtype", "sample"),
    [
        (["batch", 3, 32, 32], TensorProto.FLOAT, (3, 32, 32)),
        (["batch", 1, 24, 48], TensorProto.FLOAT, (1, 24, 48)),
        (["batch", 32, 32, 3], TensorProto.FLOAT, (32, 32, 3)),
        ([1, 32, 40, 3], TensorProto.UINT8, (32, 40, 3)),
        (["batch", 3, "height", "width"], TensorProto.FLOAT, (3, 224, 224)),
    ],
)
def test_the_lines_make_images_fit(shape: list[int | str], dtype: int, sample: tuple[int, ...], images: Path) -> None:
    model = model_of(shape, dtype)
    lines = re.findall(r"^  (.*)$", told(images, model), re.MULTILINE)
    (images / "preprocessing.yaml").write_text("\n".join(lines), encoding="utf-8")
    data = load_data(images, model)
    assert data.take(np.arange(1))["x"].shape == (1, *sample)


def test_a_model_of_free_width_hears_of_lines_of_text(images: Path) -> None:
    model = model_of(["batch", 3, 48, "width"])
    text = (
        "\n".join(re.findall(r"^  # ((?:resize|pad|mean|std).*)$", told(images, model), re.MULTILINE)) + "\nscale: 255"
    )
    (images / "preprocessing.yaml").write_text(text, encoding="utf-8")
    widths = sorted(run["x"].shape[3] for run in load_data(images, model).batches(1))
    assert widths == [64, 64, 96]  # of 35, 48 and 72 pixels at a height of 48


def test_arrays_are_read_where_there_are_images_too(images: Path) -> None:
    np.savez(images / "a.npz", x=np.zeros((4, 3, 8, 8), np.float32))
    assert load_data(images, model_of(["batch", 3, 8, 8])).count == 4


def test_a_folder_of_neither_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing", encoding="utf-8")
    assert told(tmp_path, model_of(["batch", 3, 8, 8])).endswith("no .npz and no .npy file, and no image")


def test_images_for_a_model_of_two_inputs_are_told_so(images: Path) -> None:
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in "abc"]
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["c"])], "g", ports[:2], ports[2:])
    said = told(images, helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    assert "holds 3 images, and no .npz and no .npy file: images can be given to a model of one input only" in said


def test_one_image_is_not_called_images(images: Path) -> None:
    for file in sorted(images.iterdir())[1:]:
        file.unlink()
    assert f"{images} holds 1 image, and" in told(images, model_of(["batch", 3, 8, 8]))


@pytest.mark.parametrize(
    ("declared", "given", "order"),
    [((3, 8, 6), (8, 6, 3), "(0, 3, 1, 2)"), ((8, 6, 3), (3, 8, 6), "(0, 2, 3, 1)")],
)
def test_channels_in_the_wrong_place_are_told(
    declared: tuple[int, ...], given: tuple[int, ...], order: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((5, *given), np.float32))
    said = told(tmp_path / "a.npz", model_of(["batch", *declared]))
    assert said.endswith(f"; array.transpose{order} fits")
    assert np.zeros((5, *given)).transpose(*eval(order)).shape == (5, *declared)


def test_one_image_is_no_archive(images: Path) -> None:
    assert told(images / "0.png", model_of(["batch", 3, 8, 8])).startswith(f"{images / '0.png'} is one image: give the")
