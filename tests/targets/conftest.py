"""Judges in plain loops, which share nothing with the code that they judge."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from domino_onnx.scheme import NMScheme, Site, StoredNumbers, WeightKey, WeightLayout


def offences(weight: np.ndarray[Any, Any], axis: int) -> list[tuple[int, ...]]:
    """The first index of every aligned four along `axis` with more than two non-zeros, other axes in C order."""
    others = [range(size) for place, size in enumerate(weight.shape) if place != axis]
    found = []
    for rest in itertools.product(*others):
        for start in range(0, weight.shape[axis], 4):
            places = [
                (*rest[:axis], start + offset, *rest[axis:])
                for offset in range(4)
                if start + offset < weight.shape[axis]
            ]
            if sum(float(weight[place]) != 0 for place in places) > 2:
                found.append(places[0])
    return found


@pytest.fixture
def make_site() -> Any:
    def make(**changes: Any) -> Site:
        shape = changes.pop("shape", (32, 32, 3, 3))
        fields: dict[str, Any] = {
            "key": WeightKey("w"),
            "name": "conv",
            "op": "Conv",
            "layout": WeightLayout.conv(shape),
            "numbers": StoredNumbers("float32"),
            "consumers": ("conv",),
            "schemes": tuple(NMScheme(n, 16) for n in (16, 8, 4, 2, 1)),
            "outputs": shape[0],
        }
        return Site(**{**fields, **changes})

    return make
