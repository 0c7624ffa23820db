"""The only place that writes a model: the ModelProto that was read, with new weight values and our metadata.

Everything else stays byte for byte. A file appears under its name only when it is whole: it is written beside it under
a temporary name, flushed to disk and renamed. External data stays external, in a new file whose name holds its hash,
so that an output that is being replaced keeps its own data until the rename.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import mmap
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from google.protobuf.message import EncodeError
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, StringStringEntryProto, TensorProto

from domino_onnx.errors import ModelError, OutputError
from domino_onnx.graph.external import ExternalRange, is_external, resolve
from domino_onnx.graph.files import escaped, folder_lock, sweep, temporary_beside, whole_file
from domino_onnx.graph.index import GraphIndex, Stored
from domino_onnx.graph.read import OnnxFile
from domino_onnx.graph.serialize import serialized
from domino_onnx.graph.tensors import store_values
from domino_onnx.graph.walk import tensors
from domino_onnx.scheme import MANIFEST_KEY, NODE_KEY, PREFIX, Manifest, WeightKey

__all__ = ["check_output", "read_manifest", "write_model"]

_NODE_METADATA_SINCE_IR = 10


def check_output(source: Path, output: Path, *, force: bool) -> None:
    """Raise OutputError if `output` is the input, exists without `force`, or can't be written; before any work."""
    if output.exists() and source.exists() and output.samefile(source):
        raise OutputError(f"the output {output} is the input itself; give another name with -o")
    if output.is_dir():
        raise OutputError(f"the output {output} is a folder; give a file name with -o")
    if output.exists() and not force:
        raise OutputError(f"{output} exists; give another name with -o, or --force to replace it")
    if not output.parent.is_dir():
        raise OutputError(f"the folder {output.parent} of the output doesn't exist; make it first")
    if not os.access(output.parent, os.W_OK):
        raise OutputError(f"the folder {output.parent} can't be written to")


def write_model(
    file: OnnxFile,
    weights: Mapping[WeightKey, NDArray[np.generic]],
    manifest: Manifest,
    output: Path,
    *,
    force: bool = False,
) -> None:
    """Write `file` with new values for `weights` and with `manifest`; `file.proto` is used up by it.

    Parameters
    ----------
    weights
        New values in the stored dtype and shape.

    Raises
    ------
    OutputError
        If the output exists (without `force`), is the input, or the disk refuses; what stood there before still does.
    """
    check_output(file.path, output, force=force)
    sources = {resolve(tensor, file.folder).path for tensor in filter(is_external, tensors(file.proto))}
    for source in sources:
        check_output(source, output, force=force)
    index = GraphIndex(file.proto)
    stored = _tensors_of(index, weights)
    try:
        with folder_lock(output.parent):
            sweep(output)
            with _new_data(output) as data_files:
                _write_external(file, stored, weights, output, data_files)
                streamed = _store_small(file.proto, stored, weights)
                _set_metadata(file.proto, index, manifest)
                with whole_file(output) as stream:
                    stream.writelines(serialized(file.proto, streamed))
            _drop_data(output, keep=data_files)
    except (OSError, EncodeError) as error:
        raise OutputError(f"can't write {output}: {error}; what stood there before is unchanged") from error


def read_manifest(model: ModelProto) -> Manifest | None:
    """The manifest in a model's metadata, None if it has none; CheckFailed if it can't be read."""
    return next((Manifest.from_json(entry.value) for entry in model.metadata_props if entry.key == MANIFEST_KEY), None)


def _tensors_of(index: GraphIndex, keys: Iterable[WeightKey]) -> dict[WeightKey, TensorProto]:
    by_key = index.stored_tensors()
    missing = [str(key) for key in keys if key not in by_key]
    if missing:
        raise ModelError(f"the model has no weight {', '.join(missing)}")
    return {key: by_key[key] for key in keys}


def _store_small(
    model: ModelProto, stored: Mapping[WeightKey, TensorProto], weights: Mapping[WeightKey, NDArray[np.generic]]
) -> dict[str, Callable[[], NDArray[np.generic]]]:
    """Put new values into Constants, subgraphs and typed fields; the main graph's raw data are left to streaming."""
    main = {tensor.name for tensor in model.graph.initializer}
    streamed: dict[str, Callable[[], NDArray[np.generic]]] = {}
    for key, tensor in stored.items():
        if is_external(tensor):
            continue
        if not key.scope and key.name in main and tensor.HasField("raw_data"):
            streamed[key.name] = functools.partial(weights.__getitem__, key)
        else:
            store_values(tensor, weights[key])
    return streamed


