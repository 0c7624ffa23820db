"""What legality would cost, in words."""

from __future__ import annotations

import pytest

from domino_onnx.targets import TwoFourCost


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (0, ""),
        (
            1,
            "1 of the 3 pruned weights that its sparse kernels could run is not 2:4; the target tensorrt makes all "
            "2:4, which takes at most 1.4 % of the sum of squares of that weight",
        ),
        (
            2,
            "2 of the 3 pruned weights that its sparse kernels could run are not 2:4; the target tensorrt makes all "
            "2:4, which takes at most 1.4 % of the sum of squares of these weights",
        ),
    ],
)
def test_one_weight_and_several_are_told_in_grammar(broken: int, said: str) -> None:
    assert TwoFourCost(eligible=3, broken=broken, lost=0.014).in_words() == said


@pytest.mark.parametrize("lost", [0.0, 1e-9, 0.0004])
def test_next_to_nothing_is_told_as_a_bound(lost: float) -> None:
    said = TwoFourCost(eligible=3, broken=1, lost=lost).in_words()
    assert said.endswith("which takes less than 0.1 % of the sum of squares of that weight")
