"""N:M schemes and the pools that a search chooses from."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from fractions import Fraction

from domino_onnx.errors import PlanError

__all__ = ["MIN_M", "NMScheme", "SchemePool"]

MIN_M = 4
"""The smallest group a site falls back to when its reduction axis isn't divisible by the pool's M."""


@dataclasses.dataclass(frozen=True, slots=True)
class NMScheme:
    """Keep `n` of every `m` consecutive weights along the reduction axis; `n == m` is dense.

    Raises
    ------
    PlanError
        If not ``1 <= n <= m``.
    """

    n: int
    m: int

    def __post_init__(self) -> None:
        if not 1 <= self.n <= self.m:
            raise PlanError(f"scheme {self.n}:{self.m} is impossible: N:M keeps N of every M weights, 1 <= N <= M")

    @classmethod
    def parse(cls, text: str) -> NMScheme:
        """Read ``"2:4"``."""
        match = re.fullmatch(r"\s*(\d{1,6})\s*:\s*(\d{1,6})\s*", text)
        if match is None:
            raise PlanError(f"{text!r} is not an N:M scheme; write for instance 2:4 (keep 2 of every 4)")
        return cls(int(match[1]), int(match[2]))

    @property
    def density(self) -> Fraction:
        """Share of the weights that is kept, exact."""
        return Fraction(self.n, self.m)

    @property
    def is_dense(self) -> bool:
        """Whether nothing is pruned."""
        return self.n == self.m

    def kept(self, amount: int) -> int:
        """`amount` of weights or MACs that is left under this scheme, rounded up."""
        return -(-amount * self.n // self.m)

    def __str__(self) -> str:
        return f"{self.n}:{self.m}"


def _densest_first(schemes: Iterable[NMScheme]) -> tuple[NMScheme, ...]:
    """One scheme a density, densest first; of equal densities the largest M stays, which constrains least."""
    by_density = {scheme.density: scheme for scheme in sorted(schemes, key=lambda scheme: scheme.m)}
    return tuple(by_density[density] for density in sorted(by_density, reverse=True))


@dataclasses.dataclass(frozen=True, slots=True)
class SchemePool:
    """The schemes that sites may get, densest first.

    Two families come from DominoSearch (section 3.1): M fixed with N a power of two, and N = 1 with M flexible.
    """

    schemes: tuple[NMScheme, ...]

    @classmethod
    def fixed_m(cls, m: int = 16) -> SchemePool:
        """{1, 2, 4, ..., m}:m, the paper's pool for m = 16.

        Raises
        ------
        PlanError
            If `m` isn't a power of two of at least 4.
        """
        if m < MIN_M or m & (m - 1):
            raise PlanError(f"M = {m} is not supported: give a power of two of at least {MIN_M} (4, 8, 16, 32, ...)")
        return cls(_densest_first(NMScheme(1 << k, m) for k in range(m.bit_length())))

    @classmethod
    def fixed_n(cls, largest_m: int = 16) -> SchemePool:
        """Dense and 1:{2, 4, ..., largest_m}, the paper's pool with N fixed."""
        top = cls.fixed_m(largest_m).group
        return cls(_densest_first(NMScheme(1, 1 << k) for k in range(top.bit_length())))

    @classmethod
    def single(cls, scheme: NMScheme) -> SchemePool:
        """Dense and one scheme."""
        return cls(_densest_first([NMScheme(scheme.m, scheme.m), scheme]))

    @property
    def group(self) -> int:
        """The largest M of the pool."""
        return max(scheme.m for scheme in self.schemes)

    def for_reduction(self, length: int) -> tuple[NMScheme, ...]:
        """The schemes a site with a reduction axis of `length` can have, densest first; empty if there is none.

        A pool whose M doesn't divide the axis is carried over to the largest power of two below M that does, at
        least 4, density by density; densities that need a fraction of a weight drop out.
        """
        if _fitting_group(self.group, length) is None:
            return ()
        fitted = (_fit(scheme, length) for scheme in self.schemes)
        return _densest_first(scheme for scheme in fitted if scheme is not None)


def _fitting_group(m: int, length: int) -> int | None:
    """`m` itself, or the largest power of two below it, that divides `length`; None if that is below 4."""
    if length <= 0:
        return None
    if length % m == 0:
        return m
    power = 1 << (m.bit_length() - 1)
    while power >= MIN_M and (power >= m or length % power):
        power //= 2
    return power if power >= MIN_M else None


def _fit(scheme: NMScheme, length: int) -> NMScheme | None:
    """`scheme` on an axis of `length`: itself, the same density with a smaller M, or None."""
    if length % scheme.m == 0:
        return scheme
    smaller = _fitting_group(scheme.m, length)
    if smaller is None or scheme.n * smaller % scheme.m:
        return None
    return NMScheme(scheme.n * smaller // scheme.m, smaller)
