"""From a path to a model that has been checked; weights stay where they are until they are asked for."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from domino_onnx.errors import ModelError
from domino_onnx.graph.check import check_structure
from domino_onnx.graph.external import is_external, resolve
from domino_onnx.graph.tensors import read_tensor
from domino_onnx.graph.walk import tensors

__all__ = ["OnnxFile", "read_model"]

_NOT_ONNX = {
    b"version https://git-lfs": "a Git LFS pointer: run `git lfs pull` to get the model itself",
    b"\x1f\x8b": "gzip: unpack it first",
    b"PK\x03\x04": "a zip archive (a PyTorch checkpoint?): export the model to ONNX first",
    b"\x7fELF": "a program",
    b"<": "HTML or XML",
    b"ORTM": "an ORT-format model: use the .onnx file it was made from",
}
_MAX_PROTOBUF = 2**31 - 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OnnxFile:
    """A model file as it was read. External data is not loaded; `array` reads it through a memory map.

    Attributes
    ----------
    sha256
        Of the .onnx file's bytes, hexadecimal.
    """

    path: Path
    proto: ModelProto
    sha256: str

    @property
    def folder(self) -> Path:
        """Where external data may lie."""
        return self.path.parent

    @property
    def has_external_data(self) -> bool:
        """Whether any tensor's bytes lie in another file."""
        return any(map(is_external, tensors(self.proto)))

    @property
    def opset(self) -> int:
        """Version of the standard operator set, 1 if none is imported."""
        return max((opset.version for opset in self.proto.opset_import if opset.domain in ("", "ai.onnx")), default=1)

    def array(self, tensor: TensorProto) -> NDArray[np.generic]:
        """A tensor's values; ModelError if they don't fit its shape."""
        try:
            return read_tensor(tensor, self.folder)
        except ModelError as error:
            raise ModelError(f"{self.path}: {error}") from None


def read_model(path: Path) -> OnnxFile:
    """Read and check a model file.

    Raises
    ------
    ModelError
        If it can't be read, isn't ONNX, is cut short, has an impossible structure, or refers to data outside its
        folder.
    """
    data = _read_bytes(path)
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise ModelError(f"{path} is not an ONNX model: {_guess(data)}") from None
    if not model.HasField("graph"):
        raise ModelError(f"{path} is not an ONNX model: {_guess(data)}")
    file = OnnxFile(path=path, proto=model, sha256=hashlib.sha256(data).hexdigest())
    try:
        check_structure(model)
        for tensor in filter(is_external, tensors(model)):
            resolve(tensor, file.folder)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    return file


def _read_bytes(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise ModelError(f"{path} is not a file" if path.exists() else f"there is no file {path}")
        size = path.stat().st_size
        if size > _MAX_PROTOBUF:
            raise ModelError(
                f"{path} has {size} bytes; a protobuf file can't hold more than 2 GiB: save it with external data"
            )
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"can't read {path}: {error.strerror}") from None


def _guess(data: bytes) -> str:
    if not data:
        return "the file is empty"
    looks_like = (what for start, what in _NOT_ONNX.items() if data.startswith(start))
    return "it looks like " + next(looks_like, "something else, or a file that was cut short")
