"""One site while the search of `domino` lets it fall: its groups, and the current N."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from domino_onnx.scheme import NMScheme, Site
from domino_onnx.search.sorted_groups import SortedGroups
from domino_onnx.solve.mask import rank

__all__ = ["FallingSite"]

_Floats = NDArray[np.float32]


class FallingSite:
    """A site, its schemes, and how far it has fallen.

    Parameters
    ----------
    load
        Gives the weight as floats, in its stored shape.
    most
        How many of its groups vote at most, from all over the weight; None for all.
    signed
        Whether gradients are going to move the weights. Without, magnitudes are enough, unless the schemes want two of
        each four as well.
    """

    def __init__(
        self, site: Site, load: Callable[[], NDArray[np.generic]], *, signed: bool, most: int | None = None
    ) -> None:
        self.key = site.key
        self.site = site
        self.m = m = math.lcm(*(scheme.m for scheme in site.schemes))  # every M divides the axis, so this does too
        self.n = m
        self.scheme = site.schemes[0]
        self._pool: dict[Fraction, NMScheme] = {scheme.density: scheme for scheme in site.choices}
        self._lowest = int(site.sparsest.density * m)

        def groups() -> _Floats:
            weight, layout = load(), site.layout
            count = layout.size // m
            if most is None or signed or count <= most:
                return layout.to_groups(weight, m).astype(np.float32)
            return layout.groups_at(weight, m, np.arange(most) * count // most).astype(np.float32)

        two_of_four = any(scheme.two_of_four for scheme in site.schemes)
        self._groups: _SignedGroups | SortedGroups = (
            _SignedGroups(groups(), two_of_four=two_of_four) if signed or two_of_four else SortedGroups(groups)
        )

    @property
    def is_sparsest(self) -> bool:
        """Whether it has no scheme left to fall to."""
        return self.n <= self._lowest

    @property
    def zeros(self) -> int:
        """Zeros planned under the scheme that it has now."""
        return self.site.zeros_under(self.scheme)

    def masked_weight(self) -> _Floats:
        """The weight that takes part in the network, in its stored shape."""
        layout, groups = self.site.layout, self._groups
        if isinstance(groups, SortedGroups):
            raise TypeError("without signs there are no weights to mask")
        return layout.from_rows(groups.masked().reshape(layout.rows, layout.reduction))

    def vote_passes(self, vote: float) -> bool:
        """Whether at least the share `vote` of the groups has fewer than N weights above its threshold.

        A group has if the smallest weight inside its mask isn't above the threshold.
        """
        return bool(self._groups.below() >= vote * self._groups.count)

    def fall(self) -> NMScheme | None:
        """Lower N by one; the scheme that N : M now is, if the pool has it."""
        self.n -= 1
        self._groups.fall()
        scheme = self._pool.get(Fraction(self.n, self.m))
        if scheme is not None:
            self.scheme = scheme
        return scheme

    def update(self, lr: float, pull: float, gradient: _Floats | None) -> None:
        """One SGD step of the survivors: ``w -= lr * (gradient + pull * w)``."""
        if pull == 0.0 and gradient is None:
            return
        if isinstance(self._groups, SortedGroups):
            if not self.is_sparsest:  # what it votes is asked no more
                self._groups.pull(lr, pull)
            return
        moved = None if gradient is None else self.site.layout.to_groups(gradient, self.m)
        self._groups.update(lr, pull, moved)


class _SignedGroups:
    """The weights of all groups, (groups, M), and the N largest of each."""

    def __init__(self, groups: _Floats, *, two_of_four: bool) -> None:
        self.count, self._m = groups.shape
        self._n = self._m
        self._two_of_four = two_of_four
        self._groups = groups
        lower_half = np.sort(np.abs(groups), axis=1)[:, : self._m // 2]
        self._threshold: _Floats = lower_half.mean(axis=1, dtype=np.float32)
        self._rank()

    def below(self) -> int:
        """How many groups have an N-th largest magnitude that isn't above their threshold."""
        return int(np.count_nonzero(self._smallest_kept <= self._threshold))

    def fall(self) -> None:
        """Lower N by one."""
        self._n -= 1
        self._rank()

    def masked(self) -> _Floats:
        """The groups without what isn't among the N largest."""
        return self._groups * self._mask

    def update(self, lr: float, pull: float, gradient: _Floats | None) -> None:
        """Move the N largest by the gradient, in groups as well, and by the pull."""
        change = np.float32(pull) * self._groups
        if gradient is not None:
            change += gradient
        change *= np.float32(lr)
        change *= self._mask
        self._groups -= change
        self._rank()

    def _rank(self) -> None:
        """Choose the N largest of each group again, of equals the ones further left.

        Where the schemes want two of each four, so do the Ns between them, from M/2 on.
        """
        scheme = NMScheme(self._n, self._m, self._two_of_four and 2 * self._n <= self._m)
        self._mask, self._smallest_kept = rank(np.abs(self._groups), scheme)
