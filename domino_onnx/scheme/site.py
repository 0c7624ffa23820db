"""What a model holds that can be pruned, and what can't, with the reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from domino_onnx.scheme.grid import Grid
from domino_onnx.scheme.key import WeightKey
from domino_onnx.scheme.layout import WeightLayout
from domino_onnx.scheme.nm import NMScheme

__all__ = ["Inventory", "Site", "Skip"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One prunable weight with its consumers and layout.

    Attributes
    ----------
    key
        The stored tensor: an initializer, or the output of a Constant node.
    name
        The first consumer's node name, or its operator and position where it has none.
    op
        Operator type of the consumers.
    consumers
        Labels of all nodes that read the weight.
    grid
        How its values are stored.
    schemes
        The schemes this site may get, densest first.
    zeros
        Zeros in the tensor as it was read.
    holds
        The sparsest scheme of the usual ones that the tensor obeys already, None if it is dense.
    macs
        Multiply-accumulates of one inference over all consumers, None where shapes are unknown.
    outputs
        Output channels of a Conv, of all its groups; rows or columns of the product of a matrix.
    conv_groups
        The `group` of the convolutions that read it, the largest where they differ; 1 for all others.
    nested
        Whether a consumer stands in the body of an If, Loop or Scan.
    operand
        The input of its consumers at which it stands, the first where they differ: 0 is the left side of a product.
    """

    key: WeightKey
    name: str
    op: str
    layout: WeightLayout
    grid: Grid
    consumers: tuple[str, ...]
    schemes: tuple[NMScheme, ...]
    zeros: int = 0
    holds: NMScheme | None = None
    macs: int | None = None
    outputs: int = 0
    conv_groups: int = 1
    nested: bool = False
    operand: int = 1

    @property
    def params(self) -> int:
        """Number of weights."""
        return self.layout.size

    @property
    def dtype(self) -> str:
        """What it is stored in: ``"float32"``, ``"int8"``, ..."""
        return self.grid.dtype

    @property
    def learns(self) -> bool:
        """Whether a gradient can move it: integers have none."""
        return self.grid.scale is None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """A weight that stays as it is, and why.

    `counted` is False for operators outside Conv, ConvTranspose, Gemm and MatMul: those are listed so that nothing is
    silent, but the model's sparsity doesn't count them.
    """

    key: WeightKey
    name: str
    op: str
    shape: tuple[int, ...]
    params: int
    reason: str
    zeros: int = 0
    macs: int | None = None
    counted: bool = True


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """Every weight of a model, once: sites and skips in file order, and what a user should know about them."""

    sites: tuple[Site, ...]
    skips: tuple[Skip, ...]
    notes: tuple[str, ...] = ()

    @property
    def counted(self) -> tuple[Site | Skip, ...]:
        """All Conv, ConvTranspose, Gemm and MatMul weights, pruned or not."""
        return (*self.sites, *(skip for skip in self.skips if skip.counted))

    @property
    def params(self) -> int:
        """Weights that the model's sparsity is counted over."""
        return sum(weight.params for weight in self.counted)

    @property
    def macs(self) -> int | None:
        """MACs of one inference over the counted weights; None if those of any are unknown."""
        return _sum_or_none(weight.macs for weight in self.counted)

    @property
    def zeros(self) -> int:
        """Zeros among the counted weights as they were read."""
        return sum(weight.zeros for weight in self.counted)

    def site(self, key: WeightKey) -> Site | None:
        """The site of this weight, None if it has none."""
        return next((site for site in self.sites if site.key == key), None)


def _sum_or_none(values: Iterable[int | None]) -> int | None:
    total = 0
    for value in values:
        if value is None:
            return None
        total += value
    return total
