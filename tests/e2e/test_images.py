"""From a folder of images to a sparse file, on the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("yaml")


@pytest.fixture(scope="module")
def digits(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample images as PNG files: `calibration/`, and `evaluation/` with a folder for each class."""
    root = tmp_path_factory.mktemp("digits")
    yaml = "color: gray\nscale: 16\n"
    for name, more in (("calibration", "augment: {crop_padding: 1}\n"), ("evaluation", "labels: {folders: true}\n")):
        (root / name).mkdir()
        (root / name / "preprocessing.yaml").write_text(yaml + more)
        with np.load(samples / f"digits_{name}.npz") as arrays:
            images = np.rint(arrays["image"][:, 0] * 16).astype(np.uint8)
            labels = arrays.get("labels")
        for number, image in enumerate(images[:256]):
            folder = root / name / (str(labels[number]) if labels is not None else "")
            folder.mkdir(exist_ok=True)
            Image.fromarray(image).save(folder / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def arrays(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images of `evaluation/` as an array."""
    path = tmp_path_factory.mktemp("arrays") / "evaluation.npz"
    with np.load(samples / "digits_evaluation.npz") as held:
        np.savez(path, image=held["image"][:256], labels=held["labels"][:256])
    return path


def test_images_are_judged_as_the_same_arrays_are(
    digits: Path, arrays: Path, small_digits: Path, domino: Callable[..., Any]
) -> None:
    models = [small_digits] * 2
    by_images = domino("evaluate", *models, "--data", digits / "evaluation", "--json")
    by_arrays = domino("evaluate", *models, "--data", arrays, "--json")
    assert (by_images.code, by_arrays.code) == (0, 0), by_images.err + by_arrays.err
    assert json.loads(by_images.out) == json.loads(by_arrays.out)


def test_a_model_is_compressed_on_images(
    digits: Path, arrays: Path, small_digits: Path, tmp_path: Path, domino: Callable[..., Any]
) -> None:
    model, plan, output = small_digits, tmp_path / "plan.json", tmp_path / "sparse.onnx"
    data = ("--data", digits / "calibration")
    found = domino("search", model, "--sparsity", 0.5, *data, "-o", plan)
    assert found.code == 0, found.err
    done = domino("apply", model, plan, *data, "-o", output)
    assert done.code == 0, done.err
    judged = domino("evaluate", model, output, "--data", arrays, "--json")
    assert json.loads(judged.out)["top1_candidate"] > 0.95


def test_finetuning_on_varied_images_gives_the_same_file_again(
    digits: Path, small_digits: Path, tmp_path: Path, domino: Callable[..., Any]
) -> None:
    pytest.importorskip("torch")
    outputs = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for output in outputs:
        done = domino(
            "compress", small_digits, "--scheme", "2:8", "--data", digits / "calibration",
            "--eval-data", digits / "evaluation", "--finetune", "--finetune-steps", 6, "--threads", 1, "-o", output,
        )  # fmt: skip
        assert done.code == 0, done.err
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


def test_a_mistake_is_one_message(digits: Path, small_digits: Path, tmp_path: Path, domino: Callable[..., Any]) -> None:
    description = tmp_path / "wrong.yaml"
    description.write_text(f"images: {digits / 'calibration'}\nscale: 16\n")
    ran = domino("compress", small_digits, "--scheme", "2:4", "--data", description)
    assert ran.code == 1
    assert "becomes (3, 8, 8), the input is image (float32: ?,1,8,8)" in ran.err.replace("\n", " ")
    assert "Traceback" not in ran.err


def test_a_damaged_image_among_many_ends_the_run_without_an_output(
    digits: Path, small_digits: Path, tmp_path: Path, domino: Callable[..., Any]
) -> None:
    shutil.copytree(digits / "calibration", tmp_path / "data")
    victim = tmp_path / "data" / "77.png"
    victim.write_bytes(victim.read_bytes()[:-30])
    output = tmp_path / "out.onnx"
    ran = domino("compress", small_digits, "--scheme", "2:4", "--data", tmp_path / "data", "-o", output)
    assert ran.code == 1
    assert "77.png" in ran.err
    assert not output.exists()
