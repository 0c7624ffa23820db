"""Inventories of small models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from onnx import ModelProto

from domino_onnx.graph import Selection, infer_shapes, read_model, take_inventory
from domino_onnx.scheme import Inventory, SchemePool

Take = Callable[..., Inventory]


@pytest.fixture
def inventory(save: Callable[..., Path]) -> Take:
    """`inventory(model)`: read it from a file and list its weights; shapes are inferred with `shapes=...` only."""

    def take(
        model: ModelProto | Path,
        *,
        pool: SchemePool | None = None,
        shapes: dict[str, tuple[int, ...]] | None = None,
        include: tuple[str, ...] = (),
        exclude: tuple[str, ...] = (),
        check: bool = True,
    ) -> Inventory:
        file = read_model(save(model, check=check) if isinstance(model, ModelProto) else model)
        table = {} if shapes is None else infer_shapes(file.proto, shapes)
        return take_inventory(file, pool or SchemePool.fixed_m(), table, Selection(include=include, exclude=exclude))

    return take
