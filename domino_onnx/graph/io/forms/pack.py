"""How is a weight packed? Its tensor then holds the values that aren't zero, and operators make the weight of them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto

from domino_onnx.graph.insertion import NodeInsertion, names_in_use
from domino_onnx.graph.io.external import is_external, set_entry, was_external
from domino_onnx.graph.io.forms.expansion import Part, expansion, refusal
from domino_onnx.graph.io.listed import unlist_constants
from domino_onnx.graph.io.tensors import store_reshaped
from domino_onnx.storage import Storage, StoredWeight, pack

__all__ = ["PackableWeight", "Packing"]

_PREFIX = "domino_onnx."


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PackableWeight:
    """A stored tensor of the main graph: an initializer, or the value of the Constant `node`."""

    name: str
    tensor: TensorProto
    node: NodeProto | None = None


class Packing:
    """One pass over a model's weights; `finish` ends it.

    The parts of initializers are put together before all other nodes, those of a Constant node right behind it. New
    initializers come after all others.
    """

    def __init__(self, model: ModelProto, opset: int, schemes: Mapping[str, tuple[int, int]]) -> None:
        self._model, self._graph, self._opset, self._schemes = model, model.graph, opset, schemes
        self._prefix = _free_prefix(model)
        self._insertion = NodeInsertion(model.graph)
        self._records: list[StoredWeight] = []
        self._constants: set[str] = set()

    def refusal(self, weight: PackableWeight) -> str | None:
        """Why a weight can't be packed; None if it can."""
        return refusal(weight.tensor.data_type, self._opset)

    def store(self, weight: PackableWeight, values: NDArray[Any]) -> tuple[str | None, int]:
        """Pack one weight if that is smaller: how, None if it isn't, and the bytes that it takes or would take."""
        packed = pack(values, self._schemes.get(weight.name))
        part = Part(
            name=weight.name,
            prefix=self._prefix,
            number=len(self._records),
            shape=packed.shape,
            stored=packed.values.shape,
            data_type=weight.tensor.data_type,
            grouping=packed.grouping,
        )
        record = StoredWeight(name=weight.name, shape=packed.shape, grouping=packed.grouping)
        made = expansion(part, self._opset)
        constants = [constant for constant in made.constants if constant.name not in self._constants]
        extras = (
            sum(map(NodeProto.ByteSize, made.nodes))
            + sum(map(TensorProto.ByteSize, constants))
            + len(json.dumps(record.to_document()))
        )
        needed = packed.nbytes + extras
        if needed >= values.nbytes:
            return None, needed
        self._records.append(record)
        self._rewrite(weight, part, packed.values, packed.codes)
        self._add(weight, made.nodes, constants)
        return "positions" if packed.grouping is not None else "bitmask", needed

    def finish(self) -> Storage | None:
        """Sort the new nodes in, and tell what was done; None if nothing was."""
        if not self._records:
            return None
        self._insertion.finish()
        return Storage(prefix=self._prefix, weights=tuple(self._records))

    def _rewrite(self, weight: PackableWeight, part: Part, values: NDArray[Any], codes: NDArray[Any]) -> None:
        unlist_constants(self._model)
        outside = is_external(weight.tensor) or was_external(weight.tensor)
        store_reshaped(weight.tensor, values)
        if weight.node is not None:
            weight.node.output[0] = part.part("values")
        else:
            weight.tensor.name = part.part("values")
        tensor = self._graph.initializer.add(name=part.part("codes"), data_type=TensorProto.UINT8, raw_data=b"")
        store_reshaped(tensor, codes)
        if outside:
            set_entry(tensor, "location", "")  # the mark of a tensor that becomes external

    def _add(self, weight: PackableWeight, made: Sequence[NodeProto], constants: Sequence[TensorProto]) -> None:
        for constant in constants:
            self._graph.initializer.add().CopyFrom(constant)
            self._constants.add(constant.name)
        self._insertion.add(made, behind=weight.node)


def _free_prefix(model: ModelProto) -> str:
    """What no name in the model begins with."""
    taken = names_in_use(model)
    prefix = _PREFIX
    while any(name.startswith(prefix) for name in taken):
        prefix = prefix[:-1] + "_."
    return prefix
