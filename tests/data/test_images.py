"""Images become the arrays that a plain reading of their preprocessing.yaml gives; damaged ones are refused."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("yaml")

from domino_onnx.data import Dataset, images, load_data  # noqa: E402
from domino_onnx.errors import DataError, DependencyError  # noqa: E402

Load = Callable[..., Dataset]
Pixels = Callable[..., np.ndarray[Any, Any]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "images"
    path.mkdir()
    return path


def only(data: Dataset) -> np.ndarray[Any, Any]:
    """All samples of the one input."""
    (values,) = data.take(np.arange(data.count)).values()
    return values


def files_of(data: Dataset) -> list[Path]:
    """The files in the order of the samples."""
    (samples,) = data.arrays.values()
    return list(samples.source.files)  # type: ignore[attr-defined]


class TestPreprocessing:
    @pytest.mark.parametrize(("height", "width"), [(40, 61), (61, 40), (32, 32), (33, 95)])
    @pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "JPEG"])
    def test_short_side_then_the_middle(
        self, height: int, width: int, suffix: str, folder: Path, pixels: Pixels, load: Load
    ) -> None:
        file = folder / f"a.{suffix}"
        Image.fromarray(pixels(height, width)).save(file)
        got = load(
            "resize: 28\ncrop: [24, 20]\ninterpolation: bicubic\nscale: 255\nmean: [0.1, 0.2, 0.3]\n"
            "std: [0.5, 0.6, 0.7]",
            ["b", 3, 24, 20],
        )
        short = min(height, width)
        size = (int(28 * width / short), int(28 * height / short))
        image = Image.open(file).convert("RGB").resize(size, Image.BICUBIC)
        left, top = round((size[0] - 20) / 2), round((size[1] - 24) / 2)
        values = np.asarray(image.crop((left, top, left + 20, top + 24)), np.float64) / 255
        values = (values - [0.1, 0.2, 0.3]) / [0.5, 0.6, 0.7]
        assert only(got).dtype == np.float32
        np.testing.assert_allclose(only(got)[0], values.transpose(2, 0, 1), rtol=1e-5, atol=1e-6)

    def test_both_sides(self, folder: Path, pixels: Pixels, load: Load) -> None:
        Image.fromarray(pixels(30, 50)).save(folder / "a.png")
        got = only(load("resize: [16, 12]\ninterpolation: nearest\nscale: 1", ["b", 3, 16, 12]))
        want = np.asarray(Image.fromarray(pixels(30, 50)).resize((12, 16), Image.NEAREST))
        np.testing.assert_array_equal(got[0], want.transpose(2, 0, 1))

    @pytest.mark.parametrize("place", ["center", "corner"])
    @pytest.mark.parametrize(("height", "width"), [(10, 40), (40, 10), (16, 12)])
    def test_padding_keeps_the_shape(
        self, place: str, height: int, width: int, folder: Path, pixels: Pixels, load: Load
    ) -> None:
        Image.fromarray(pixels(height, width)).save(folder / "a.png")
        text = f"pad: [16, 32]\npad_value: [1, 2, 3]\npad_place: {place}\ninterpolation: bicubic\nscale: 1"
        got = only(load(text, ["b", 3, 16, 32]))[0].transpose(1, 2, 0)
        ratio = min(16 / height, 32 / width)
        size = (round(width * ratio), round(height * ratio))
        want = np.tile(np.array([1, 2, 3], np.uint8), (16, 32, 1))
        top, left = ((16 - size[1]) // 2, (32 - size[0]) // 2) if place == "center" else (0, 0)
        inner = np.asarray(Image.fromarray(pixels(height, width)).resize(size, Image.BICUBIC))
        want[top : top + size[1], left : left + size[0]] = inner
        np.testing.assert_array_equal(got, want)

    @pytest.mark.parametrize("color", ["RGB", "gray"])
    def test_one_filling_for_all_channels(self, color: str, folder: Path, pixels: Pixels, load: Load) -> None:
        Image.fromarray(pixels(8, 4)).save(folder / "a.png")
        got = only(load(f"pad: [8, 8]\npad_value: 127\npad_place: corner\ncolor: {color}\nscale: 1", ["b", None, 8, 8]))
        assert (got[0, :, :, 4:] == 127).all()

    def test_colours_and_layouts(self, folder: Path, pixels: Pixels, load: Load) -> None:
        rgb = pixels(8, 6)
        Image.fromarray(rgb).save(folder / "a.png")
        wide = load("scale: 1\ncolor: BGR\nlayout: NHWC\nmean: [1, 2, 3]", ["b", 8, 6, 3])
        np.testing.assert_array_equal(only(wide)[0], rgb[:, :, ::-1].astype(np.float32) - [1, 2, 3])
        grey = only(load("scale: 1\ncolor: gray", ["b", 1, 8, 6]))[0, 0]
        luma = rgb @ np.array([0.299, 0.587, 0.114])
        assert np.abs(grey - luma).max() < 1

    def test_pixels_as_they_are(self, folder: Path, pixels: Pixels, load: Load) -> None:
        Image.fromarray(pixels(8, 6)).save(folder / "a.png")
        got = only(load("layout: nhwc", ["b", 8, 6, 3], kind=TensorProto.UINT8))
        assert got.dtype == np.uint8
        np.testing.assert_array_equal(got[0], pixels(8, 6))
        assert only(load("layout: NHWC\ndtype: uint8", ["b", 8, 6, 3])).dtype == np.float32
        assert only(load("scale: 255", ["b", 3, 8, 6], kind=TensorProto.FLOAT16)).dtype == np.float16

    @pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
    def test_any_kind_of_pixels_becomes_three_colours(
        self, mode: str, folder: Path, pixels: Pixels, load: Load
    ) -> None:
        image = Image.fromarray(pixels(8, 6)).convert(mode)
        want = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
        if mode == "P":
            image.info["transparency"] = b"\x00\x80"
        image.save(folder / "a.png")
        np.testing.assert_array_equal(only(load("scale: 1", ["b", 3, 8, 6]))[0], want)

    def test_an_input_without_a_batch_axis_takes_an_image_a_run(self, folder: Path, pixels: Pixels, load: Load) -> None:
        for number in range(3):
            Image.fromarray(pixels(8, 6, number)).save(folder / f"{number}.png")
        data = load("scale: 1", [3, 8, 6])
        assert data.stacked
        assert [batch["x"].shape for batch in data.batches(32)] == [(3, 8, 6)] * 3


class TestFolders:
    def write(self, folder: Path, *names: str) -> None:
        for number, name in enumerate(names):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((2, 2, 3), number, np.uint8)).save(folder / name)

    def test_the_order_is_always_the_same_and_mixes_classes(self, folder: Path, load: Load) -> None:
        self.write(folder, *(f"{kind}/{number}.png" for kind in "ab" for number in range(20)))
        data = load("scale: 1\nlabels: {folders: true}", ["b", 3, 2, 2])
        again = load("scale: 1\nlabels: {folders: true}", ["b", 3, 2, 2])
        assert files_of(data) == files_of(again)
        assert data.labels is not None
        assert [file.parent.name for file in files_of(data)] == ["ab"[label] for label in data.labels]
        assert 5 < data.labels[:20].sum() < 15
        assert sorted(only(data)[:, 0, 0, 0]) == list(range(40))

    def test_a_limit_takes_some_of_all_classes(self, folder: Path, load: Load) -> None:
        self.write(folder, *(f"{kind}/{number}.png" for kind in "ab" for number in range(20)))
        data = load("scale: 1\nlimit: 12\nlabels: {folders: true}", ["b", 3, 2, 2])
        assert data.count == 12
        assert data.labels is not None
        assert set(data.labels) == {0, 1}

    def test_folders_may_be_links_and_lead_back(self, folder: Path, load: Load) -> None:
        self.write(folder, "a/1.png", "../elsewhere/2.png", "../elsewhere/3.png")
        (folder / "b").symlink_to(folder.parent / "elsewhere", target_is_directory=True)
        (folder / "b" / "back").symlink_to(folder, target_is_directory=True)
        data = load("scale: 1\nlabels: {folders: true}", ["b", 3, 2, 2])
        assert data.labels is not None
        assert sorted(data.labels) == [0, 1, 1]

    @pytest.mark.parametrize("name", ["a", "m", "zz"])
    def test_a_link_to_a_folder_beside_it_shows_nothing_twice(self, name: str, folder: Path, load: Load) -> None:
        self.write(folder, f"{name}/1.png", "c/2.png")
        (folder / "c" / "link").symlink_to(folder / name, target_is_directory=True)
        (folder / "b").symlink_to("/", target_is_directory=True)
        found = files_of(load("scale: 1", ["b", 3, 2, 2]))
        assert sorted(path.relative_to(folder).as_posix() for path in found) == sorted([f"{name}/1.png", "c/2.png"])

    def test_hidden_files_and_other_files_are_not_images(self, folder: Path, load: Load) -> None:
        self.write(folder, "a.png", ".hidden.png", ".thumbnails/b.png", "deep/er/c.png")
        (folder / "readme.txt").write_text("no image")
        (folder / "folder.png").mkdir()
        assert sorted(file.name for file in files_of(load("scale: 1"))) == ["a.png", "c.png"]

    def test_the_yaml_may_lie_elsewhere_and_inside(
        self, folder: Path, tmp_path: Path, model_of: Callable[..., onnx.ModelProto]
    ) -> None:
        self.write(folder, "a.png")
        (tmp_path / "other.yml").write_text("images: images\nscale: 1\ninput: x")
        assert load_data(tmp_path / "other.yml", model_of(["b", 3, 2, 2])).count == 1
        (folder / "preprocessing.yaml").write_text("scale: 1")
        assert load_data(folder, model_of(["b", 3, 2, 2])).count == 1

    def test_no_images(self, folder: Path, load: Load, model_of: Callable[..., onnx.ModelProto]) -> None:
        with pytest.raises(DataError, match="holds no images"):
            load("scale: 1")
        folder.rmdir()
        with pytest.raises(DataError, match="no folder of images"):
            load("scale: 1")

    def test_a_folder_without_a_description_says_what_is_missing(
        self, folder: Path, model_of: Callable[..., onnx.ModelProto]
    ) -> None:
        self.write(folder, "a.png")
        with pytest.raises(DataError, match=r"preprocessing\.yaml"):
            load_data(folder, model_of(["b", 3, 2, 2]))

    def test_images_are_decoded_when_they_are_taken_and_kept_while_there_is_room(
        self, folder: Path, load: Load, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.write(folder, *(f"{number}.png" for number in range(6)))
        monkeypatch.setattr(images, "_CACHED_BYTES", 4 * 12)
        data = load("scale: 1", ["b", 3, 2, 2])
        first = only(data)
        for file in files_of(data)[:4]:
            file.unlink()
        np.testing.assert_array_equal(data.take(np.arange(4))["x"], first[:4])
        np.testing.assert_array_equal(only(data.subset(np.array([5, 1]))), first[[5, 1]])
        files_of(data)[5].unlink()
        with pytest.raises(DataError, match="No such file"):
            data.take(np.array([5]))


class TestLabels:
    @pytest.fixture
    def three(self, folder: Path) -> None:
        for name in ("a b.png", "c.png", "d/e.png"):
            (folder / name).parent.mkdir(exist_ok=True)
            Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(folder / name)

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("l.csv", 'file,label\n"a b.png",3\nc.png,1\nd/e.png,0\nother.png,7\n'),
            ("l.tsv", "\ufeffa b.png\t3\nc.png\t1\n\nd\\e.png\t0\n"),
            ("l.txt", "a b.png 3\r\n./c.png   1\r\nd/e.png 0"),
        ],
    )
    def test_lists(self, name: str, text: str, three: None, tmp_path: Path, load: Load) -> None:
        (tmp_path / name).write_text(text, encoding="utf-8")
        data = load(f"scale: 1\nlabels: {name}")
        assert data.labels is not None
        names = [file.relative_to(tmp_path / "images").as_posix() for file in files_of(data)]
        assert dict(zip(names, data.labels.tolist(), strict=True)) == {"a b.png": 3, "c.png": 1, "d/e.png": 0}

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("l.csv", 'file,text\na b.png,"one, two"\nc.png,17\nd/e.png,äö\n'),
            ("l.txt", "a b.png\tone, two\nc.png\t17\nd/e.png\täö\n"),
        ],
    )
    def test_lists_of_texts_for_a_metric(self, name: str, text: str, three: None, tmp_path: Path, load: Load) -> None:
        (tmp_path / name).write_text(text, encoding="utf-8")
        data = load(f"scale: 1\nlabels: {name}", any_labels=True)
        assert (data.labels, data.truth is None) == (None, False)
        names = [file.relative_to(tmp_path / "images").as_posix() for file in files_of(data)]
        assert dict(zip(names, data.truth, strict=True)) == {"a b.png": "one, two", "c.png": "17", "d/e.png": "äö"}
        with pytest.raises(DataError, match="Only a metric of your own takes text"):
            load(f"scale: 1\nlabels: {name}")

    def test_a_text_with_a_comma_needs_quotes(self, three: None, tmp_path: Path, load: Load) -> None:
        (tmp_path / "l.csv").write_text("a b.png,one, two\nc.png,x\nd/e.png,y\n")
        with pytest.raises(DataError, match=r"line 1.*quote labels with commas"):
            load("scale: 1\nlabels: l.csv", any_labels=True)

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("c.png,1\n", "no label for 2 of 3 images"),
            ("a b.png,1\nc.png,cat\nd/e.png,1", "line 2.*class number"),
            ("a b.png,-1\nc.png,1\nd/e.png,1", "line 1.*class number"),
            ("a b.png,1\nc.png,99999999999999999999\nd/e.png,1", "line 2"),
            ("a b.png,1,2\n", "line 1"),
            ("a b.png,1\na b.png,2\nc.png,1\nd/e.png,1", "line 2.*another label in a line above"),
            ("", "no label for 3"),
            ("\x00\x01", "l.csv"),
            ('"', "l.csv"),
        ],
    )
    def test_lists_that_do_not_fit(self, text: str, says: str, three: None, tmp_path: Path, load: Load) -> None:
        (tmp_path / "l.csv").write_text(text)
        with pytest.raises(DataError, match=says):
            load("scale: 1\nlabels: l.csv")

    def test_no_line_of_another_file_is_quoted(self, three: None, tmp_path: Path, load: Load) -> None:
        (tmp_path / "l.csv").write_text("root:secret:0:0\n")
        with pytest.raises(DataError, match="line 1") as error:
            load("scale: 1\nlabels: l.csv")
        assert "secret" not in str(error.value)

    def test_lists_that_cannot_be_read(self, three: None, tmp_path: Path, load: Load) -> None:
        with pytest.raises(DataError, match=r"there is no file .*none\.csv, which is to hold the labels"):
            load("scale: 1\nlabels: none.csv")
        (tmp_path / "l.csv").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(DataError, match="readable list"):
            load("scale: 1\nlabels: l.csv")

    def test_an_image_outside_the_class_folders(self, three: None, load: Load) -> None:
        with pytest.raises(DataError, match="no class folder"):
            load("scale: 1\nlabels: {folders: true}")


def png(width: int, height: int, data: bytes) -> bytes:
    """A PNG that says so, whatever its data."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


