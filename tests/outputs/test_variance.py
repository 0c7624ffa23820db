"""How much outputs of every rank vary: numpy is the oracle."""

from __future__ import annotations

import numpy as np
import pytest

from domino_onnx.outputs.variance import variances


@pytest.mark.parametrize("shape", [(6,), (6, 3, 2), (6, 3, 2, 2)])
def test_outputs_that_are_no_table_vary_around_one_mean(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).normal(5, 2, shape)
    found = variances([{"y": values[:2]}, {"y": values[2:]}])["y"]
    assert found == pytest.approx(values.var(), rel=1e-6)
