"""How is a model written? As the ModelProto that was read, with new weight values and our metadata; nowhere else.

Everything else stays byte for byte. A file appears under its name only when it is whole: it is written next to it under
a temporary name, flushed to disk and renamed. External data stays external, in a new file whose name holds its hash,
so that an output that is being replaced keeps its own data until the rename. Behind the rename nothing is undone.
Weights may be stored in another form on the way (`domino_onnx.graph.io.forms`).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from google.protobuf.message import EncodeError
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, StringStringEntryProto, TensorProto

from domino_onnx.errors import CheckFailed, ModelError, OutputError
from domino_onnx.files import NOTHING, Replacing, check_output, folder_lock, reason_of, remove_leftovers, whole_file
from domino_onnx.graph.index import GraphIndex
from domino_onnx.graph.io.data_files import check_data_name, copy_patched, drop_data, lay_out, new_data
from domino_onnx.graph.io.external import is_external, was_external
from domino_onnx.graph.io.forms import WeightForm, store_as
from domino_onnx.graph.io.read import OnnxFile
from domino_onnx.graph.io.serialize import serialized
from domino_onnx.graph.io.tensors import store_values
from domino_onnx.graph.values import Stored
from domino_onnx.scheme import MANIFEST_KEY, NODE_KEY, PREFIX, Manifest, WeightKey
from domino_onnx.storage import STORAGE_KEY, Form

__all__ = ["Written", "read_manifest", "write_model"]

_NODE_METADATA_SINCE_IR = 10


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A model that was written: bytes of all its files, and the form of each weight if it was to be packed."""

    nbytes: int
    weight_forms: tuple[WeightForm, ...]


def write_model(
    file: OnnxFile,
    weights: Mapping[WeightKey, NDArray[np.generic]],
    manifest: Manifest | Callable[[], Manifest] | None,
    output: Path,
    *,
    form: Form = "dense",
    replacing: Replacing = NOTHING,
) -> Written:
    """Write `file` with new values for `weights` and with `manifest`; `file.proto` is used up by it.

    Parameters
    ----------
    weights
        New values in the stored dtype and shape. Each is asked for when its turn comes, and not kept.
    manifest
        None leaves our metadata as they are. One that is made on demand is asked for once, behind the values of
        weights that lie outside the model.
    form
        How weights are stored in the output.

    Raises
    ------
    OutputError
        If the output exists and may not be replaced, is the input, or the disk refuses. A file that was there before
        stays. It may exist by the end of the work alone: of two runs without `--force` the second one is refused.
    """
    check_output(output, (file.path, *sorted(file.data_files)), replacing)
    check_data_name(file, output)
    index = GraphIndex(file.proto)
    stored = _tensors_of(index, weights)
    keeps_layout = form == "dense" and file.form == "dense" and not file.loaded
    try:
        with folder_lock(output.parent):
            remove_leftovers(output)
            with new_data(output) as data_files:
                if keeps_layout:
                    copy_patched(file, stored, weights, output, data_files)
                streamed = _store_small(file.proto, stored, weights)
                if manifest is not None:
                    _set_metadata(file.proto, index, manifest() if callable(manifest) else manifest)
                weight_forms = _store_as(file, index, form, weights)
                if not keeps_layout:
                    lay_out(file, stored, weights, output, data_files)
                parts = {output.parent / name: sha256 for name, sha256 in data_files.items()}
                with whole_file(output, replacing, parts=parts) as stream:
                    stream.writelines(serialized(file.proto, streamed))
                    nbytes = stream.tell() + sum(path.stat().st_size for path in parts)
            drop_data(output, keep=data_files.keys())
    except (OSError, EncodeError) as error:
        raise OutputError(
            f"can't write {output}: {reason_of(error)}. A file that was there before is unchanged"
        ) from error
    return Written(nbytes=nbytes, weight_forms=weight_forms)


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
        if not key.scope and key.name in main and tensor.HasField("raw_data") and not was_external(tensor):
            streamed[key.name] = functools.partial(weights.__getitem__, key)
        else:
            store_values(tensor, weights[key])
    return streamed


def _set_metadata(model: ModelProto, index: GraphIndex, manifest: Manifest) -> None:
    """Put the manifest into the model, and each scheme into the nodes that read it where the IR version allows."""
    _replace(model.metadata_props, {MANIFEST_KEY: manifest.to_json()})
    if model.ir_version < _NODE_METADATA_SINCE_IR:
        return
    schemes = _schemes_read(index, manifest)
    for scope in index.scopes:
        for node in scope.nodes:
            described = schemes.get(id(node))
            if described or any(entry.key == NODE_KEY for entry in node.metadata_props):
                _replace(node.metadata_props, {NODE_KEY: described[1]} if described else {})


def _schemes_read(index: GraphIndex, manifest: Manifest) -> dict[int, tuple[NodeProto, str]]:
    """Each node that reads a pruned weight, and the scheme, by the node's id(), which is its own while it is held."""
    entries = {entry.key: entry for entry in manifest.entries}
    schemes: dict[int, tuple[NodeProto, str]] = {}
    for use in index.uses():
        value = index.value(use)
        if use.node is not None and isinstance(value, Stored) and value.key in entries:
            entry = entries[value.key]
            schemes[id(use.node)] = (use.node, f"{entry.scheme} along axis {entry.layout.axis} of {entry.key.name}")
    return schemes


def _replace(entries: object, ours: Mapping[str, str]) -> None:
    """Drop our own keys from a metadata_props field and append `ours`; other entries keep value and order."""
    field: list[StringStringEntryProto] = entries  # type: ignore[assignment]
    for position in reversed(range(len(field))):
        if field[position].key.startswith(PREFIX):
            del field[position]
    field.extend(StringStringEntryProto(key=key, value=value) for key, value in ours.items())


def _store_as(
    file: OnnxFile, index: GraphIndex, form: Form, weights: Mapping[WeightKey, NDArray[np.generic]]
) -> tuple[WeightForm, ...]:
    """Give the weights their form, and the model the record of it."""

    def values(name: str, tensor: TensorProto) -> NDArray[np.generic]:
        key = WeightKey(name)
        return weights[key] if key in weights else file.array(tensor)

    storage, weight_forms = store_as(file.proto, form, file.opset, values, _known_schemes(file.proto, index))
    if storage is not None:
        file.proto.metadata_props.add(key=STORAGE_KEY, value=storage.to_json())
    return weight_forms


def _known_schemes(model: ModelProto, index: GraphIndex) -> dict[str, tuple[int, int]]:
    """Axis and M of the main graph's weights, as far as the manifest tells."""
    try:
        manifest = read_manifest(model)
    except CheckFailed:
        return {}
    return {
        entry.key.name: (entry.layout.axis, entry.scheme.m)
        for entry in (manifest.entries if manifest is not None else ())
        if not entry.key.scope
        and tuple(getattr(index.main.stored.get(entry.key.name), "dims", ())) == entry.layout.shape
    }
