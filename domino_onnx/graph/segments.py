"""Into which consecutive pieces, each a model of its own, can a model be cut, and what passes between them?"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence

from onnx import GraphProto, ModelProto, NodeProto, TypeProto, ValueInfoProto

from domino_onnx.graph.io.external import is_external, make_inline
from domino_onnx.graph.io.listed import UNLISTED_SINCE_IR
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
        _add_stored(graph, file.proto.graph, self.constants - set(fed))
        for name in (*self.inputs, *fed):
            graph.input.add(name=name, type=types[name])
        graph.output.extend(ValueInfoProto(name=name) for name in self.outputs)
        model = ModelProto(ir_version=max(file.proto.ir_version, UNLISTED_SINCE_IR), graph=graph)
        model.opset_import.extend(file.proto.opset_import)
        model.functions.extend(file.proto.functions)
        for tensor in filter(is_external, tensors(model)):
            make_inline(tensor, file.folder)
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
    flow = _Flow(graph, [graph.node[position] for position in execution_order(graph.node)], wanted)
    return [flow.segment(start, stop) for start, stop in itertools.pairwise([0, *positions, len(graph.node)])]


class _Flow:
    """What flows between the sorted nodes of a graph: what each reads, and until when a name is read."""

    def __init__(self, graph: GraphProto, nodes: Sequence[NodeProto], wanted: Iterable[str]) -> None:
        self._nodes = nodes
        self._reads = [names_read(node) for node in nodes]
        self._stored = stored_names(graph)
        self._constant = constant_nodes(nodes, self._stored)
        self._constant_maker = {name: index for index in self._constant for name in nodes[index].output}
        self._graph_outputs = [value.name for value in graph.output]
        self._asked = {*self._graph_outputs, *wanted}
        self._last_read = {
            name: index for index, names in enumerate(self._reads) if index not in self._constant for name in names
        }
        self._last_read |= dict.fromkeys(self._graph_outputs, len(nodes))

    def segment(self, start: int, stop: int) -> Segment:
        """The nodes from `start` up to `stop`, with the constant ones that they need."""
        inside = self._inside(start, stop)
        behind = self._constants_behind(inside)
        used = sorted(inside | behind)
        read = {name for index in used for name in self._reads[index]}
        made = {name for index in used for name in self._nodes[index].output if name}
        constants = self._stored | {name for index in behind for name in self._nodes[index].output}
        activations = read - made - self._stored
        return Segment(
            inputs=tuple(sorted(activations)),
            outputs=tuple(sorted(self._given_out(made, stop))),
            constants=frozenset(read & constants),
            released=frozenset(name for name in activations | made if self._last_read.get(name, -1) < stop),
            nodes=tuple(self._nodes[index] for index in used),
        )

    def _inside(self, start: int, stop: int) -> set[int]:
        """The nodes that aren't constant; the last segment also makes the model's constant outputs."""
        inside = {index for index in range(start, stop) if index not in self._constant}
        if stop == len(self._nodes):
            inside |= {self._constant_maker[name] for name in self._graph_outputs if name in self._constant_maker}
        return inside

    def _given_out(self, made: set[str], stop: int) -> set[str]:
        """What others need of what a segment makes; constants are made again where they are read."""
        later = {name for name in made if name in self._asked or self._last_read.get(name, -1) >= stop}
        return later if stop == len(self._nodes) else later - self._constant_maker.keys()

    def _constants_behind(self, inside: set[int]) -> set[int]:
        """The constant nodes that these need, one behind the other."""
        found: set[int] = set()
        frontier = list(inside)
        while frontier:
            reads = self._reads[frontier.pop()]
            new = {self._constant_maker[name] for name in reads if name in self._constant_maker} - found
            found |= new
            frontier += new
        return found - inside


def _add_stored(graph: GraphProto, source: GraphProto, names: frozenset[str]) -> None:
    """Add the stored tensors of these names, in the order that the source has them in."""
    graph.initializer.extend(tensor for tensor in source.initializer if tensor.name in names)
    graph.sparse_initializer.extend(sparse for sparse in source.sparse_initializer if sparse.values.name in names)
