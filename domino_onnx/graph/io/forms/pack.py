"""How is a weight packed? Its tensor then holds the values that aren't zero, and operators make the weight of them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto

from domino_onnx.graph.insertion import NodeInsertion, names_in_use
from domino_onnx.graph.io.external import is_external, set_entry, was_external
from domino_onnx.graph.io.forms.expansion import Expansion, Part, expansion, refusal
from domino_onnx.graph.io.forms.worth import Gain
from domino_onnx.graph.io.listed import unlist_constants
from domino_onnx.graph.io.tensors import store_reshaped
from domino_onnx.storage import STORAGE_KEY, PackedForm, Storage, StoredWeight, pack_as, packed_form

__all__ = ["Look", "PackableWeight", "Packing"]

_PREFIX = "domino_onnx."


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PackableWeight:
    """A stored tensor of the main graph: an initializer, or the value of the Constant `node`."""

    name: str
    tensor: TensorProto
    node: NodeProto | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How one weight would be packed: its form, the bytes that it alone would take, and what that brings."""

    form: PackedForm
    nbytes: int
    gain: Gain


class Packing:
    """The packing of a model's weights: `look` at all of them, `store` those that are worth it, `finish` at the end.

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

    def look(self, weight: PackableWeight, values: NDArray[Any], number: int) -> Look:
        """How a weight would be packed, and what that would bring. `number` is at least its place in the record."""
        form = packed_form(values, self._schemes.get(weight.name))
        part = self._part(weight, values.shape, form, number)
        made, record = expansion(part, self._opset), _record(part)
        alone = form.nbytes + sum(map(NodeProto.ByteSize, made.nodes)) + len(json.dumps(record.to_document()))
        shares = {constant.name: constant.ByteSize() for constant in made.constants}
        shares[STORAGE_KEY] = len(STORAGE_KEY) + len(Storage(prefix=self._prefix, weights=()).to_json())
        return Look(form=form, nbytes=alone, gain=Gain(saved=values.nbytes - alone, shares=shares))

    def store(self, weight: PackableWeight, values: NDArray[Any], form: PackedForm) -> None:
        """Pack one weight in the form that `look` told."""
        part = self._part(weight, values.shape, form, len(self._records))
        packed, made = pack_as(values, form), expansion(part, self._opset)
        self._records.append(_record(part))
        self._rewrite(weight, part, packed.values, packed.codes)
        self._add(weight, made)

    def finish(self) -> Storage | None:
        """Sort the new nodes in, and tell what was done; None if nothing was."""
        if not self._records:
            return None
        self._insertion.finish()
        return Storage(prefix=self._prefix, weights=tuple(self._records))

    def _part(self, weight: PackableWeight, shape: tuple[int, ...], form: PackedForm, number: int) -> Part:
        return Part(
            name=weight.name,
            prefix=self._prefix,
            number=number,
            shape=shape,
            stored=form.stored,
            data_type=weight.tensor.data_type,
            grouping=form.grouping,
        )

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

    def _add(self, weight: PackableWeight, made: Expansion) -> None:
        for constant in made.constants:
            if constant.name not in self._constants:
                self._graph.initializer.add().CopyFrom(constant)
                self._constants.add(constant.name)
        self._insertion.add(made.nodes, behind=weight.node)


def _record(part: Part) -> StoredWeight:
    return StoredWeight(name=part.name, shape=part.shape, grouping=part.grouping)


def _free_prefix(model: ModelProto) -> str:
    """What no name in the model begins with."""
    taken = names_in_use(model)
    prefix = _PREFIX
    while any(name.startswith(prefix) for name in taken):
        prefix = prefix[:-1] + "_."
    return prefix
