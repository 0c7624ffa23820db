"""The stage that writes a second file for the CPU, in which layers with many zeros are operators that skip them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from domino_onnx.errors import ModelError, OptionError
from domino_onnx.files import Replacing, check_model_ending, check_output
from domino_onnx.graph import OnnxFile, loaded, read_model, with_outputs, write_model
from domino_onnx.options import CompressOptions
from domino_onnx.plurals import quantity
from domino_onnx.report.results import DeployedLayer, DeployPrecision, DeployResult
from domino_onnx.stages.deploy_accuracy import ByteJudge, byte_judge
from domino_onnx.stages.deploy_choice import MOST_DIVERGENCE, Tried, fastest, with_fewer_passes
from domino_onnx.stages.journal import Journal
from domino_onnx.stages.sampling import inputs_to_time

if TYPE_CHECKING:
    from domino_onnx.deployment import Grid, Kind, Layer, Timed

__all__ = ["deployed"]

_AROUND = ("Add", "BatchNormalization", "Conv", "ConvTranspose", "Gemm", "MatMul", "Mul")
_NOT_TIMED = "its input is stored, or a run shows no float32 values of it"
Inputs = Mapping[str, NDArray[Any]]


def deployed(
    model: Path,
    output: Path,
    options: CompressOptions,
    precision: DeployPrecision,
    journal: Journal,
    replacing: Replacing,
) -> DeployResult:
    """Write `model` for the CPU: never slower than it was, as far as this machine tells.

    Raises
    ------
    OptionError
        If the precision isn't known.
    ModelError
        If the model can't be read or run, or is too large to be timed.
    DependencyError
        If the kernels, ONNX Runtime or onnx-graphsurgeon are missing.
    DataError
        If the data don't fit the model, or inputs can't be made up.
    OutputError
        If the output can't be written.
    """
    from domino_onnx.deployment import find_layers, open_graph
    from domino_onnx.runtime import kernels_library

    if precision not in get_args(DeployPrecision):
        raise OptionError(f"there is no precision {precision!r}; it can be {' or '.join(get_args(DeployPrecision))}")
    kernels_library()
    with journal.stage("read"):
        file = read_model(model)
        check_output(output, (model, *file.data_files), replacing)
        check_model_ending(output, (model,))
        inputs = inputs_to_time(file, options, journal)
        whole = loaded(file, {})
        shapes = _shapes(file, inputs, options.run.threads)
        graph = open_graph(whole.proto)
        layers, kept = find_layers(graph, shapes)
    of_floats = [layer for layer in layers if layer.file is None]
    judge = _judge(file, whole, of_floats, precision, options, journal)
    judges = None if isinstance(judge, str) else judge
    with journal.stage("time"):
        grids = judges.grids[0] if judges is not None else {}
        if judges is not None:
            known = dict(zip(of_floats, judges.layers, strict=True))
            layers = [known.get(layer, layer) for layer in layers]
        in_bytes = precision == "int8" or judges is not None
        timed = _timed(layers, shapes, graph.opset, options, grids, journal, int8=in_bytes)
        best = fastest(whole.proto, timed, precision, judges, shapes, inputs, options.run.threads, journal)
        best = with_fewer_passes(best, whole.proto, shapes, inputs, options.run.threads)
    with journal.stage("write"):
        written = write_model(dataclasses.replace(whole, proto=best.proto), {}, None, output, replacing=replacing)
    if math.isinf(best.error):
        journal.warn(
            "an output of the deployed model is NaN or infinite where that of the file isn't, or the other way round: "
            "compare both on your data before you use it"
        )
    if timed and not any(kind != "dense" for kind in best.chosen.values()):
        journal.warn("no layer is faster without its zeros on this machine: the file that was written is the dense one")
    return DeployResult(
        model=model,
        output=output,
        threads=options.run.threads,
        precision=precision,
        layers=tuple(_record(layer, timed[layer], best) for layer in timed),
        kept=(
            *((each.name, each.op, each.reason) for each in kept),
            *((layer.name, layer.op, _NOT_TIMED) for layer in layers if layer not in timed),
        ),
        dense=best.dense,
        deployed=best.deployed,
        error=best.error,
        divergence=best.divergence,
        judges=0 if judges is None else judges.samples,
        activations=best.activations,
        bits=_bits(best, precision, judge),
        nbytes=written.nbytes,
        warnings=journal.warnings,
    )


def _judge(
    file: OnnxFile,
    whole: OnnxFile,
    layers: list[Layer],
    precision: DeployPrecision,
    options: CompressOptions,
    journal: Journal,
) -> ByteJudge | str:
    """Who judges what 8 bits cost layers that the file has in floats; why there is none."""
    judge: ByteJudge | str = "no layer in floats has enough zeros"
    if precision != "float32" and layers:
        with journal.stage("calibrate"):
            judge = byte_judge(file, bytes(whole.proto.SerializeToString()), layers, options)
    if isinstance(judge, str) and precision == "int8" and any(layer.op == "Conv" for layer in layers):
        journal.warn(f"convolutions stay in float32, since their int8 has to be calibrated: {judge}")
    return judge


def _shapes(file: OnnxFile, inputs: Inputs, threads: int) -> dict[str, tuple[int, ...]]:
    """Of the float32 activations of the main graph that layers and activations begin or end at, seen in a run."""
    from domino_onnx.runtime import ChildSession

    graph = file.proto.graph
    known = {tensor.name for tensor in graph.initializer} | set(inputs) | {""}
    known |= {name for node in graph.node if node.op_type == "Constant" for name in node.output}
    around = [node for node in graph.node if node.op_type in _AROUND]
    names = dict.fromkeys(name for node in around for name in (*node.input, *node.output) if name not in known)
    shown = with_outputs(file, names)
    if shown is None:
        raise ModelError(f"{file.path} is too large to be timed, or has external data: at most 1 GiB in one file")
    with ChildSession(shown, threads=threads, lean=True) as session:
        seen = {**session.run(inputs), **inputs}
    return {name: value.shape for name, value in seen.items() if getattr(value, "dtype", None) == np.float32}


def _timed(
    layers: list[Layer],
    shapes: Mapping[str, tuple[int, ...]],
    opset: int,
    options: CompressOptions,
    grids: Mapping[str, Grid],
    journal: Journal,
    *,
    int8: bool,
) -> dict[Layer, Timed]:
    """What each layer takes; layers of the same shape, zeros and surroundings are timed once."""
    from domino_onnx.deployment import time_layer
    from domino_onnx.runtime import Session

    def opened(data: bytes) -> Callable[[Inputs], Inputs]:
        return Session(data, device="cpu", threads=options.run.threads, timed=True).run

    alike: dict[object, Timed] = {}
    timed: dict[Layer, Timed] = {}
    for done, layer in enumerate(layers):
        journal.progress(done, len(layers), layer.name)
        if layer.data not in shapes or 0 in shapes[layer.data]:
            continue
        stored = (layer.file is None, layer.integers is None)
        kind = (layer.op, layer.shape, str(layer.geometry), shapes[layer.data], round(layer.zeros, 2), stored)
        key = (*kind, layer.residual is None, layer.low, layer.high, tuple(node.op for node in layer.nodes))
        if key not in alike:
            run = options.run
            alike[key] = time_layer(
                layer, shapes, opened, opset=opset, int8=int8, grids=grids, threads=run.threads, seed=run.seed
            )
        timed[layer] = alike[key]
    return timed


def _record(layer: Layer, timed: Timed, best: Tried) -> DeployedLayer:
    chosen = best.chosen[layer]
    return DeployedLayer(
        name=layer.name,
        op=layer.op,
        shape=layer.shape,
        zeros=float(layer.zeros),
        skips=layer.skips,
        seconds={str(kind): seconds for kind, seconds in timed.seconds.items()},
        chosen=chosen,
        reason=_reason(timed.seconds, chosen, refused=layer in best.refused),
    )


def _reason(seconds: Mapping[Kind, float], chosen: Kind, *, refused: bool) -> str:
    """Why a layer is deployed as it is, by its own times and by what the whole model took."""
    dense = seconds["dense"]
    if "quantized" in seconds:
        return _reason_of_quantized(dense / seconds["quantized"], chosen)
    floats, in_bytes = seconds["float32"], seconds.get("int8", math.inf)
    if chosen == "int8":
        return f"{dense / in_bytes:.1f}x dense, {floats / in_bytes:.1f}x float32"
    if chosen == "float32" and floats > dense:
        return f"{dense / floats:.1f}x dense by itself; the whole model gains"
    gain = f"{dense / floats:.1f}x dense"
    if in_bytes < min(floats, dense):
        why = "costs too much accuracy" if refused else "gains too little in the whole model"
        return f"{gain}; int8 {why}" if chosen == "float32" else f"{gain} in float32; int8 {why}"
    if chosen == "float32":
        return gain
    return f"{gain}; no gain in the whole model" if floats < dense else f"{gain}: no gain"


def _reason_of_quantized(gain: float, chosen: Kind) -> str:
    """The same for a layer that the file itself has in 8 bits."""
    said = f"{gain:.1f}x dense"
    if chosen == "quantized":
        return said if gain > 1 else f"{said} by itself; the whole model gains"
    return f"{said}; no gain in the whole model" if gain > 1 else f"{said}: no gain"


def _bits(best: Tried, precision: DeployPrecision, judge: ByteJudge | str) -> str:
    """What became of 8 bits."""
    own = sum(kind == "quantized" for kind in best.chosen.values())
    said = f"{_count(own)} with the file's own integers, scales and zero points"
    if own and all(layer.file is not None for layer in best.chosen):
        return f"8 bits: {said}"
    others = _bits_of_floats(best, precision, judge)
    return f"{others}; {said}" if own else others


def _bits_of_floats(best: Tried, precision: DeployPrecision, judge: ByteJudge | str) -> str:
    """The same for layers that the file has in floats."""
    if precision == "float32":
        return "8 bits: not asked for (--precision float32)"
    count = sum(kind == "int8" for kind in best.chosen.values())
    layers = _count(count)
    if isinstance(judge, str):
        return f"8 bits: {layers}, not judged: {judge}" if count else f"8 bits: not tried, since {judge}"
    if not count:
        borne = " as far as the outputs bear them" if best.refused else ""
        return f"8 bits: tried, and not taken: the whole model gains too little by them{borne}"
    limit = f" of {MOST_DIVERGENCE:g} allowed" if precision == "auto" else ""
    judges = quantity(judge.samples, "other sample")
    return f"8 bits: {layers}; outputs diverge by {best.divergence:.2g}{limit}, on {judges}"


def _count(layers: int) -> str:
    return quantity(layers, "layer")
