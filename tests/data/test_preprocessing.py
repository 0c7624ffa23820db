"""What a preprocessing.yaml may hold, and what is said of what it may not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

pytest.importorskip("yaml")

from domino_onnx.data import input_specs
from domino_onnx.data.preprocessing import Preprocessing, read_preprocessing
from domino_onnx.errors import DataError

Read = Callable[..., Preprocessing]


@pytest.fixture
def read(tmp_path: Path, model_of: Callable[..., onnx.ModelProto]) -> Read:
    def call(content: str | bytes, kind: int = TensorProto.FLOAT) -> Preprocessing:
        file = tmp_path / "preprocessing.yaml"
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_preprocessing(file, input_specs(model_of(["b", 3, 8, 8], kind)))

    return call


def test_what_is_left_out(read: Read, tmp_path: Path) -> None:
    got = read("scale: 255")
    assert (got.images, got.spec.name, got.resize, got.crop, got.labels) == (tmp_path, "x", None, None, None)
    assert (got.interpolation, got.color, got.layout, got.dtype) == ("bilinear", "RGB", "NCHW", np.float32)
    assert (got.mean, got.std, got.augment, got.limit) == ((0, 0, 0), (1, 1, 1), None, None)
    assert read("", TensorProto.UINT8).dtype == np.uint8


def test_one_number_for_all_channels(read: Read) -> None:
    assert read("scale: 1\nmean: 3\nstd: 0.5").std == (0.5, 0.5, 0.5)
    assert read("scale: 1\ncolor: gray\nmean: [3]").mean == (3,)


def test_variations(read: Read) -> None:
    augment = read("scale: 1\nlayout: NHWC\naugment: {flip: true, crop_padding: 4}").augment
    assert augment is not None
    assert (augment.flip, augment.crop_padding, augment.height) == (True, 4, 0)


@pytest.mark.parametrize(
    ("text", "resize", "crop", "interpolation"),
    [
        ("input_size: [3, 224, 224]\ncrop_pct: 0.875\ninterpolation: bicubic", 256, (224, 224), "bicubic"),
        ("crop: 224\ncrop_pct: 0.9", 248, (224, 224), "bilinear"),
        (
            "resize_size: [256]\ncrop_size: [224]\ninterpolation: InterpolationMode.BILINEAR",
            256,
            (224, 224),
            "bilinear",
        ),
        ("resize_size: 232\ncrop_size: 224\ninterpolation: Resampling.LANCZOS", 232, (224, 224), "lanczos"),
    ],
)
def test_words_of_torchvision_and_timm(text: str, resize: Any, crop: Any, interpolation: str, read: Read) -> None:
    got = read(f"scale: 255\n{text}")
    assert (got.resize, got.crop, got.interpolation) == (resize, crop, interpolation)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("scale: 1\ncrop_pct: 0.9", "'crop_pct' needs a square 'crop'"),
        ("scale: 1\ncrop: [2, 3]\ncrop_pct: 0.9", "'crop_pct' needs a square 'crop'"),
        ("scale: 1\ncrop: 9\ncrop_pct: 9", "'crop_pct' is 9.*at most 1"),
        ("scale: 1\ncrop: 9\ncrop_size: 9", "'crop_size' and 'crop' say the same"),
        ("scale: 1\ninput_size: 3", r"\[channels, height, width\]"),
        ("scale: 1\npad: 3", r"'pad' is 3.*\[height, width\]"),
        ("scale: 1\npad_value: 3", "'pad_value' makes no sense without 'pad'"),
        ("scale: 1\npad_place: corner", "'pad_place' makes no sense without 'pad' or 'pad_width_divisor'"),
        ("scale: 1\npad: [3, 3]\npad_width_divisor: 3", "'pad_width_divisor' and 'pad' contradict"),
        ("scale: 1\ncrop: 3\npad_height_divisor: 3", "'pad_height_divisor' and 'crop' contradict"),
        ("scale: 1\npad_width_divisor: 0", "'pad_width_divisor' is 0"),
        ("scale: 1\nresize: {width: 3}", "unknown key 'width' in 'resize'"),
        ("scale: 1\nresize: {height: 0}", "'resize.height' is 0"),
        ("scale: 1\npad: [3, 3]\ncrop: 3", "'pad' and 'crop' contradict"),
        ("scale: 1\npad: [3, 3]\npad_value: 300", "'pad_value' is 300"),
        ("scale: 1\npad: [3, 3]\npad_place: left", "'pad_place' is 'left'"),
        ("scale: 1\ncolor: gray\npad: [3, 3]\npad_value: [1, 2, 3]", "gray images take one number"),
        ("", "`scale` is missing"),
        ("scale: 1\nresise: 3", "unknown key 'resise'.*did you mean 'resize'"),
        ("scale: 1\nfoo: 3", "unknown key 'foo'.*known are images"),
        ("scale: 1\n1: 3", "unknown key 1"),
        ("scale: 0", "'scale' is 0.*above 0"),
        ("scale: yes", "'scale' is True"),
        ("scale: .nan", "'scale' is nan"),
        ("scale: .inf", "'scale' is inf"),
        ("scale: 1\nresize: 0", "'resize' is 0"),
        ("scale: 1\nresize: true", "'resize' is True"),
        ("scale: 1\nresize: 2.5", "'resize' is 2.5"),
        ("scale: 1\nresize: 1000000", "'resize' is 1000000"),
        ("scale: 1\nresize: [1, 2, 3]", r"'resize' is \[1, 2, 3\].*height, width"),
        ("scale: 1\ncrop: [1, a]", r"'crop\[1\]' is 'a'; it must be a whole number from 1 to 16384"),
        ("scale: 1\ninterpolation: cubic", "'interpolation' is 'cubic'.*bicubic"),
        ("scale: 1\ncolor: 3", "'color' is 3.*RGB"),
        ("scale: 1\ndtype: int3", "float16"),
        ("scale: 1\nmean: [1, 2]", "'mean'.*3"),
        ("scale: 1\ncolor: gray\nmean: [1, 2, 3]", "'mean'.*1"),
        ("scale: 1\nmean: abc", "'mean' is 'abc'"),
        ("scale: 1\nmean: [1, 2]", r"'mean' is \[1.0, 2.0\]; it must be a number, or a list of 3"),
        ("scale: 1\nlayout: CHW", "'layout' is 'CHW'; did you mean 'NCHW'\\? it must be 'NCHW' or 'NHWC'$"),
        ("scale: 1\ninterpolation: BICUBE", "'interpolation' is 'BICUBE'; did you mean 'bicubic'"),
        ("scale: 1\nstd: [1, 0, 1]", r"'std\[1\]' is 0.*above 0"),
        ("scale: 1\nlimit: -3", "'limit' is -3; it must be a whole number above 0"),
        ("scale: 1\nscale: 2", "given twice"),
        ("scale: 1\nimages: 3", "'images' is 3.*text"),
        ("scale: 1\ninput: y", "no input 'y'.*x"),
        ("scale: 1\nlabels: {folders: maybe}", "'labels.folders' is 'maybe'; it must be true or false"),
        ("scale: 1\nlabels: 3", "'labels' is 3"),
        ("scale: 1\nlabels: {folders: false}", "folders: true"),
        ("scale: 1\naugment: true", "'augment' is True; .*flip, crop_padding"),
        ("scale: 1\naugment: {flop: true}", "unknown key 'flop' in 'augment'.*'flip'"),
        ("scale: 1\naugment: {flip: 1}", "'augment.flip' is 1.*true or false"),
        ("scale: 1\naugment: {crop_padding: -1}", "'augment.crop_padding' is -1"),
        ("scale: 1\naugment: {crop_padding: 5000}", "'augment.crop_padding' is 5000.*from 1 to 64"),
        ("dtype: uint8\nmean: 3", "'mean' makes no sense with uint8"),
        ("- scale", r"holds \['scale'\]; it must hold keys and values"),
        ("scale", "holds 'scale'; it must hold keys and values"),
        ("scale: [1", "not readable YAML"),
        ("scale: 2026-13-45", "not readable YAML"),
        ("? [a]\n: 3", "YAML|unknown key"),
        ("x: !!python/object/apply:os.mkdir [pwned]", "not readable YAML"),
        (b"\xff\xfe\x00", "not readable YAML"),
        ("[" * 5000, "not readable YAML"),
        ("#" * 100_000, "a few lines"),
    ],
)
def test_mistakes_are_named(text: str, says: str, read: Read, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"(?s){says}") as refused:
        read(text)
    assert str(tmp_path / "preprocessing.yaml") in str(refused.value)
    assert len(str(refused.value)) < 1000


def test_a_value_that_holds_itself_many_times_is_not_spelled_out(read: Read) -> None:
    lines = ["scale: 1", "a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30))]
    with pytest.raises(DataError, match=r"an alias .* isn't followed: write out what it means") as refused:
        read("\n".join(lines))
    assert len(str(refused.value)) < 1000
    deep = "[&b0 [x, x]" + "".join(f", &b{n} [*b{n - 1}, *b{n - 1}]" for n in range(1, 60)) + "]"
    with pytest.raises(DataError, match=r"an alias .* isn't followed") as refused:
        read(f"scale: 1\nresize: {deep}")
    assert len(str(refused.value)) < 1000


def test_images_are_for_models_of_one_input(tmp_path: Path, model_of: Callable[..., onnx.ModelProto]) -> None:
    (tmp_path / "preprocessing.yaml").write_text("scale: 1\ninput: x")
    with pytest.raises(DataError, match=r"one input only.*x.*z"):
        read_preprocessing(tmp_path / "preprocessing.yaml", input_specs(model_of(["b", 3, 8, 8], z=["b"])))
