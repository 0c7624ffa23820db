"""N:M schemes and the pools that a search chooses from."""

from __future__ import annotations

import dataclasses
import operator
import re
from collections.abc import Iterable
from fractions import Fraction
from itertools import groupby
from numbers import Integral

from domino_onnx.errors import PlanError

__all__ = ["NMScheme", "SchemePool"]

_MIN_M = 4
"""The smallest group a site falls back to when its reduction axis isn't divisible by the pool's M."""

_SHOWN = 60
"""The most characters of what was given that a message repeats."""


@dataclasses.dataclass(frozen=True, slots=True)
class NMScheme:
    """Keep `n` of every `m` consecutive weights along the reduction axis; `n == m` is dense.

    Attributes
    ----------
    two_of_four
        Whether at most two of each aligned four consecutive weights are kept as well, which sparse tensor cores want.
        A plan doesn't write it down: it follows from the plan's target (`domino_onnx.targets`).

    Raises
    ------
    PlanError
        If not ``1 <= n <= m``, both whole; or if two of four can't be kept because M is no multiple of 4 or N is above
        M/2.
    """

    n: int
    m: int
    two_of_four: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.n, Integral) or not isinstance(self.m, Integral):
            raise PlanError(f"a scheme of {self.n!r} and {self.m!r} is impossible: N and M are whole numbers")
        for name in ("n", "m"):  # numpy's own integers as well
            object.__setattr__(self, name, operator.index(getattr(self, name)))
        if not 1 <= self.n <= self.m:
            raise PlanError(f"scheme {self.n}:{self.m} is impossible: N:M keeps N of every M weights, 1 <= N <= M")
        if self.two_of_four and (self.m % 4 or 2 * self.n > self.m):
            raise PlanError(f"scheme {self.n}:{self.m} can't keep at most two of each aligned four weights")

    @classmethod
    def parse(cls, text: str) -> NMScheme:
        """Read ``"2:4"``."""
        match = re.fullmatch(r"\s*(\d{1,6})\s*:\s*(\d{1,6})\s*", text)
        if match is None:
            raise PlanError(f"{text[:_SHOWN]!r} is not an N:M scheme; write for instance 2:4 (keep 2 of every 4)")
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
    """Each scheme once, densest first; of equal densities the smallest M first."""
    return tuple(sorted(set(schemes), key=lambda scheme: (-scheme.density, scheme.m)))


@dataclasses.dataclass(frozen=True, slots=True)
class SchemePool:
    """The schemes that sites may get, densest first; dense is one of them.

    Two families come from DominoSearch (section 3.1): M fixed with N a power of two, and N = 1 with M flexible.
    """

    schemes: tuple[NMScheme, ...]

    def __post_init__(self) -> None:
        if all(scheme.is_dense for scheme in self.schemes):
            raise PlanError("none of these schemes prunes anything: name one with N < M, for instance 2:4")

    @classmethod
    def of(cls, schemes: Iterable[NMScheme]) -> SchemePool:
        """Dense and these schemes; their M may differ.

        Raises
        ------
        PlanError
            If none of them prunes anything.
        """
        sparse = [scheme for scheme in schemes if not scheme.is_dense]
        if not sparse:
            raise PlanError("none of these schemes prunes anything: name one with N < M, for instance 2:4")
        group = max(scheme.m for scheme in sparse)
        return cls(_densest_first([NMScheme(group, group), *sparse]))

    @classmethod
    def parse(cls, text: str) -> SchemePool:
        """Read ``"2:4,1:4,2:16"``, the schemes between commas.

        The paper's pools for M up to 16 are ``"1:16,2:16,4:16,8:16"`` and ``"1:2,1:4,1:8,1:16"``.

        Raises
        ------
        PlanError
            Naming the entry that is wrong; or if none of them prunes anything.
        """
        entries = text.split(",")
        for place, entry in enumerate(entries, start=1):
            if not entry.strip():
                raise PlanError(
                    f"entry {place} of {len(entries)} in the pool {text[:_SHOWN]!r} is empty: "
                    "put one comma between schemes, for instance 2:4,1:4"
                )
        return cls.of([NMScheme.parse(entry) for entry in entries])

    @classmethod
    def fixed_m(cls, m: int = 16) -> SchemePool:
        """{1, 2, 4, ..., m}:m, the paper's pool for m = 16.

        Raises
        ------
        PlanError
            If `m` isn't a power of two of at least 4.
        """
        if m < _MIN_M or m & (m - 1):
            raise PlanError(
                f"M = {m} is not supported: give a power of two of at least {_MIN_M} (4, 8, 16, 32, ...), "
                "or name the schemes themselves: SchemePool.parse('3:12,6:12')"
            )
        return cls.of(NMScheme(1 << k, m) for k in range(m.bit_length()))

    @classmethod
    def fixed_n(cls, largest_m: int = 16) -> SchemePool:
        """Dense and 1:{2, 4, ..., largest_m}, the paper's pool with N fixed."""
        return cls.of(NMScheme(1, scheme.n) for scheme in cls.fixed_m(largest_m).schemes)

    @classmethod
    def single(cls, scheme: NMScheme) -> SchemePool:
        """Dense and one scheme."""
        return cls.of([scheme])

    def including(self, schemes: Iterable[NMScheme]) -> SchemePool:
        """The same pool and these schemes."""
        return SchemePool(_densest_first([*self.schemes, *schemes]))

    def __str__(self) -> str:
        return ",".join(map(str, self.schemes))

    @property
    def same_density(self) -> tuple[tuple[NMScheme, ...], ...]:
        """Schemes that prune and have one density, of which a site gets one; smallest M first."""
        sparse = (scheme for scheme in self.schemes if not scheme.is_dense)
        by_density = (tuple(equals) for _, equals in groupby(sparse, key=lambda scheme: scheme.density))
        return tuple(equals for equals in by_density if len(equals) > 1)

    @property
    def group_sizes(self) -> tuple[int, ...]:
        """Each M that a scheme of a site can have, smallest first; an axis that none of them divides stays dense."""
        sparse = [scheme for scheme in self.schemes if not scheme.is_dense]
        smaller = (_in_smaller_groups(scheme, 1 << k) for scheme in sparse for k in range(scheme.m.bit_length()))
        return tuple(sorted({scheme.m for scheme in (*sparse, *smaller) if scheme is not None}))

    def for_reduction(self, length: int) -> tuple[NMScheme, ...]:
        """The schemes a site with a reduction axis of `length` can have, one a density, densest first.

        A scheme whose M divides the axis is kept; of equal densities the one with the largest M, which
        constrains least. A density that none of these gives is carried over to the largest power of two below M that
        divides the axis, at least 4; one that would keep a fraction of a weight there drops out. Empty if only dense
        is left.
        """
        if length < 1:
            return ()
        whole = [scheme for scheme in self.schemes if length % scheme.m == 0]
        smaller = [fit for scheme in self.schemes if (fit := _in_smaller_groups(scheme, length)) is not None]
        by_density = {scheme.density: scheme for scheme in (NMScheme(1, 1), *smaller, *whole)}  # the last one stays
        return _densest_first(by_density.values()) if len(by_density) > 1 else ()


def _in_smaller_groups(scheme: NMScheme, length: int) -> NMScheme | None:
    """The same density with M the largest power of two below that divides `length`; None if there is none from 4 on."""
    m = min(length & -length, 1 << (scheme.m - 1).bit_length() >> 1)
    if m < _MIN_M or scheme.n * m % scheme.m:
        return None
    return NMScheme(scheme.n * m // scheme.m, m)