def _set_metadata(model: ModelProto, index: GraphIndex, manifest: Manifest) -> None:
    """Put the manifest into the model, and each scheme into the nodes that read it where the IR version allows."""
    _replace(model.metadata_props, {MANIFEST_KEY: manifest.to_json()})
    if model.ir_version < _NODE_METADATA_SINCE_IR:
        return
    entries = {entry.key: entry for entry in manifest.entries}
    readers: dict[int, tuple[NodeProto, str]] = {}
    for use in index.uses():
        value = index.value(use)
        if use.node is not None and isinstance(value, Stored) and value.key in entries:
            entry = entries[value.key]
            readers[id(use.node)] = (use.node, f"{entry.scheme} along axis {entry.layout.axis} of {entry.key.name}")
    for scope in index.scopes:
        for node in scope.nodes:
            described = readers.get(id(node))
            if described or any(entry.key == NODE_KEY for entry in node.metadata_props):
                _replace(node.metadata_props, {NODE_KEY: described[1]} if described else {})


def _replace(entries: object, ours: Mapping[str, str]) -> None:
    """Drop our own keys from a metadata_props field and append `ours`; other entries keep value and order."""
    field: list[StringStringEntryProto] = entries  # type: ignore[assignment]
    for position in reversed(range(len(field))):
        if field[position].key.startswith(PREFIX):
            del field[position]
    field.extend(StringStringEntryProto(key=key, value=value) for key, value in ours.items())


def _write_external(
    file: OnnxFile,
    stored: Mapping[WeightKey, TensorProto],
    weights: Mapping[WeightKey, NDArray[np.generic]],
    output: Path,
    written: set[str],
) -> None:
    """Copy each external data file beside the output, with the new values patched in; point all tensors there."""
    external = [(tensor, resolve(tensor, file.folder)) for tensor in filter(is_external, tensors(file.proto))]
    patches: dict[Path, list[tuple[ExternalRange, NDArray[np.generic]]]] = {}
    for key, tensor in stored.items():
        if is_external(tensor):
            where = resolve(tensor, file.folder)
            patches.setdefault(where.path, []).append((where, weights[key]))
    names: dict[Path, str] = {}
    for path in sorted({where.path for _, where in external}):
        names[path] = _write_data_file(path, patches.get(path, []), output)
        written.add(names[path])
    changed = {id(tensor) for tensor in stored.values()}
    for tensor, where in external:
        _point_to(tensor, names[where.path], where, output.parent if id(tensor) in changed else None)


def _write_data_file(source: Path, patches: list[tuple[ExternalRange, NDArray[np.generic]]], output: Path) -> str:
    path = temporary_beside(output)
    try:
        shutil.copyfile(source, path)
        with path.open("r+b") as stream:
            for where, values in patches:
                stream.seek(where.offset)
                stream.write(np.ascontiguousarray(values).view(np.uint8).reshape(-1).data)
            stream.flush()
            os.fsync(stream.fileno())
        name = f"{output.name}.{_file_sha256(path)[:16]}.data"
        shutil.copymode(source, path)
        os.replace(path, output.parent / name)
    finally:
        path.unlink(missing_ok=True)
    return name


def _point_to(tensor: TensorProto, name: str, where: ExternalRange, changed_in: Path | None) -> None:
    """Name the new data file; a checksum, which is of the tensor's own bytes, is renewed where they changed."""
    for entry in tensor.external_data:
        if entry.key == "location":
            entry.value = name
        elif entry.key == "checksum" and changed_in is not None:
            with (changed_in / name).open("rb") as stream:
                stream.seek(where.offset)
                entry.value = hashlib.sha1(stream.read(where.length), usedforsecurity=False).hexdigest()


def _file_sha256(path: Path) -> str:
    with path.open("rb") as stream:
        digest = hashlib.sha256()
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
        return digest.hexdigest()


@contextlib.contextmanager
def _new_data(output: Path) -> Iterator[set[str]]:
    """A set for the names of new data files, which go again if the model that they belong to isn't written."""
    before = _data_files(output)
    new: set[str] = set()
    try:
        yield new
    except BaseException:
        _drop_data(output, keep=before)
        raise


def _data_files(output: Path) -> set[str]:
    """Names of the data files that this output, or an earlier one of its name, has or had."""
    pattern = re.compile(re.escape(output.name) + r"\.[0-9a-f]{16}\.data")
    return {path.name for path in output.parent.glob(f"{escaped(output.name)}.*.data") if pattern.fullmatch(path.name)}


def _drop_data(output: Path, keep: set[str]) -> None:
    """Remove the other data files of this output's name, but for those that a model beside it names as its own."""
    for name in _data_files(output) - keep:
        others = (path for path in output.parent.glob("*.onnx") if path.name != output.name)
        if not any(_mentions(path, name) for path in others):
            (output.parent / name).unlink(missing_ok=True)


def _mentions(model: Path, name: str) -> bool:
    """Whether a file holds this text anywhere; one that can't be read may."""
    try:
        with model.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(name.encode()) >= 0
    except (OSError, ValueError):
        return model.exists() and model.stat().st_size > 0
