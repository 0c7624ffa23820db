"""Meanings made by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from domino_onnx.outputs import OutputKind, OutputMeaning, Survey

Array = np.ndarray[Any, np.dtype[Any]]
Meant = Callable[..., dict[str, OutputMeaning]]


@pytest.fixture
def meant() -> Meant:
    """`meant(batches, y="scores")`: what outputs mean if these kinds are given, and the data decide the rest."""

    def survey(batches: Sequence[dict[str, Array]], **kinds: OutputKind) -> dict[str, OutputMeaning]:
        found = Survey(len(batches), kinds)
        for batch in batches:
            found.add(batch, len(next(iter(batch.values()))))
        return found.meanings()

    return survey
