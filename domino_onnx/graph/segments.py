"""A model cut into consecutive pieces, each a model of its own that starts from what the ones before left."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto

from domino_onnx.graph.io.external import is_external, resolve
from domino_onnx.graph.io.read import OnnxFile
from domino_onnx.graph.order import constant_nodes, execution_order, names_read, stored_names
from domino_onnx.graph.walk import tensors

__all__ = ["Segment", "cut"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """The nodes between two cuts.

    Attributes
    ----------
    inputs
        Activations of earlier segments, and inputs of the model, that it reads.
    outputs
        What it makes that is read later, is an output of the model, or was asked for.
    constants
        Names of the stored tensors that it reads, and of what it computes from nothing else.
    released
        Activations that nothing reads after it.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: frozenset[str]
    released: frozenset[str]
    nodes: tuple[NodeProto, ...]

    def model(self, file: OnnxFile, types: Mapping[str, TypeProto], fed: Iterable[str] = ()) -> ModelProto:
        """A model of this segment; the stored tensors in `fed` become inputs of it.

        Parameters
        ----------
        types
            Of `inputs` and `fed`.
        """
        fed = [name for name in fed if name in self.constants]
        graph = GraphProto(name="segment")
        graph.node.extend(node for node in self.nodes if not set(node.output) & set(fed))
        for tensor in file.proto.graph.initializer:
            if tensor.name in self.constants and tensor.name not in fed:
                graph.initializer.append(tensor)
        for sparse in file.proto.graph.sparse_initializer:
            if sparse.values.name in self.constants:
                graph.sparse_initializer.append(sparse)
        for name in (*self.inputs, *fed):
            graph.input.add(name=name, type=types[name])
        graph.output.extend(ValueInfoProto(name=name) for name in self.outputs)
        model = ModelProto(ir_version=max(file.proto.ir_version, 4), graph=graph)
        model.opset_import.extend(file.proto.opset_import)
        model.functions.extend(file.proto.functions)
        for tensor in filter(is_external, tensors(model)):
            _pull_in(tensor, file)
        return model


def cut(file: OnnxFile, positions: Sequence[int], wanted: Iterable[str] = ()) -> list[Segment]:
    """Segments of the main graph: one before the first of `positions`, and one from each on to the next.

    Parameters
    ----------
    positions
        Places of nodes in the order in which they run, ascending.
    wanted
        Activations that the segments which make them give out as well.
    """
    graph = file.proto.graph
    nodes = [graph.node[position] for position in execution_order(graph.node)]
    reads = [names_read(node) for node in nodes]
    stored = stored_names(graph)
    constant = constant_nodes(nodes, stored)
    made_by = {name: index for index in constant for name in nodes[index].output}
    bounds = [0, *positions, len(nodes)]
    asked = {value.name for value in graph.output} | set(wanted)
    last_read = {name: index for index, names in enumerate(reads) if index not in constant for name in names}
    last_read |= dict.fromkeys((value.name for value in graph.output), len(nodes))
    segments = []
    for start, stop in itertools.pairwise(bounds):
        inside = [index for index in range(start, stop) if index not in constant]
        if stop == len(nodes):  # outputs of the model that are constant
            inside += [made_by[value.name] for value in graph.output if value.name in made_by]
        behind = _constants_behind(inside, reads, made_by)
        made = {name for index in (*inside, *behind) for name in nodes[index].output if name}
        read = set().union(*(reads[index] for index in (*inside, *behind)))
        later = {name for name in made if name in asked or last_read.get(name, -1) >= stop}
        if stop < len(nodes):
            later -= made_by.keys()
        activations = read - made - stored
        segments.append(
            Segment(
                inputs=tuple(sorted(activations)),
                outputs=tuple(sorted(later)),
                constants=frozenset(read & (stored | {n for i in behind for n in nodes[i].output})),
                released=frozenset(name for name in activations | made if last_read.get(name, -1) < stop),
                nodes=tuple(nodes[index] for index in sorted({*inside, *behind})),
            )
        )
    return segments


def _constants_behind(inside: Iterable[int], reads: Sequence[set[str]], made_by: Mapping[str, int]) -> list[int]:
    found: set[int] = set()
    frontier = list(inside)
    while frontier:
        index = frontier.pop()
        new = {made_by[name] for name in reads[index] if name in made_by} - found
        found |= new
        frontier += new
    return sorted(found - set(inside))


def _pull_in(tensor: TensorProto, file: OnnxFile) -> None:
    """Put a tensor's external bytes into the tensor itself."""
    where = resolve(tensor, file.folder)
    with where.path.open("rb") as stream:
        stream.seek(where.offset)
        tensor.raw_data = stream.read(where.length)
    tensor.ClearField("external_data")
    tensor.ClearField("data_location")
