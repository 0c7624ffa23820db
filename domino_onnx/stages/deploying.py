"""The stage that writes a second file for the CPU, in which layers with many zeros are operators that skip them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from domino_onnx.errors import ModelError, OptionError
from domino_onnx.files import check_output
from domino_onnx.graph import OnnxFile, loaded, read_model, with_outputs, write_model
from domino_onnx.options import CompressOptions
from domino_onnx.report.results import DeployedLayer, DeployPrecision, DeployResult
from domino_onnx.stages.journal import Journal
from domino_onnx.stages.sampling import inputs_to_time

if TYPE_CHECKING:
    from domino_onnx.deploy import Kind, Layer, Timed

__all__ = ["deployed"]

_SECONDS = 2.0
_GAINS = (0.97, 0.75)
"""Largest time, as a share of the dense layer's, that makes a layer worth it: what is tried on the whole model."""
Inputs = Mapping[str, NDArray[Any]]


def deployed(
    model: Path,
    output: Path,
    options: CompressOptions,
    precision: DeployPrecision,
    journal: Journal,
    *,
    force: bool,
) -> DeployResult:
    """Write `model` for the CPU: never slower than it was, as far as this machine tells.

    Raises
    ------
    OptionError
        If there is no such precision.
    ModelError
        If the model can't be read or run, or is too large to be timed.
    DependencyError
        If the kernels, ONNX Runtime or onnx-graphsurgeon are missing.
    DataError
        If the data don't fit the model, or inputs can't be made up.
    OutputError
        If the output can't be written.
    """
    from domino_onnx.deploy import find_layers, open_graph
    from domino_onnx.runtime import kernels_library

    if precision not in get_args(DeployPrecision):
        raise OptionError(f"there is no precision {precision!r}; it can be {' or '.join(get_args(DeployPrecision))}")
    kernels_library()
    with journal.stage("read"):
        file = read_model(model)
        check_output(output, (model, *file.data_files), force=force)
        inputs = inputs_to_time(file, options, journal)
        whole = loaded(file, {})
        shapes = _shapes(file, inputs, options.run.threads)
        layers, kept = find_layers(open_graph(whole.proto), shapes)
    with journal.stage("time"):
        timed = _timed(layers, shapes, options, precision, journal)
        best = _fastest(whole.proto, timed, inputs, options.run.threads)
    with journal.stage("write"):
        written = write_model(dataclasses.replace(whole, proto=best.proto), {}, None, output, force=force)
    if timed and not any(kind != "dense" for kind in best.chosen.values()):
        journal.warn("no layer is faster without its zeros on this machine: the file that was written is the dense one")
    return DeployResult(
        model=model,
        output=output,
        threads=options.run.threads,
        layers=tuple(_record(layer, timed[layer], best.chosen[layer]) for layer in timed),
        kept=tuple((each.name, each.op, each.reason) for each in kept),
        dense=best.dense,
        deployed=best.deployed,
        error=best.error,
        nbytes=written.nbytes,
        warnings=journal.warnings,
    )


def _shapes(file: OnnxFile, inputs: Inputs, threads: int) -> dict[str, tuple[int, ...]]:
    """Of all float activations around the products of the main graph, seen in a run."""
    from domino_onnx.runtime import Session

    wanted = dict.fromkeys(
        name
        for node in file.proto.graph.node
        if node.op_type in ("Conv", "Gemm", "MatMul", "Add")
        for name in (*node.input, *node.output)
    )
    stored = {tensor.name for tensor in file.proto.graph.initializer} | set(inputs)
    stored |= {name for node in file.proto.graph.node if node.op_type == "Constant" for name in node.output}
    names = [name for name in wanted if name and name not in stored]
    shown = with_outputs(file, names)
    if shown is None:
        raise ModelError(f"{file.path} is too large to be timed, or has external data: at most 1 GiB in one file")
    seen = Session(shown, device="cpu", threads=threads, lean=True).run(inputs)
    return {
        **{name: np.shape(value) for name, value in seen.items()},
        **{name: np.shape(value) for name, value in inputs.items()},
    }