class TestRefused:
    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (b"", "not a readable image"),
            (b"just text", "not a readable image"),
            (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a readable image"),
            (b"II*\x00\x08\x00\x00\x00", "not a readable image"),
            (png(8, 8, b"short"), "not a readable image"),
            (png(20000, 8000, b""), "20000 x 8000.*refused"),
            (png(50000, 50000, bytes(1000)), "refused"),
            (png(0, 5, b""), "a.png"),
        ],
    )
    def test_what_is_no_image(self, content: bytes, says: str, folder: Path, load: Load) -> None:
        (folder / "a.png").write_bytes(content)
        with pytest.raises(DataError, match=says) as refused:
            load("scale: 1\nresize: [2, 2]")
        assert "a.png" in str(refused.value)

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP", "GIF", "PPM"])
    def test_damaged_files_are_read_or_refused(self, kind: str, folder: Path, pixels: Pixels, load: Load) -> None:
        buffer = io.BytesIO()
        Image.fromarray(pixels(24, 24)).save(buffer, kind)
        content = buffer.getvalue()
        generator = np.random.default_rng(0)
        refused = 0
        for _ in range(60):
            damaged = bytearray(content[: generator.integers(len(content) // 2, len(content))])
            for place in generator.integers(0, min(len(damaged), 200), 3):
                damaged[place] = generator.integers(256)
            (folder / "a.png").write_bytes(damaged)
            try:
                assert only(load("scale: 1\nresize: [2, 2]")).shape == (1, 3, 2, 2)
            except DataError:
                refused += 1
        assert refused > 10

    def test_a_truncated_photograph(self, folder: Path, pixels: Pixels, load: Load) -> None:
        Image.fromarray(pixels(64, 64)).save(folder / "a.jpg")
        content = (folder / "a.jpg").read_bytes()
        (folder / "a.jpg").write_bytes(content[: len(content) // 2])
        with pytest.raises(DataError, match="truncated"):
            load("scale: 1")

    def test_sixteen_bits(self, folder: Path, load: Load) -> None:
        Image.fromarray(np.full((4, 4), 60000, np.uint16)).save(folder / "a.png")
        with pytest.raises(DataError, match="8 bits"):
            load("scale: 1")

    def test_a_line_that_would_grow_into_a_square_of_its_length(self, folder: Path, load: Load) -> None:
        Image.fromarray(np.zeros((1, 20000, 3), np.uint8)).save(folder / "a.png")
        with pytest.raises(DataError, match="resized it would be"):
            load("scale: 1\nresize: 224")

    def test_sizes_that_do_not_fit(self, folder: Path, pixels: Pixels, load: Load) -> None:
        Image.fromarray(pixels(30, 40)).save(folder / "a.png")
        for text in ("", "resize: 20", "color: gray\nresize: [20, 20]", "layout: NHWC\nresize: [20, 20]"):
            with pytest.raises(DataError, match=r"a\.png becomes .*,3,20,20.*resize"):
                load(f"scale: 1\n{text}", ["b", 3, 20, 20])
        with pytest.raises(DataError, match=r"40 x 30 when 20 x 50.*resize"):
            load("scale: 1\ncrop: [50, 20]")

    def test_images_of_different_sizes(self, folder: Path, pixels: Pixels, load: Load) -> None:
        for width in (30, 40):
            Image.fromarray(pixels(30, width)).save(folder / f"{width}.png")
        with pytest.raises(DataError, match=r"different sizes.*crop"):
            only(load("scale: 1", ["b", 3, None, None]))
        assert only(load("scale: 1\ncrop: 30", ["b", 3, None, None])).shape == (2, 3, 30, 30)

    def test_types_that_do_not_fit(self, folder: Path, pixels: Pixels, load: Load) -> None:
        Image.fromarray(pixels(4, 4)).save(folder / "a.png")
        with pytest.raises(DataError, match="wants integers"):
            load("scale: 255\ndtype: float32", ["b", 3, 4, 4], kind=TensorProto.UINT8)
        with pytest.raises(DataError, match="don't fit int8"):
            only(load("", ["b", 3, 4, 4], kind=TensorProto.INT8))

    @pytest.mark.parametrize("package", ["PIL.Image", "yaml"])
    def test_a_missing_package_is_named(
        self, package: str, folder: Path, load: Load, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(DependencyError, match=r"domino-onnx\[images\]"):
            load("scale: 1")


RECIPES = [
    ("mobilenet_v1_0.25_224_float", False, "resize: 256\ncrop: 224\nscale: 255\nmean: 0.5\nstd: 0.5"),
    ("squeezenet1.1", False, "resize: 256\ncrop: 227\nscale: 1\ncolor: BGR\nmean: [103.939, 116.779, 123.68]"),
    (
        "efficientnet-lite0",
        True,
        "resize: 224\ncrop: 224\ninterpolation: bicubic\nscale: 255\nmean: 0.4980392157\nstd: 0.5019607843",
    ),
    (
        "resnet20_cifar10jpg",
        False,
        "scale: 255\nmean: [0.485, 0.456, 0.406]\nstd: [0.229, 0.224, 0.225]",
    ),
]


@pytest.mark.shared
@pytest.mark.parametrize(("name", "whole", "text"), RECIPES, ids=[recipe[0] for recipe in RECIPES])
def test_real_networks_get_what_others_prepare_for_them(
    name: str, whole: bool, text: str, folder: Path, load: Load, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(shared / "harness"))
    score = pytest.importorskip("score")
    sets = "cifar10_test_half" if "cifar" in name else "imagenet_sample_short256"
    pack = score.Pack(shared / "data" / f"{sets}.npz")
    chosen = np.random.default_rng(1).choice(len(pack), 30, replace=False)
    for number in chosen:
        (folder / f"{number}.jpg").write_bytes(pack.data[pack.off[number] : pack.off[number + 1]].tobytes())
    (folder / "labels.csv").write_text("".join(f"{number}.jpg,{pack.y[number]}\n" for number in chosen))
    data = load(f"{text}\nlabels: images/labels.csv", onnx_shape(shared / "models" / f"{name}.onnx"))
    numbers = [int(file.stem) for file in files_of(data)]
    prepare = score.preparer(name, whole_image=whole)
    np.testing.assert_allclose(only(data), np.stack([prepare(pack.image(number)) for number in numbers]), atol=1e-6)
    assert data.labels is not None
    assert data.labels.tolist() == [pack.y[number] for number in numbers]


def onnx_shape(path: Path) -> list[int | str]:
    """The shape of a model's first input."""
    model = onnx.load(path, load_external_data=False)
    return [axis.dim_value or "b" for axis in model.graph.input[0].type.tensor_type.shape.dim]
