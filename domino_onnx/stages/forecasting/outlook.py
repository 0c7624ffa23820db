"""What can be told of a model without data: its inputs, what its file is made of, and what a run would cost."""

from __future__ import annotations

import importlib.util
import math
from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto, ValueInfoProto, helper

from domino_onnx.forecast import Forecast
from domino_onnx.graph import OnnxFile, bytes_by_reader
from domino_onnx.options import FinetuneOptions
from domino_onnx.report.results import OperatorShare, Port
from domino_onnx.scheme import Inventory
from domino_onnx.stages.planning import SECOND_PLAN
from domino_onnx.stages.reading.source import Source

if TYPE_CHECKING:
    from domino_onnx.forecast.work import Training

__all__ = ["SAMPLES", "operator_shares", "outlook", "ports"]

SAMPLES = 512
"""That a run is taken to have where none are given."""
_BATCH = 32
_HELD_OUT = SAMPLES // 8
_MOST_NODES = 10_000
"""In a graph that is walked through. A chain of so many takes seconds, which is more than the answer is worth."""
_NO_NUMBERS = (TensorProto.UNDEFINED, TensorProto.STRING)
_DENSITY = 0.5


def ports(values: Iterable[ValueInfoProto]) -> tuple[Port, ...]:
    """Names, types and shapes of inputs or outputs, as the model declares them."""
    return tuple(_port(value) for value in values)


def _port(value: ValueInfoProto) -> Port:
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type"):
        return Port(name=value.name, dtype=str(value.type.WhichOneof("value") or "?").removesuffix("_type"), axes=None)
    known = tensor.elem_type in TensorProto.DataType.values() and tensor.elem_type not in _NO_NUMBERS
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name if known else "no numbers"
    if not tensor.HasField("shape"):
        return Port(name=value.name, dtype=dtype, axes=None)
    axes = tuple(str(axis.dim_value) if axis.dim_value > 0 else axis.dim_param or "?" for axis in tensor.shape.dim)
    return Port(name=value.name, dtype=dtype, axes=axes)


def operator_shares(file: OnnxFile, inventory: Inventory) -> tuple[OperatorShare, ...]:
    """What each kind of operator has of the bytes of all files, the most first; the rest is the graph itself."""
    prunable = {site.key for site in inventory.sites}
    kinds = {weight.key: weight.op for weight in inventory.counted}
    stored: dict[str, int] = defaultdict(int)
    of_sites: dict[str, int] = defaultdict(int)
    for key, reader, nbytes in bytes_by_reader(file.proto):
        kind = kinds.get(key, reader)
        stored[kind] += nbytes
        of_sites[kind] += nbytes if key in prunable else 0
    whole = max(sum(path.stat().st_size for path in (file.path, *file.data_files)), sum(stored.values()), 1)
    found = [
        OperatorShare(op=op, nbytes=nbytes, share=nbytes / whole, prunable=of_sites[op] / whole)
        for op, nbytes in stored.items()
    ]
    return tuple(sorted(found, key=lambda each: -each.nbytes))


def outlook(source: Source) -> Forecast | None:
    """What `compress` would cost with 512 samples on one thread; None where shapes are unknown, nothing is pruned, or
    the graph is too long to be walked through for this.

    The model isn't run. Its pace is that of products of matrices, which are timed for a fifth of a second.
    """
    from domino_onnx.forecast.layers import walk_through
    from domino_onnx.forecast.machine import Machine
    from domino_onnx.forecast.space import memory_needed
    from domino_onnx.forecast.timing import stage_costs
    from domino_onnx.forecast.work import Work
    from domino_onnx.runtime import available_memory, resident_memory

    inventory = source.inventory
    if inventory.macs is None or not inventory.sites or len(source.file.proto.graph.node) > _MOST_NODES:
        return None
    walk, machine = walk_through(source.file, inventory, source.table), Machine.measured()
    if not walk.layers:
        return None
    forward = inventory.macs * machine.float32
    finetunes = importlib.util.find_spec("torch") is not None and any(site.learns for site in inventory.sites)
    work = Work(
        walk=walk,
        machine=machine,
        forward=forward,
        drawing=0.0,
        varying=0.0,
        drawn=0,
        given=SAMPLES,
        samples=SAMPLES,
        batches=SAMPLES // _BATCH,
        judges=_HELD_OUT,
        measures=(1 + finetunes, _HELD_OUT),
        searches=1,
        gradients=0,
        refits=1 + SECOND_PLAN * (len(inventory.sites) > 1),
        trials=0,
        density=_DENSITY,
        densities={},
        training=_training(forward) if finetunes else None,
        stored=sum(math.prod(tensor.dims) for tensor in source.tensors.values()),
        writes=True,
    )
    resident, available = resident_memory(), available_memory()
    return Forecast(
        stages=stage_costs(work),
        threads=1,
        memory=memory_needed(work, resident, None),
        memory_available=None if available is None else resident + available,
        memory_limit=None,
        disk=sum(path.stat().st_size for path in (source.path, *source.file.data_files)),
        disk_available=None,
        prunable=sum(site.params for site in inventory.sites) / max(work.stored, 1),
        unprunable=(),
        finetunes=finetunes,
        may_skip_finetuning=finetunes,
    )


def _training(forward: float) -> Training:
    from domino_onnx.forecast.training import expected_training

    epoch = (SAMPLES - _HELD_OUT) // _BATCH
    return expected_training(FinetuneOptions(), batch=_BATCH, epoch=epoch, held_out=_HELD_OUT, forward=forward)
