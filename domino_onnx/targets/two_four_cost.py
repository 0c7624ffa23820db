"""What TensorRT's 2:4 rule would cost weights that were pruned without it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from domino_onnx.percentage import percent
from domino_onnx.scheme import Site
from domino_onnx.targets.four_counts import is_legal, legal_energy
from domino_onnx.targets.tensorrt import refusal

__all__ = ["TwoFourCost", "TwoFourPart"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TwoFourPart:
    """Whether one weight breaks the rule, and of its sum of squares what the two largest of each four hold."""

    broken: bool
    held: float = 0.0
    whole: float = 0.0

    @classmethod
    def of(cls, site: Site, weight: NDArray[np.generic]) -> TwoFourPart | None:
        """Of a weight in its stored shape; None for one that sparse kernels can't run."""
        if refusal(site) is not None:
            return None
        if is_legal(weight, site.layout):
            return cls(broken=False)
        held, whole = legal_energy(site.numbers.floats(weight), site.layout)
        return cls(broken=True, held=held, whole=whole)


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
    def of(cls, parts: Iterable[TwoFourPart | None]) -> TwoFourCost:
        """The cost of weights from the parts that they have in it."""
        eligible, broken, held, whole = 0, 0, 0.0, 0.0
        for part in filter(None, parts):
            eligible += 1
            if part.broken:
                broken, held, whole = broken + 1, held + part.held, whole + part.whole
        return cls(eligible=eligible, broken=broken, lost=1 - held / whole if whole else 0.0)

    def in_words(self) -> str:
        """For people; nothing to say where no weight breaks the rule."""
        if not self.broken:
            return ""
        are, these = ("is", "that weight") if self.broken == 1 else ("are", "these weights")
        return (
            f"{self.broken} of the {self.eligible} pruned weights that its sparse kernels could run {are} not 2:4; "
            f"the target tensorrt makes all 2:4, which takes {_share(self.lost)} of the sum of squares of {these}"
        )


def _share(lost: float) -> str:
    """A bound; a share too small to be told in tenths of a percent isn't nothing."""
    return f"at most {percent(lost)}" if lost >= 0.0005 else f"less than {percent(0.001)}"
