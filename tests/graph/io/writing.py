"""What the tests of writing share: models to write, and one way to prune a file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from domino_onnx.files import Replacing
from domino_onnx.graph import (
    infer_shapes,
    read_model,
    stored_tensors,
    take_inventory,
    write_model,
)
from domino_onnx.scheme import Manifest, ManifestEntry, NMScheme, SchemePool, WeightKey, mask_sha256
from domino_onnx.solve import PrunedWeights

Make = Callable[..., onnx.ModelProto]
node = helper.make_node
SCHEME = NMScheme(2, 4)


def values(*shape: int, dtype: Any = np.float32, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def prune(source: Path, output: Path, *, force: bool = False, scheme: NMScheme = SCHEME) -> dict[WeightKey, Any]:
    """Write `source` with every site at `scheme`; the new weights."""
    file = read_model(source)
    inventory = take_inventory(file, SchemePool.fixed_m(), infer_shapes(file.proto))
    tensors = stored_tensors(file.proto)
    weights = dict(
        PrunedWeights(
            {site.key: scheme for site in inventory.sites},
            inventory.sites,
            lambda key: file.array(tensors[key]),
        )
    )
    entries = tuple(
        ManifestEntry(
            key=site.key,
            layout=site.layout,
            scheme=scheme,
            zeros=int((weights[site.key] == 0).sum()),
            mask_sha256=mask_sha256(weights[site.key] != 0),
        )
        for site in inventory.sites
    )
    manifest = Manifest(
        tool="t", source_sha256=file.sha256, strategy="manual", budgets=(), target="generic", seed=0, entries=entries
    )
    write_model(file, weights, manifest, output, replacing=Replacing(force=force))
    return weights


def external_model(
    make_model: Make,
    folder: Path,
    layout: Mapping[str, tuple[str, int]],
    arrays: Mapping[str, Any],
    name: str = "model.onnx",
) -> Path:
    """A chain of MatMuls whose weights lie at (file, offset); every byte that isn't a weight's is 0xEE."""
    folder.mkdir(parents=True, exist_ok=True)
    names = list(arrays)
    nodes = [
        node("MatMul", ["x" if index == 0 else f"t{index}", weight], [f"t{index + 1}"], name=f"n{index}")
        for index, weight in enumerate(names)
    ]
    files: dict[str, bytearray] = {}
    tensors = {}
    for weight, array in arrays.items():
        data = array.tobytes()
        where, offset = layout[weight]
        content = files.setdefault(where, bytearray())
        if len(content) < offset + len(data):
            content.extend(b"\xee" * (offset + len(data) - len(content)))
        content[offset : offset + len(data)] = data
        tensor = TensorProto(name=weight, data_type=1, dims=array.shape, data_location=TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value=where)
        tensor.external_data.add(key="offset", value=str(offset))
        tensor.external_data.add(key="length", value=str(len(data)))
        tensor.external_data.add(key="checksum", value=hashlib.sha1(data).hexdigest())
        tensors[weight] = tensor
    for where, content in files.items():
        (folder / where).parent.mkdir(parents=True, exist_ok=True)
        (folder / where).write_bytes(bytes(content) + b"\xee" * 7)
    model = make_model(nodes, {"x": (1, 16)}, {f"t{len(names)}": (1, 16)}, tensors)
    path = folder / name
    path.write_bytes(model.SerializeToString())
    return path
