"""The stage that writes a second file for the CPU, in which layers with many zeros are operators that skip them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from numpy.typing import NDArray

from domino_onnx.errors import OptionError
from domino_onnx.files import Replacing, check_model_ending, check_output
from domino_onnx.graph import OnnxFile, check_data_name, loaded, read_model, write_model
from domino_onnx.options import CompressOptions
from domino_onnx.report.results import DeployPrecision, DeployResult
from domino_onnx.stages.deploying.accuracy import MOST_DIVERGENCE, ByteJudge, Grids, byte_judge
from domino_onnx.stages.deploying.bench import Bench
from domino_onnx.stages.deploying.choice import Tried, fastest, with_fewer_passes
from domino_onnx.stages.deploying.sampling import run_to_time
from domino_onnx.stages.deploying.words import bits_in_words, layer_record, why_none
from domino_onnx.stages.journal import Journal
from domino_onnx.stages.reading.purpose import require_suited
from domino_onnx.stages.writing.form_notes import ir_notes

if TYPE_CHECKING:
    from domino_onnx.deployment import Layer, Seconds

__all__ = ["deployed"]

_NOT_TIMED = "its input is stored, or a run shows no float32 values of it"
_MOST_ERROR = 1e-3
"""Of outputs in float32, as a share of their largest value: what sums in another order change stays far below."""
Arrays = Mapping[str, NDArray[Any]]


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
        If the model can't be read or run, was deployed before, or is too large to be timed.
    DependencyError
        If the kernels, ONNX Runtime or onnx-graphsurgeon are missing, or the kernels can't be loaded.
    DataError
        If the data don't fit the model, or inputs can't be made up.
    OutputError
        If the output can't be written.
    """
    from domino_onnx.deployment import find_layers, open_graph
    from domino_onnx.runtime import require_kernels
    from domino_onnx.stages.deploying.sizes import shapes_at_sizes

    if precision not in get_args(DeployPrecision):
        raise OptionError(
            f"the precision is {precision!r}; it must be {' or '.join(map(repr, get_args(DeployPrecision)))}"
        )
    require_kernels()
    threads = options.run.threads
    with journal.stage("read"):
        file = read_model(model)
        require_suited(file, "deploy")
        check_output(output, (model, *file.data_files), replacing)
        check_data_name(file, output)
        check_model_ending(output, (model,))
        inputs = run_to_time(file, options, journal).inputs
        whole = loaded(file, {})
        runs = shapes_at_sizes(file, inputs, threads)
        bench = Bench(whole=whole.proto, inputs=inputs, runs=runs, threads=threads)
        graph = open_graph(whole.proto)
        layers, kept = find_layers(graph, *runs)
    judged, layers = _judged(file, whole, layers, precision, options, journal)
    judge = None if isinstance(judged, str) else judged
    with journal.stage("time"):
        timed = _timed(layers, bench, graph.opset, _grids_to_time(precision, judge), options.run.seed, journal)
        best = with_fewer_passes(fastest(bench, timed, judge, journal), bench)
        error, of_read = bench.error(best.proto), bench.error(whole.proto) if _is_quantised(file) else None
    with journal.stage("write"):
        written = write_model(dataclasses.replace(whole, proto=best.proto), {}, None, output, replacing=replacing)
    left = (
        *((each.name, each.op, each.reason) for each in kept),
        *((layer.name, layer.op, _NOT_TIMED) for layer in layers if layer not in timed),
    )
    _warn(best, error, left, journal)
    for note in ir_notes(file.proto.ir_version, dataclasses.replace(whole, proto=best.proto)):
        journal.warn(note)
    return DeployResult(
        model=model,
        output=output,
        threads=threads,
        precision=precision,
        layers=tuple(layer_record(layer, timed[layer], best) for layer in timed),
        kept=left,
        dense=best.dense,
        deployed=best.deployed,
        error=error,
        error_of_read=of_read,
        divergence=best.divergence,
        judges=0 if judge is None else judge.samples,
        activations=best.activations,
        attentions=best.attentions,
        bits=bits_in_words(best, precision, judged),
        nbytes=written.nbytes,
        warnings=journal.warnings,
    )


