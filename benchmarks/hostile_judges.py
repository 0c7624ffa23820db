"""Is a weight 2:4? What `doctor` says, what plain loops count, and what Polygraphy finds as far as it is sound."""

from __future__ import annotations

import json
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from hostile_cases import compress
from hostile_checks import Key, pruned_weights, stored
from hostile_material import Outcome
from hostile_runs import complaint, run
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

__all__ = ["judges_agree"]

_PROGRAM = """
import sys
import onnx
from polygraphy.tools.sparse import SparsityPruner
for path in sys.argv[1:]:
    print("file", path, flush=True)
    try:
        SparsityPruner(onnx.load(path)).check()
    except Exception as error:
        print("fails:", type(error).__name__)
"""
_MOST = 400_000
"""Numbers of a file that Polygraphy, a loop in Python, is shown."""
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)
_SECONDS = 600


def judges_agree(paths: Sequence[Path], place: Path, polygraphy: Path | None) -> Iterator[Outcome]:
    """Each weight that `doctor` judges, of files as they are, pruned for TensorRT, and with one zero filled in."""
    files = [file for number, path in enumerate(paths) for file in _variants(path, place / str(number))]
    models = {file: model for file in files if (model := _loaded(file)) is not None}
    others = {} if polygraphy is None else _found(polygraphy, [file for file in models if _is_small(models[file])])
    for file, model in models.items():
        ran = run("doctor", file, "--json")
        if ran.code:
            yield file.name, "refused", complaint(ran)
            continue
        weights = dict(stored(model))
        axes = _axes(model)
        for said in json.loads(ran.out)["weights"]:
            key = (tuple(said["scope"]), said["weight"])
            values = numpy_helper.to_array(weights[key], str(file.parent))
            name = f"{file.name} {said['weight']}"
            yield name, said["state"], _miscounted(said, values, axes.get(key, set()))
            found = others.get(file, {}).get(key[1])
            if found is not None and _is_sound(said, key, weights[key], axes):
                agrees = said["legal"] == found
                yield name, "Polygraphy", None if agrees else f"legal {said['legal']}, and Polygraphy says {found}"


def _variants(path: Path, place: Path) -> Iterator[Path]:
    """The file itself; pruned to 2:4, if it can be; and that with a weight where a zero was."""
    yield path
    place.mkdir(parents=True)
    pruned = place / f"pruned_{path.stem}.onnx"
    if compress(path, pruned, "--target", "tensorrt").code:
        return
    yield pruned
    model = onnx.load(pruned, load_external_data=False)
    weights = dict(stored(model))
    for key in pruned_weights(model):
        tensor = weights[key]
        if tensor.HasField("raw_data") and tensor.data_type in _FLOATS:
            values = numpy_helper.to_array(tensor).copy()
            values.ravel()[np.flatnonzero(values == 0)[:1]] = 1
            tensor.raw_data = values.tobytes()
            broken = place / f"broken_{path.stem}.onnx"
            broken.write_bytes(model.SerializeToString())
            yield broken
            return


def _loaded(file: Path) -> onnx.ModelProto | None:
    try:
        return onnx.load(file, load_external_data=False)
    except (DecodeError, OSError):
        return None


def _is_small(model: onnx.ModelProto) -> bool:
    sizes = (int(np.prod(tensor.dims)) for tensor in model.graph.initializer)
    return sum(sizes) <= _MOST and not any(tensor.external_data for tensor in model.graph.initializer)


def _axes(model: onnx.ModelProto) -> Mapping[Key, set[int]]:
    """The axes that products sum over, of initializers that nodes of the main graph read directly."""
    found: dict[Key, set[int]] = defaultdict(set)
    ranks = {tensor.name: len(tensor.dims) for tensor in model.graph.initializer}
    for node in model.graph.node:
        is_transposed = any(each.name == "transB" and each.i for each in node.attribute)
        for place, name in enumerate(node.input):
            if name in ranks and node.domain in ("", "ai.onnx"):
                axis = _axis(node.op_type, place, ranks[name], is_transposed=is_transposed)
                found[(), name] |= set() if axis is None else {axis}
    return found


def _axis(op: str, place: int, rank: int, *, is_transposed: bool) -> int | None:
    if op == "Conv" and place == 1:
        return 1
    if op == "ConvTranspose" and place == 1:
        return 0
    if op == "Gemm" and place == 1:
        return 1 if is_transposed else 0
    if op == "MatMul":
        return rank - 1 if place == 0 else max(rank - 2, 0)
    return None


def _miscounted(said: Mapping[str, Any], values: NDArray[Any], axes: set[int]) -> str | None:
    """Where plain loops come to something else than `doctor`."""
    if axes and said["axis"] not in axes:
        return f"axis {said['axis']}, not {sorted(axes)}"
    if said["op"] == "ConvTranspose":  # groups of channels lie behind each other on its axis
        return None
    broken = _broken(values, said["axis"])
    if (broken, not broken) == (said["broken_fours"], said["legal"]):
        return None
    return f"{said['broken_fours']} broken fours and legal {said['legal']}, where {broken} are broken"


def _broken(values: NDArray[Any], axis: int) -> int:
    """How many aligned fours along the axis keep more than two."""
    rows = np.moveaxis(values != 0, axis, -1)
    return sum(int((rows[..., first : first + 4].sum(axis=-1) > 2).sum()) for first in range(0, rows.shape[-1], 4))


def _is_sound(said: Mapping[str, Any], key: Key, tensor: TensorProto, axes: Mapping[Key, set[int]]) -> bool:
    """Whether Polygraphy judges it soundly: float weights of the main graph, of which one axis is summed over."""
    if key[0] or len(axes.get(key, ())) != 1 or tensor.data_type not in _FLOATS:
        return False
    return said["op"] == "Conv" or (said["op"] in ("Gemm", "MatMul") and len(tensor.dims) == 2)


def _found(polygraphy: Path, files: Sequence[Path]) -> Mapping[Path, Mapping[str, bool]]:
    """What Polygraphy says of the weights of each file that it can judge."""
    words = [str(polygraphy), "-c", _PROGRAM, *map(str, files)]
    said = subprocess.run(words, capture_output=True, text=True, check=False, timeout=_SECONDS).stdout
    parts = re.split(r"^file (.*)$", said, flags=re.MULTILINE)[1:]
    verdicts = {
        Path(name): {weight.strip(): not non for non, weight in re.findall(r"Found (non-)?sparse tensor: (.*)", text)}
        for name, text in zip(parts[::2], parts[1::2], strict=True)
        if "fails:" not in text
    }
    if not verdicts and files:
        raise RuntimeError(f"{polygraphy} has no Polygraphy, or it judges nothing")
    return verdicts
