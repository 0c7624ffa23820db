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
        able = [(site, weight) for site, weight in pruned if refusal(site) is None]
        broken = [(site, weight) for site, weight in able if not count_fours(weight, site.layout).is_legal]
        energies = [legal_energy(site.numbers.floats(weight), site.layout) for site, weight in broken]
        held, whole = (sum(each) for each in zip(*energies, strict=True)) if energies else (0.0, 0.0)
        return cls(eligible=len(able), broken=len(broken), lost=1 - held / whole if whole else 0.0)

    def in_words(self) -> str:
        """For people; nothing to say where no weight breaks the rule."""
        if not self.broken:
            return ""
        return (
            f"{self.broken} of the {self.eligible} pruned weights that its sparse kernels could run are not 2:4; "
            f"the target tensorrt makes all 2:4 and changes these weights by at most {self.lost:.1%} (squared norm)"
        )
