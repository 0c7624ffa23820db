"""How large files are: as they are, gzipped, and packed."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from domino_onnx.errors import DominoError
from domino_onnx.files import NOTHING
from domino_onnx.graph import read_model
from domino_onnx.precision import KEEP
from domino_onnx.report.results import FileSizes
from domino_onnx.stages.writing.converting import rewritten
from domino_onnx.storage import Form

__all__ = ["bytes_and_gzipped", "model_files", "sizes_of"]

_MOST_TO_TRY = 1 << 25
"""Bytes of a model that is gzipped and packed to say how large that is; larger ones take seconds."""


def sizes_of(model: Path, output: Path, form: Form) -> FileSizes | None:
    """How large a model was and is; None where its files can't be looked at any more."""
    try:
        before, after = model_files(model), model_files(output)
        sizes = FileSizes(before=_bytes(before), after=_bytes(after))
        if max(sizes.before, sizes.after) > _MOST_TO_TRY:
            return sizes
        return FileSizes(
            before=sizes.before,
            after=sizes.after,
            before_gzipped=sum(map(_gzipped, before)),
            after_gzipped=sum(map(_gzipped, after)),
            packed=sizes.after if form == "packed" else _packed(output),
        )
    except (OSError, DominoError):
        return None


def model_files(model: Path) -> list[Path]:
    """The model's file, and those of its external data."""
    return [model, *sorted(read_model(model).data_files)]


def bytes_and_gzipped(files: Iterable[Path]) -> tuple[int, int]:
    """Of all files together."""
    every = list(files)
    return _bytes(every), sum(map(_gzipped, every))


def _bytes(files: Iterable[Path]) -> int:
    return sum(file.stat().st_size for file in files)


def _packed(model: Path) -> int:
    with TemporaryDirectory(prefix="domino-onnx-") as folder:
        return rewritten(model, Path(folder) / "packed.onnx", "packed", KEEP, NOTHING).bytes_after


def _gzipped(path: Path) -> int:
    """Bytes of the file as `gzip` would leave it."""
    counter = _Counter()
    with path.open("rb") as source, gzip.GzipFile(fileobj=counter, mode="wb", mtime=0) as packed:
        shutil.copyfileobj(source, packed, 1 << 20)
    return counter.count


class _Counter:
    """A file that only counts what is written to it."""

    def __init__(self) -> None:
        self.count = 0

    def write(self, data: bytes) -> int:
        self.count += len(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""
