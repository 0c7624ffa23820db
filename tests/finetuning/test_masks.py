"""Masks that follow the weights: the same as numpy's."""

from __future__ import annotations

import numpy as np
import pytest

from domino_onnx.scheme import NMScheme, WeightLayout
from domino_onnx.solve import magnitude_mask

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("scheme", [NMScheme(2, 4), NMScheme(4, 16), NMScheme(4, 16, True), NMScheme(8, 32, True)])
def test_a_moving_mask_is_the_magnitude_mask(scheme: NMScheme) -> None:
    from domino_onnx.finetuning.masks import MovingMask, WeightGroups

    weight = np.random.default_rng(0).standard_normal((16, 64, 3, 3)).astype(np.float32)
    layout = WeightLayout.conv(weight.shape)
    moving = MovingMask(WeightGroups(layout=layout, scheme=scheme), torch.device("cpu"))
    kept = moving(torch.from_numpy(weight)).numpy()
    assert (kept.astype(bool) == magnitude_mask(weight, layout, scheme)).all()


def test_a_group_of_zeros_keeps_two_of_each_four_all_the_same() -> None:
    from domino_onnx.finetuning.masks import MovingMask, WeightGroups

    moving = MovingMask(
        WeightGroups(layout=WeightLayout((1, 16), 1), scheme=NMScheme(8, 16, True)), torch.device("cpu")
    )
    assert moving(torch.zeros(1, 16)).reshape(4, 4).sum(1).tolist() == [2, 2, 2, 2]
