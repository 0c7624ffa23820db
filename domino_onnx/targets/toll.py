"""What TensorRT's rule would take from weights that were pruned without it."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from domino_onnx.scheme import Site
from domino_onnx.targets.fours import legal_energy, read_fours
from domino_onnx.targets.tensorrt import refusal

__all__ = ["Toll"]


@dataclasses.dataclass(slots=True)
class Toll:
    """Counted weight by weight.

    Attributes
    ----------
    eligible, broken
        Pruned weights that sparse kernels could take, and those of them that break the rule.
    held, whole
        Of the broken ones: the sum of squares that the two largest of each four hold, and that of all weights.
    """

    eligible: int = 0
    broken: int = 0
    held: float = 0.0
    whole: float = 0.0

    def add(self, site: Site, weight: NDArray[np.generic]) -> None:
        """Count a weight, given in its stored shape, as it was pruned."""
        if refusal(site) is not None:
            return
        self.eligible += 1
        if not read_fours(weight, site.layout).is_legal:
            held, whole = legal_energy(site.grid.floats(weight), site.layout)
            self.broken, self.held, self.whole = self.broken + 1, self.held + held, self.whole + whole

    @property
    def lost(self) -> float:
        """The share of their squares that the broken weights would lose if two of each four were kept: 0 to 1."""
        return 1 - self.held / self.whole if self.whole else 0.0

    def in_words(self) -> str:
        """For people; nothing to say where no weight breaks the rule."""
        if not self.broken:
            return ""
        count = f"{self.broken} of the {self.eligible} pruned weights that its sparse kernels could run are not 2:4"
        return f"{count}; --target tensorrt makes all legal, for at most {self.lost:.1%} of what these hold, in squares"
