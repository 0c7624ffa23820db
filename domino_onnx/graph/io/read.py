"""What model does a file hold? It is checked first; weights stay where they are until they are asked for."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from domino_onnx.errors import ModelError
from domino_onnx.files import check_name
from domino_onnx.graph.io.check import check_structure
from domino_onnx.graph.io.external import is_external, resolve
from domino_onnx.graph.io.fingerprint import Fingerprint
from domino_onnx.graph.io.forms import dense_view, read_storage, sparse_weights
from domino_onnx.graph.io.repeated import drop_repeated
from domino_onnx.graph.io.tensors import read_tensor
from domino_onnx.graph.io.text import check_text
from domino_onnx.graph.walk import normal_domain, tensors
from domino_onnx.plurals import quantity
from domino_onnx.storage import FileForm, Storage

__all__ = ["OnnxFile", "other_format", "read_model"]

_NOT_ONNX = {
    b"version https://git-lfs": "a Git LFS pointer: run `git lfs pull` to get the model itself",
    b"\x1f\x8b": "gzip: unpack it first",
    b"PK\x03\x04": "a zip archive (a PyTorch checkpoint?): export the model to ONNX first",
    b"\x7fELF": "a program",
    b"<": "HTML or XML",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"\x93NUMPY": "a NumPy array",
    b"ORTM": "an ORT-format model: use the .onnx file it was made from",
}
_MAX_PROTOBUF = 2**31 - 1
_BYTES_OF_A_VALUE = 4


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OnnxFile:
    """A model file as it was read. External data is not loaded; `array` reads it through a memory map.

    Attributes
    ----------
    proto
        The model with dense weights, in all forms of the file.
    fingerprint
        What tells the files that were read from others.
    form
        How the weights are stored in the file.
    data_files
        The files that hold its external data.
    loaded
        Whether `proto` holds them inline, each marked as `domino_onnx.graph.io.external.was_external` says; they
        become external again when it is written.
    notes
        What of the file is left out, because it is there twice.
    """

    path: Path
    proto: ModelProto
    fingerprint: Fingerprint
    form: FileForm = "dense"
    data_files: frozenset[Path] = frozenset()
    loaded: bool = False
    notes: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """The folder that may hold external data."""
        return self.path.parent

    @property
    def sha256(self) -> str:
        """As `Fingerprint.sha256`, of the model as it was read; ModelError if its external data can't be read."""
        return self.fingerprint.sha256

    @property
    def has_external_data(self) -> bool:
        """Whether any tensor's bytes are in another file."""
        return any(map(is_external, tensors(self.proto)))

    @property
    def opset(self) -> int:
        """Version of the standard operator set, 1 if none is imported."""
        return _opset(self.proto)

    def array(self, tensor: TensorProto) -> NDArray[np.generic]:
        """A tensor's values; ModelError if they don't fit its shape."""
        try:
            return read_tensor(tensor, self.folder)
        except ModelError as error:
            raise ModelError(f"{self.path}: {error}") from None


def read_model(path: Path, *, for_conversion: bool = False) -> OnnxFile:
    """Read and check a model file; packed and sparse weights become dense in memory.

    Parameters
    ----------
    for_conversion
        To be written again, and nothing else: the dense weights may have more than the 2 GiB that a model in memory
        can be run with.

    Raises
    ------
    ModelError
        If its name isn't UTF-8; if it can't be read, isn't ONNX, is cut short, has an impossible structure, or refers
        to data outside its folder.
    """
    check_name(path, "the model", ModelError)
    data = _read_bytes(path)
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise ModelError(f"{path} is not an ONNX model: {_guess(data)}") from None
    if not model.HasField("graph"):
        raise ModelError(f"{path} is not an ONNX model: {_guess(data)}")
    try:
        check_text(model)
        notes = drop_repeated(model)
        check_structure(model)
        data_files = frozenset(resolve(tensor, path.parent).path for tensor in filter(is_external, tensors(model)))
        storage = read_storage(model)
        if not for_conversion:
            _check_size(len(data), model, storage)
        form = dense_view(model, storage, path.parent, _opset(model))
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    fingerprint = Fingerprint(data, data_files, path.parent)
    return OnnxFile(path=path, proto=model, fingerprint=fingerprint, form=form, data_files=data_files, notes=notes)


def _opset(model: ModelProto) -> int:
    return max((opset.version for opset in model.opset_import if not normal_domain(opset.domain)), default=1)


def _check_size(size: int, model: ModelProto, storage: Storage | None) -> None:
    """Packed and sparse weights are made dense in memory, in messages that must not pass protobuf's limit."""
    packed = storage.weights if storage is not None else ()
    dense = sum(math.prod(weight.shape) for weight in packed)
    dense += sum(math.prod(sparse.dims) for sparse in sparse_weights(model))
    if size + _BYTES_OF_A_VALUE * dense > _MAX_PROTOBUF:
        raise ModelError(
            f"its packed or sparse weights hold {dense} values, too many to work on in memory: make it dense "
            "first, with `domino-onnx convert MODEL --format dense`"
        )


def _read_bytes(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise ModelError(f"{path} is {_instead(path)}" if path.exists() else f"there is no file {path}")
        size = path.stat().st_size
        if size > _MAX_PROTOBUF:
            raise ModelError(
                f"{path} has {quantity(size, 'byte')}; a protobuf file can't hold more than 2 GiB: save it with "
                "external data"
            )
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"can't read {path}: {error.strerror}") from None


def other_format(data: bytes) -> str | None:
    """What a file is that begins so; None if it may be a model."""
    return next((what for start, what in _NOT_ONNX.items() if data.startswith(start)), None)


def _guess(data: bytes) -> str:
    if not data:
        return "the file is empty"
    what = other_format(data)
    return "it has another format, or was cut short" if what is None else f"it looks like {what}"


def _instead(path: Path) -> str:
    return "a folder: give the file in it" if path.is_dir() else "no regular file"
