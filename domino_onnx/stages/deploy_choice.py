"""Which layers are deployed in which kind? What gains by itself is tried on the whole model."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from domino_onnx.graph import OnnxFile, with_outputs
from domino_onnx.options import CompressOptions
from domino_onnx.stages.journal import Journal

if TYPE_CHECKING:
    from domino_onnx.deployment import Grid, Kind, Layer, Timed

__all__ = ["Tried", "calibrated_grids", "fastest"]

_SECONDS = 2.0
_GAINS = (0.97, 0.75)
"""Largest time, as a share of the dense layer's, that makes a layer worth it: what is tried on the whole model."""
_SAMPLES = 32
Inputs = Mapping[str, NDArray[Any]]
Grids = Mapping[str, "Grid"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A model with some layers deployed, and how it compares with the dense one.

    Attributes
    ----------
    dense, deployed
        Seconds of a run: of the processor with one thread, else of the wall clock.
    error
        The largest difference of an output, as a share of the output's largest value.
    """

    proto: ModelProto
    chosen: Mapping[Layer, Kind]
    dense: float
    deployed: float
    error: float


def calibrated_grids(
    file: OnnxFile, layers: Sequence[Layer], options: CompressOptions, journal: Journal
) -> list[dict[str, Grid]]:
    """Grids of the activations around convolutions, for each share of kept values; none without data."""
    from domino_onnx.data import load_data
    from domino_onnx.deployment import KEPT_SHARES, Grid, seen_ranges
    from domino_onnx.runtime import Session

    around = [(layer.data, layer.output, layer.residual) for layer in layers if layer.op == "Conv"]
    names = list(dict.fromkeys(name for each in around for name in each if name))
    if not names:
        return []
    if options.data.path is None:
        journal.warn("no --data: convolutions stay in float32, since their int8 has to be calibrated")
        return []
    with journal.stage("calibrate"):
        data = load_data(options.data.path, file.proto)
        batch = data.batch_size(1)
        samples = [data.take(np.arange(first, first + batch)) for first in range(0, min(data.count, _SAMPLES), batch)]
        session = Session(with_outputs(file, names) or b"", device="cpu", threads=options.run.threads)
        ranges = seen_ranges(session.run, samples, names)
    return [{name: Grid.of(*ranges[name][place]) for name in names} for place in range(len(KEPT_SHARES))]


def fastest(
    whole: ModelProto, timed: Mapping[Layer, Timed], grids: Sequence[Grids], inputs: Inputs, threads: int
) -> Tried:
    """Of several choices of layers, and none, the one with which the whole model is the fastest."""
    from domino_onnx.deployment import clock_for, measure
    from domino_onnx.runtime import Session

    choices = _choices(timed)
    wanted = Session(_bytes(whole), device="cpu", threads=threads).run(inputs)
    protos = [_most_exact(whole, choice, grids, inputs, wanted, threads) for choice in choices]
    sessions = [Session(_bytes(proto), device="cpu", threads=threads) for proto in protos]
    taken = measure(
        [functools.partial(each.run, inputs) for each in sessions], _SECONDS * len(sessions), clock_for(threads)
    )
    best = min(range(len(choices)), key=lambda place: taken[place].low)
    return Tried(
        proto=protos[best],
        chosen=choices[best],
        dense=taken[0].median,
        deployed=taken[best].median,
        error=_error(wanted, sessions[best].run(inputs)),
    )


def _choices(timed: Mapping[Layer, Timed]) -> list[dict[Layer, Kind]]:
    """All dense first; then, in float32 alone and with int8, the layers that gain at all, and those that gain much."""
    found: list[dict[Layer, Kind]] = [dict.fromkeys(timed, "dense")]
    for kinds in (("float32",), ("float32", "int8")):
        for gain in _GAINS:
            choice = {layer: _kind(each.seconds, kinds, gain) for layer, each in timed.items()}
            if choice not in found:
                found.append(choice)
    return found


def _kind(seconds: Mapping[Kind, float], kinds: Sequence[str], gain: float) -> Kind:
    """The fastest of some kinds, if it gains enough over the dense layer."""
    best = min((kind for kind in seconds if kind in kinds), key=lambda kind: seconds[kind])
    return best if seconds[best] < gain * seconds["dense"] else "dense"


def _most_exact(
    whole: ModelProto,
    choice: Mapping[Layer, Kind],
    grids: Sequence[Grids],
    inputs: Inputs,
    wanted: Inputs,
    threads: int,
) -> ModelProto:
    """The model with a choice, and of several grids the one with which its outputs are the closest."""
    from domino_onnx.runtime import Session

    in_bytes = any(kind == "int8" and layer.op == "Conv" for layer, kind in choice.items())
    protos = [_rewritten(whole, choice, each) for each in (grids if in_bytes else [{}])]
    if len(protos) == 1:
        return protos[0]
    return min(
        protos, key=lambda proto: _error(wanted, Session(_bytes(proto), device="cpu", threads=threads).run(inputs))
    )


def _rewritten(whole: ModelProto, choice: Mapping[Layer, Kind], grids: Grids) -> ModelProto:
    """The model with a choice, whose layers are of another view of the same model: their nodes are looked up anew."""
    from domino_onnx.deployment import open_graph, rewritten_graph

    if all(kind == "dense" for kind in choice.values()):
        return whole
    graph = open_graph(whole)
    producers = {node.outputs[0].name: node for node in graph.nodes if node.outputs}
    again = {
        dataclasses.replace(layer, nodes=tuple(producers[node.outputs[0].name] for node in layer.nodes)): kind
        for layer, kind in choice.items()
    }
    return rewritten_graph(whole, graph, again, grids)


def _bytes(proto: ModelProto) -> bytes:
    return bytes(proto.SerializeToString())


def _error(wanted: Inputs, found: Inputs) -> float:
    """The largest difference of two sets of outputs, each as a share of the largest value of the first."""
    errors = [0.0]
    for name, value in wanted.items():
        if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.size:
            scale = float(np.abs(value).max()) or 1.0
            errors.append(float(np.abs(value - found[name]).max()) / scale)
    return max(errors)
