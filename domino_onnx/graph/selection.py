"""Which weights does a user want pruned?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from domino_onnx.errors import PlanError
from domino_onnx.scheme import WeightKey

__all__ = ["Selection"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which weights a user wants pruned: shell patterns over weight and node names; no `include` means all.

    `pruned` are the weights that a plan or the file's manifest prunes: they are sites whatever they hold.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    pruned: frozenset[WeightKey] = frozenset()

    def require_matches(self, weights: Iterable[Sequence[str]]) -> None:
        """Raise PlanError for a pattern that matches none of the names: a typo would prune what was to stay dense."""
        names = [name for known in weights for name in known]
        for field, patterns in (("include", self.include), ("exclude", self.exclude)):
            for pattern in patterns:
                if not any(fnmatchcase(name, pattern) for name in names):
                    raise PlanError(
                        f"--{field} {pattern!r} matches no weight and no node; domino-onnx inspect lists them"
                    )

    def names_explicitly(self, key: WeightKey, names: Sequence[str]) -> bool:
        """Whether a plan or `include` names a weight, which is known by `names`: it is pruned whatever it holds."""
        return key in self.pruned or self._includes(names)

    def refuses(self, names: Sequence[str]) -> str | None:
        """Why a weight known by `names` is left out, None if it isn't."""
        for pattern in self.exclude:
            if any(fnmatchcase(name, pattern) for name in names):
                return f"excluded by {pattern!r}"
        if self.include and not self._includes(names):
            return "matches none of the patterns to include"
        return None

    def _includes(self, names: Sequence[str]) -> bool:
        return any(fnmatchcase(name, pattern) for name in names for pattern in self.include)
