"""The forms in which Python code has a model, and a model that was written where only this process looks."""

from __future__ import annotations

import functools
import os
import shutil
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import onnx
from google.protobuf.message import EncodeError
from onnx import ModelProto

from domino_onnx.codec import shown
from domino_onnx.deployment import exported, require_surgeon
from domino_onnx.errors import ModelError, OutputError
from domino_onnx.files import (
    Replacing,
    check_model_ending,
    check_output,
    folder_lock,
    reason_of,
    remove_leftovers,
    whole_file,
)
from domino_onnx.graph import read_model, write_model
from domino_onnx.storage import Form

if TYPE_CHECKING:
    from onnx_graphsurgeon import Graph

__all__ = ["Model", "WrittenModel", "model_file"]

Model: TypeAlias = "str | os.PathLike[str] | bytes | ModelProto | Graph | WrittenModel"
"""A path, a serialized model, a ModelProto, a graph of onnx-graphsurgeon, or what another function gave."""
_REMEMBERED = "_domino_onnx_model"
"""The attribute of a graph that holds what onnx-graphsurgeon doesn't: metadata, annotations, doc strings."""
_NAME = "model.onnx"


class WrittenModel:
    """A model that this program made. It goes with this object, unless `save` puts it where you want it.

    Attributes
    ----------
    made_of
        The files and folders that were read for it, which `save` doesn't replace.
    """

    def __init__(self, path: Path, made_of: tuple[Path, ...] = (), keeper: object = None) -> None:
        self._path = path
        self.made_of = made_of
        self._keeper = keeper  # another result, with which the folder goes
        if keeper is None:
            weakref.finalize(self, shutil.rmtree, path.parent, ignore_errors=True)

    @functools.cached_property
    def model(self) -> ModelProto:
        """The model, its external data loaded. A change to it doesn't change what `save` writes."""
        return onnx.load(os.fspath(self._path))

    def graph(self) -> Graph:
        """The model as a graph of onnx-graphsurgeon.

        The functions of this package take it back with the metadata and annotations that onnx-graphsurgeon has no place
        for, the manifest among them. `onnx_graphsurgeon.export_onnx` drops these.

        Raises
        ------
        DependencyError
            If onnx-graphsurgeon is missing.
        """
        graph = require_surgeon().import_onnx(self.model)
        setattr(graph, _REMEMBERED, self.model)
        return graph

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> Path:
        """Write the model, wholly or not at all; external data go next to it.

        Parameters
        ----------
        force
            Replace a file that exists.

        Returns
        -------
        Path
            Of the file that was written.

        Raises
        ------
        OutputError
            If the file exists, is one that the model was made of, can't be written, or isn't named as ONNX files are.
        """
        if not isinstance(path, str | os.PathLike):
            raise OutputError(f"the output is {shown(path)}; give the path of a file")
        output = Path(path)
        try:
            replacing = Replacing(force=force)
            check_output(output, self.made_of, replacing)
            check_model_ending(output)
            self._write(output, replacing)
        except OutputError as error:
            raise OutputError(str(error).replace("--force", "force=True")) from None
        return output

    def _write(self, output: Path, replacing: Replacing) -> None:
        file = read_model(self._path, for_conversion=True)
        if file.data_files:
            form: Form = "packed" if file.form == "packed" else "dense"
            write_model(file, {}, None, output, form=form, replacing=replacing)
            return
        try:
            with folder_lock(output.parent), self._path.open("rb") as source:
                remove_leftovers(output)
                with whole_file(output, replacing) as stream:
                    shutil.copyfileobj(source, stream)
        except OSError as error:
            raise OutputError(f"can't write {output}: {reason_of(error)}") from error


def model_file(model: Model, folder: Path) -> Path:
    """The file of a model; one that is none is written into the folder first.

    Raises
    ------
    ModelError
        If it can't be serialized, or is none of the forms.
    """
    if isinstance(model, WrittenModel):
        return model._path
    if isinstance(model, str | os.PathLike):
        return Path(model)
    data = model if isinstance(model, bytes) else _serialized(model)
    path = folder / _NAME
    path.write_bytes(data)
    return path


def _serialized(model: Any) -> bytes:
    proto = model if isinstance(model, ModelProto) else _of_graph(model)
    _refuse_external(proto)
    try:
        return bytes(proto.SerializeToString())
    except (EncodeError, ValueError) as error:  # by the version of protobuf
        raise ModelError(
            f"the model can't be serialized, so save it with external data and give its path: {error}"
        ) from None


def _of_graph(graph: Any) -> ModelProto:
    known = getattr(graph, "__dict__", {})  # a graph of onnx-graphsurgeon takes other attributes for operators
    if not {"nodes", "import_domains"} <= known.keys():
        raise ModelError(
            f"the type {type(graph).__name__} is no model: give a path, bytes, an onnx.ModelProto, or a graph of "
            "onnx-graphsurgeon"
        )
    remembered = known.get(_REMEMBERED)
    if remembered is not None:
        return exported(graph, remembered, edited=True)
    proto: ModelProto = require_surgeon().export_onnx(graph, do_type_check=False)
    return proto


def _refuse_external(proto: ModelProto) -> None:
    missing = next((each.name for each in proto.graph.initializer if each.data_location == each.EXTERNAL), None)
    if missing is not None:
        raise ModelError(
            f"the bytes of {missing!r} lie in another file, and a ModelProto doesn't say in which folder: give the "
            "model's path, or load it with its external data"
        )
