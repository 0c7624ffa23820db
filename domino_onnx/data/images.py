"""Images as a model's input: decoded when they are taken, so that there may be more than memory holds."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.data.decoding import decode, require_pillow, size_of
from domino_onnx.data.labels import labels_from_file, labels_from_folders
from domino_onnx.data.preprocessing import FOLDERS, Preprocessing
from domino_onnx.errors import DataError

__all__ = ["IMAGE_ENDINGS", "ImageSamples", "image_files", "open_images"]

IMAGE_ENDINGS = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".ppm", ".pgm"))
_CACHED_BYTES = 512 << 20


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ImageSamples:
    """Image files as samples of an input.

    Attributes
    ----------
    files
        One a sample.
    shape
        The number of files, and the shape of the first image as the model takes it.
    sizes
        (count, 3) int64: the shape of each image, where they have several.
    cache
        Pixels of images that were decoded before, by their numbers. The first stay: readers of data go round and
        round, and a cache that throws out what is oldest would never have what comes next.
    """

    files: tuple[Path, ...]
    preprocessing: Preprocessing
    shape: tuple[int, ...]
    sizes: NDArray[np.int64] | None = None
    cache: dict[int, NDArray[np.uint8]] = dataclasses.field(default_factory=dict)

    @property
    def dtype(self) -> np.dtype[Any]:
        """What the preprocessing gives."""
        return self.preprocessing.dtype

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, indices: NDArray[np.int64], /) -> NDArray[Any]:
        return self.preprocessing.normalized(np.stack([self._pixels(int(index)) for index in indices]))

    def _pixels(self, index: int) -> NDArray[np.uint8]:
        if index in self.cache:
            return self.cache[index]
        pixels = decode(self.files[index], self.preprocessing)
        shape = _sample_shape(pixels.shape[:2], self.preprocessing)
        if self.sizes is None:
            self._require_one_shape(self.files[index], shape)
        elif shape != tuple(self.sizes[index]):
            raise DataError(f"{self.files[index]} was changed while it was in use: it had another size before")
        largest = pixels.nbytes if self.sizes is None else int(self.sizes.prod(axis=1).max())
        if (len(self.cache) + 1) * largest <= _CACHED_BYTES:
            self.cache[index] = pixels
        return pixels

    def _require_one_shape(self, file: Path, shape: tuple[int, ...]) -> None:
        if shape != self.shape[1:]:
            raise DataError(
                f"{file} becomes {shape}, but {self.files[0]} {self.shape[1:]}: images of different sizes need "
                f"`resize: [height, width]`, a `crop` or a `pad`, in {self.preprocessing.file}; or, to keep sizes of "
                "their own, `resize: {height: ...}` or a `pad_width_divisor`"
            )


def open_images(preprocessing: Preprocessing, *, any_labels: bool = False) -> tuple[ImageSamples, NDArray[Any] | None]:
    """The images of a folder and its subfolders, and their labels if there are any.

    They come in an order that is random but always the same: sorted, they would come class by class, and so would
    batches, of which some are held out to judge by.

    Parameters
    ----------
    any_labels
        Whether a list of labels may hold text.

    Raises
    ------
    DataError
        If there are none, the first can't be read or doesn't fit the input, or labels are missing.
    DependencyError
        If Pillow isn't installed.
    """
    require_pillow()
    root = preprocessing.images
    names = _find(preprocessing)
    files = tuple(root / name for name in names)
    sizes = _sizes(files, preprocessing) if preprocessing.has_several_shapes else None
    shape = _sample_shape(decode(files[0], preprocessing).shape[:2], preprocessing)
    if sizes is None:
        _require_fit(files[0], shape, preprocessing)
    samples = ImageSamples(files=files, preprocessing=preprocessing, shape=(len(files), *shape), sizes=sizes)
    if preprocessing.labels is None:
        return samples, None
    if isinstance(preprocessing.labels, Path):
        return samples, labels_from_file(preprocessing.labels, names, any_labels=any_labels)
    assert preprocessing.labels == FOLDERS
    return samples, labels_from_folders(root, names)


def image_files(root: Path) -> Iterator[Path]:
    """Files in a folder and its subfolders that are named as images are; hidden ones are thumbnails and the like.

    Links to folders are followed, in alphabetical order and after all that is no link. No folder is looked into twice,
    and none that holds `root`.
    """
    known, links = set[Path](), [root]
    while links:
        for folder, inner, files in os.walk(links.pop(0)):
            place = Path(folder).resolve()
            if place in known or (root != Path(folder) and root.resolve().is_relative_to(place)):
                inner.clear()
                continue
            known.add(place)
            shown = [Path(folder, name) for name in sorted(inner) if not name.startswith(".")]
            links += [path for path in shown if path.is_symlink()]
            inner[:] = [path.name for path in shown if not path.is_symlink()]
            for path in (Path(folder, name) for name in files if not name.startswith(".")):
                if path.suffix.lower() in IMAGE_ENDINGS and path.is_file():
                    yield path


def _find(preprocessing: Preprocessing) -> list[PurePosixPath]:
    """Images by their paths under the folder."""
    root = preprocessing.images
    if not root.is_dir():
        raise DataError(f"{preprocessing.file}: there is no folder of images {root}")
    found = sorted(PurePosixPath(path.relative_to(root).as_posix()) for path in image_files(root))
    if not found:
        raise DataError(f"{root} holds no images ({' '.join(sorted(IMAGE_ENDINGS))})")
    order = np.random.default_rng(0).permutation(len(found))[: preprocessing.limit]
    return [found[place] for place in order]


def _sizes(files: Sequence[Path], preprocessing: Preprocessing) -> NDArray[np.int64] | None:
    """(count, 3) the shape that each image gets, by the heads of the files alone; None if all get the same one."""
    shapes: dict[tuple[int, ...], Path] = {}
    rows = []
    for file in files:
        rows.append(_sample_shape(size_of(file, preprocessing), preprocessing))
        shapes.setdefault(rows[-1], file)
    for shape, file in shapes.items():
        _require_fit(file, shape, preprocessing)
    return np.array(rows, np.int64) if len(shapes) > 1 else None


def _require_fit(file: Path, shape: tuple[int, ...], preprocessing: Preprocessing) -> None:
    """An image is one sample of a batch, or all of an input that has no batch axis."""
    spec = preprocessing.spec
    if spec.shape is None:
        return
    sample = spec.shape[1:] if len(spec.shape) > len(shape) else spec.shape
    if len(sample) != len(shape) or any(want not in (None, have) for want, have in zip(sample, shape, strict=True)):
        raise DataError(
            f"{file} becomes {shape}, the input is {spec}: see to `resize`, `crop`, `color` and `layout` "
            f"(now {preprocessing.layout}) in {preprocessing.file}"
        )


def _sample_shape(size: tuple[int, ...], preprocessing: Preprocessing) -> tuple[int, ...]:
    """Of pixels of a (height, width), as the model takes them."""
    height, width = size
    channels = 1 if preprocessing.color == "gray" else 3
    return (channels, height, width) if preprocessing.layout == "NCHW" else (height, width, channels)
