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
            "2:4 and changes that weight by at most 1.4% (squared norm)",
        ),
        (
            2,
            "2 of the 3 pruned weights that its sparse kernels could run are not 2:4; the target tensorrt makes all "
            "2:4 and changes these weights by at most 1.4% (squared norm)",
        ),
    ],
)
def test_one_weight_and_several_are_told_in_grammar(broken: int, said: str) -> None:
    assert TwoFourCost(eligible=3, broken=broken, lost=0.014).in_words() == said