def _timed(
    layers: list[Layer],
    shapes: Mapping[str, tuple[int, ...]],
    options: CompressOptions,
    precision: DeployPrecision,
    journal: Journal,
) -> dict[Layer, Timed]:
    """What each layer takes; layers of the same shape, scheme and surroundings are timed once."""
    from domino_onnx.deploy import time_layer
    from domino_onnx.runtime import Session

    def opened(data: bytes) -> Callable[[Inputs], Inputs]:
        return Session(data, device="cpu", threads=options.run.threads).run

    alike: dict[object, Timed] = {}
    timed: dict[Layer, Timed] = {}
    for done, layer in enumerate(layers):
        journal.progress(done, len(layers), layer.name)
        if layer.data not in shapes or 0 in shapes[layer.data]:
            continue
        kind = (layer.op, layer.shape, str(layer.geometry), shapes[layer.data], round(layer.zeros, 2))
        key = (*kind, layer.residual is None, layer.bias is None, layer.low, layer.high)
        if key not in alike:
            alike[key] = time_layer(layer, shapes[layer.data], opened, int8=precision == "int8", seed=options.run.seed)
        timed[layer] = alike[key]
    return timed


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Tried:
    """A model with some layers deployed, and how it compares with the dense one."""

    proto: ModelProto
    chosen: Mapping[Layer, Kind]
    dense: float
    deployed: float
    error: float


def _fastest(whole: ModelProto, timed: Mapping[Layer, Timed], inputs: Inputs, threads: int) -> _Tried:
    """Of several choices of layers, and none, the one with which the whole model is the fastest."""
    from domino_onnx.deploy import measure
    from domino_onnx.runtime import Session

    choices = _choices(timed)
    protos = [_rewritten(whole, choice) for choice in choices]
    sessions = [Session(bytes(proto.SerializeToString()), device="cpu", threads=threads) for proto in protos]
    taken = measure([functools.partial(each.run, inputs) for each in sessions], _SECONDS * len(sessions))
    best = min(range(len(choices)), key=lambda place: taken[place].low)
    wanted, found = sessions[0].run(inputs), sessions[best].run(inputs)
    return _Tried(
        proto=protos[best],
        chosen=choices[best],
        dense=taken[0].median,
        deployed=taken[best].median,
        error=max((_error(wanted[name], found[name]) for name in wanted), default=0.0),
    )


def _choices(timed: Mapping[Layer, Timed]) -> list[dict[Layer, Kind]]:
    """All dense first, then the layers that gain at all, then those that gain much; each choice once."""
    found: list[dict[Layer, Kind]] = [dict.fromkeys(timed, "dense")]
    for gain in _GAINS:
        choice: dict[Layer, Kind] = {
            layer: each.chosen if each.seconds[each.chosen] < gain * each.seconds["dense"] else "dense"
            for layer, each in timed.items()
        }
        if choice not in found:
            found.append(choice)
    return found


def _rewritten(whole: ModelProto, choice: Mapping[Layer, Kind]) -> ModelProto:
    """The model with a choice; `choice` names layers of another view of the same model, so they are looked up anew."""
    from domino_onnx.deploy import open_graph, rewritten_graph

    if all(kind == "dense" for kind in choice.values()):
        return whole
    graph = open_graph(whole)
    producers = {node.outputs[0].name: node for node in graph.nodes if node.outputs}
    again = {
        dataclasses.replace(layer, nodes=tuple(producers[node.outputs[0].name] for node in layer.nodes)): kind
        for layer, kind in choice.items()
    }
    return rewritten_graph(whole, graph, again)


def _error(wanted: Any, found: Any) -> float:
    """The largest difference of two outputs, as a share of the largest value of the first."""
    if not isinstance(wanted, np.ndarray) or wanted.dtype.kind != "f" or not wanted.size:
        return 0.0
    scale = float(np.abs(wanted).max()) or 1.0
    return float(np.abs(wanted - found).max()) / scale


def _record(layer: Layer, timed: Timed, chosen: Kind) -> DeployedLayer:
    return DeployedLayer(
        name=layer.name,
        op=layer.op,
        shape=layer.shape,
        zeros=float(layer.zeros),
        seconds={str(kind): seconds for kind, seconds in timed.seconds.items()},
        chosen=chosen,
    )
