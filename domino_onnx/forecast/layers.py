"""The places in a model that a search and a refit stop at, with the sizes that decide what they cost."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from domino_onnx.forecast.backward import SAME_NUMBERS, kept_for_backward
from domino_onnx.graph import LinearUse, OnnxFile, Segment, ShapeTable, cut, linear_uses
from domino_onnx.reconstruction.unfold import LinearView
from domino_onnx.scheme import Inventory, Site

__all__ = ["Layer", "Walk", "walk_through"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One use of a site's weight.

    Attributes
    ----------
    blocks, outputs, features
        The weight as a matrix.
    positions
        Rows of features that one sample gives.
    read
        Numbers of one sample that go in.
    repeated
        Whether a layer before uses the same weight, which is solved once.
    clipped
        Whether the outputs are clipped, so that the refit goes round a few times.
    """

    site: Site
    blocks: int
    outputs: int
    features: int
    positions: int
    read: int
    repeated: bool
    clipped: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """A model as a search and a refit go through it.

    Attributes
    ----------
    layers
        In the order in which data reach them.
    live
        Numbers of one sample that are carried on, at the place where they are most.
    piece
        Numbers of one sample that a piece between two layers makes, at the place where they are most.
    made
        Numbers of one sample that all pieces make.
    trained
        Numbers of one sample that training keeps for the way back.
    """

    layers: tuple[Layer, ...]
    live: int
    piece: int
    made: int
    trained: int


def walk_through(file: OnnxFile, inventory: Inventory, table: ShapeTable) -> Walk:
    """The way through a model, from its graph and the shapes of one sample; nothing is run."""
    uses = linear_uses(file, inventory)
    found: list[tuple[LinearUse, Layer]] = []
    for site in inventory.sites:
        for place, use in enumerate(uses.get(site.key, ())):
            layer = _layer(site, use, table, repeated=place > 0)
            if layer is not None:
                found.append((use, layer))
    found.sort(key=lambda pair: pair[0].index)
    segments = cut(file, [use.index for use, _ in found])
    made = [_made(segment, table) for segment in segments]
    layers = tuple(layer for _, layer in found)
    live, trained = _most_live(segments, table), kept_for_backward(segments, table)
    return Walk(layers=layers, live=live, piece=max(made), made=sum(made), trained=trained)


def _layer(site: Site, use: LinearUse, table: ShapeTable, *, repeated: bool) -> Layer | None:
    """None for a use that can't be unfolded."""
    try:
        view = LinearView(use)
    except ValueError:
        return None
    return Layer(
        site=site,
        blocks=view.blocks,
        outputs=view.outputs,
        features=view.features,
        positions=max(_size(table, use.output) // max(view.blocks * view.outputs, 1), 1),
        read=_size(table, use.data),
        repeated=repeated,
        clipped=use.clipped is not None,
    )


def _made(segment: Segment, table: ShapeTable) -> int:
    """Numbers of one sample that a segment makes; what follows from stored tensors alone is made once."""
    made = (name for node in segment.nodes if node.op_type not in SAME_NUMBERS for name in node.output)
    return sum(_size(table, name) for name in made if name not in segment.constants)


def _most_live(segments: Sequence[Segment], table: ShapeTable) -> int:
    """Numbers of one sample that pass between two segments, at the place where they are most."""
    live: set[str] = set()
    most = 0
    for segment in segments:
        live = (live | set(segment.outputs)) - segment.released
        most = max(most, sum(_size(table, name) for name in live))
    return most


def _size(table: ShapeTable, name: str) -> int:
    """Numbers in a tensor of the main graph; axes that aren't known count once."""
    return math.prod(size or 1 for size in table.get(((), name), (0,)))
