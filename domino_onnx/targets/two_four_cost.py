"""What TensorRT's 2:4 rule would cost weights that were pruned without it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from domino_onnx.scheme import Site
from domino_onnx.targets.four_counts import count_fours, legal_energy
from domino_onnx.targets.tensorrt import refusal

__all__ = ["TwoFourCost"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TwoFourCost:
    """Counted over the pruned weights of a model.

    Attributes
    ----------
    eligible, broken
        Pruned weights that sparse kernels could run, and those of them that break the rule.
    lost
        The share of their sum of squares that the broken weights would lose if the two largest of each four were kept,
        0 to 1.
    """

    eligible: int
    broken: int
    lost: float

    @classmethod
    def of(cls, pruned: Iterable[tuple[Site, NDArray[np.generic]]]) -> TwoFourCost:
        """Count weights, each given in its stored shape."""
        eligible, broken, held, whole = 0, 0, 0.0, 0.0
        for site, weight in pruned:  # one at a time: not all of them fit into memory
            if refusal(site) is not None:
                continue
            eligible += 1
            if not count_fours(weight, site.layout).is_legal:
                energy, all_energy = legal_energy(site.numbers.floats(weight), site.layout)
                broken, held, whole = broken + 1, held + energy, whole + all_energy
        return cls(eligible=eligible, broken=broken, lost=1 - held / whole if whole else 0.0)

    def in_words(self) -> str:
        """For people; nothing to say where no weight breaks the rule."""
        if not self.broken:
            return ""
        return (
            f"{self.broken} of the {self.eligible} pruned weights that its sparse kernels could run are not 2:4; "
            f"the target tensorrt makes all 2:4 and changes these weights by at most {self.lost:.1%} (squared norm)"
        )
