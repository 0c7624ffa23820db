"""What tells a model from others: one hash of all files that hold it."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path

from domino_onnx.errors import ModelError

__all__ = ["Fingerprint"]


class Fingerprint:
    """The hash of a model as it was read. Manifests, plans and checkpoints name it.

    Parameters
    ----------
    content
        The .onnx file's bytes. They are hashed at once, and not kept.
    data_files
        The files that hold its external data, in `folder` or below.
    """

    def __init__(self, content: bytes, data_files: Iterable[Path], folder: Path) -> None:
        self._of_content = hashlib.sha256(content)
        self._data_files = sorted(data_files, key=lambda path: path.relative_to(folder).as_posix())

    def is_named(self, sha256: str) -> bool:
        """Whether that is the hash of the model, or of the .onnx file's bytes alone, as older manifests have it.

        Data files are read only if it isn't the latter.

        Raises
        ------
        ModelError
            If a data file can't be read.
        """
        return sha256 == self._of_content.hexdigest() or sha256 == self.sha256

    @functools.cached_property
    def sha256(self) -> str:
        """Of the .onnx file's bytes, and behind them those of its data files in the order of their names; hexadecimal.

        Data files are read when it is first asked for, in pieces. That takes some seconds for gigabytes.

        Raises
        ------
        ModelError
            If a data file can't be read.
        """
        digest = self._of_content.copy()
        for path in self._data_files:
            try:
                with path.open("rb") as stream:
                    hashlib.file_digest(stream, lambda: digest)
            except OSError as error:
                raise ModelError(f"can't read {path}: {error.strerror}") from None
        return digest.hexdigest()
