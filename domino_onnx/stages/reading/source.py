"""A model as it was read, with its data: what every command starts from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from domino_onnx.errors import ModelError
from domino_onnx.graph import OnnxFile, Selection, ShapeTable, stored_tensors, take_inventory
from domino_onnx.scheme import Inventory, SchemePool, WeightKey
from domino_onnx.stages.reading.shapes import shapes_seen

if TYPE_CHECKING:
    from domino_onnx.data import Dataset, Split
    from domino_onnx.evaluate import Metric

__all__ = ["Source", "open_source"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A model file, its weights, and the data that came with it.

    Attributes
    ----------
    shapes
        Of the inputs that are known, by name.
    table
        Of all tensors whose shape could be found.
    pool
        The schemes that the sites of `inventory` may get.
    tensors
        Every stored tensor of the file.
    split
        Which samples teach and which judge; None without data to learn from.
    evaluation
        Samples to judge by alone, where there are none to learn from.
    metric
        The user's own, where one was given.
    drawn
        What each input was taken to be where samples were drawn; empty with real data.
    """

    file: OnnxFile
    shapes: Mapping[str, tuple[int, ...]]
    table: ShapeTable
    selection: Selection
    pool: SchemePool
    inventory: Inventory
    tensors: Mapping[WeightKey, TensorProto]
    split: Split | None = None
    evaluation: Dataset | None = None
    metric: Metric | None = None
    drawn: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """Of the model file."""
        return self.file.path

    def load(self, key: WeightKey) -> NDArray[np.generic]:
        """A stored tensor as the file has it.

        Raises
        ------
        ModelError
            If the file has none of this name.
        """
        if key not in self.tensors:
            raise ModelError(f"{self.path} has no tensor {str(key)!r}, which its manifest or plan names")
        return self.file.array(self.tensors[key])

    def with_pool(self, pool: SchemePool) -> Source:
        """The same file, with an inventory whose sites may get these schemes."""
        inventory = take_inventory(self.file, pool, self.table, self.selection)
        return dataclasses.replace(self, pool=pool, inventory=inventory)


def open_source(
    file: OnnxFile,
    *,
    pool: SchemePool,
    selection: Selection | None = None,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
    samples: Dataset | None = None,
    infers: bool = True,
    seed: int = 0,
) -> Source:
    """Take the inventory of a file.

    Parameters
    ----------
    input_shapes
        Of inputs with free axes. Those that are not named follow from the samples.
    samples
        Data that tell shapes; the model is run on one of them where inference doesn't reach.
    infers
        Whether to find shapes at all. Only MACs need them.

    Raises
    ------
    ModelError, DataError
        If the shapes or the data don't fit the model.
    """
    shapes = {**({} if samples is None else samples.shapes()), **(input_shapes or {})}
    table = shapes_seen(file, shapes, samples, seed=seed) if infers else {}
    chosen = selection or Selection()
    return Source(
        file=file,
        shapes=shapes,
        table=table,
        selection=chosen,
        pool=pool,
        inventory=take_inventory(file, pool, table, chosen),
        tensors=stored_tensors(file.proto),
    )