def _warn(best: Tried, error: float | None, left: Sequence[tuple[str, str, str]], journal: Journal) -> None:
    if error is None:
        journal.warn(
            "no output holds a finite float on the inputs of this run, so that none was compared: give --data of yours"
        )
    elif math.isinf(error):
        journal.warn(
            "an output of the deployed model is NaN or infinite where that of the file isn't, or the other way round: "
            "compare both on your data before you use it"
        )
    elif error > _MOST_ERROR and not {"int8", "quantized"} & set(best.chosen.values()):
        journal.warn(
            f"an output of the deployed model is off by {error:.1e} of its largest value, more than sums in another "
            "order explain: compare both files on your data before you use it"
        )
    if all(kind == "dense" for kind in best.chosen.values()):
        journal.warn(f"{why_none(best, left)}: the file that was written is the dense one")


def _judged(
    file: OnnxFile,
    whole: OnnxFile,
    layers: list[Layer],
    precision: DeployPrecision,
    options: CompressOptions,
    journal: Journal,
) -> tuple[ByteJudge | str, list[Layer]]:
    """Who judges what 8 bits cost layers that the file has in floats, or why nothing does; layers with their means."""
    of_floats = [layer for layer in layers if layer.file is None]
    judge: ByteJudge | str = "no layer in floats can be replaced"
    if precision != "float32" and of_floats:
        most = MOST_DIVERGENCE if precision == "auto" else math.inf
        with journal.stage("calibrate"):
            judge = byte_judge(file, bytes(whole.proto.SerializeToString()), of_floats, options, most)
    if isinstance(judge, str):
        if precision == "int8" and any(layer.op == "Conv" for layer in of_floats):
            journal.warn(f"convolutions stay in float32, since their int8 has to be calibrated: {judge}")
        return judge, layers
    known = dict(zip(of_floats, judge.layers, strict=True))
    return judge, [known.get(layer, layer) for layer in layers]


def _grids_to_time(precision: DeployPrecision, judge: ByteJudge | None) -> Grids | None:
    """The grids for layers in 8 bits, none without data, where products alone are in 8 bits; None where nothing is."""
    if judge is not None:
        return judge.grids[0]
    return {} if precision == "int8" else None


def _is_quantised(file: OnnxFile) -> bool:
    """Whether activations are rounded to 8 bits, as far as an operator of the main graph says so."""
    return any(node.op_type == "QuantizeLinear" for node in file.proto.graph.node)


def _timed(
    layers: list[Layer], bench: Bench, opset: int, grids: Grids | None, seed: int, journal: Journal
) -> dict[Layer, Seconds]:
    """What each layer takes; layers of the same shape, zeros and surroundings are timed once."""
    from domino_onnx.deployment import time_layer
    from domino_onnx.runtime import Session

    shapes, threads = bench.shapes, bench.threads

    def opened(data: bytes) -> Callable[[Arrays], Arrays]:
        return Session(data, device="cpu", threads=threads, timed=True).run

    alike: dict[object, Seconds] = {}
    timed: dict[Layer, Seconds] = {}
    for done, layer in enumerate(layers):
        journal.progress(done, len(layers), layer.name)
        if layer.data not in shapes or 0 in shapes[layer.data]:
            continue
        stored = (layer.file is None, layer.integers is None)
        kind = (layer.op, layer.shape, str(layer.geometry), shapes[layer.data], round(layer.zeros, 2), stored)
        key = (*kind, layer.residual is None, layer.low, layer.high, tuple(node.op for node in layer.nodes))
        if key not in alike:
            alike[key] = time_layer(layer, shapes, opened, opset=opset, grids=grids, threads=threads, seed=seed)
        timed[layer] = alike[key]
    return timed
