"""What a model holds that can be pruned, and what can't, with the reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from domino_onnx.scheme.key import WeightKey
from domino_onnx.scheme.layout import WeightLayout
from domino_onnx.scheme.nm import NMScheme
from domino_onnx.scheme.stored_numbers import StoredNumbers

__all__ = ["NO_SHAPES_IN_FUNCTIONS", "Inventory", "Site", "Skip", "macs_saved"]

NO_SHAPES_IN_FUNCTIONS = (
    "no shapes are inferred inside local functions: inline them (onnx.inliner.inline_local_functions)"
)
"""Why MACs are unknown whatever shapes are given, and what to do."""


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
    nodes
        Of each consumer its own name, "" if it has none, and that of its first output. None for one in a subgraph or
        local function: no runtime promises what it calls that.
    numbers
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
    in_function
        Whether a consumer is in a local function.
    nested
        Whether a consumer is in the body of an If, Loop or Scan.
    operand
        The input of its consumers that reads it, the first where they differ: 0 is the left side of a product.
    """

    key: WeightKey
    name: str
    op: str
    layout: WeightLayout
    numbers: StoredNumbers
    consumers: tuple[str, ...]
    schemes: tuple[NMScheme, ...]
    zeros: int = 0
    holds: NMScheme | None = None
    macs: int | None = None
    outputs: int = 0
    conv_groups: int = 1
    in_function: bool = False
    nested: bool = False
    operand: int = 1
    nodes: tuple[tuple[str, str] | None, ...] = ()

    @property
    def params(self) -> int:
        """Number of weights."""
        return self.layout.size

    @property
    def dtype(self) -> str:
        """What it is stored in: ``"float32"``, ``"int8"``, ..."""
        return self.numbers.dtype

    @property
    def label(self) -> str:
        """Weight and node, as all reports and messages name it."""
        return self.key.read_by(self.name)

    @property
    def learns(self) -> bool:
        """Whether a gradient can move it: integers have none."""
        return self.numbers.scale is None

    def zeros_under(self, scheme: NMScheme | None) -> int:
        """Zeros planned: what the scheme prunes. Dense, and without a scheme, those that were read."""
        if scheme is None or scheme.is_dense:
            return self.zeros
        return self.params - scheme.kept(self.params)

    @property
    def choices(self) -> tuple[NMScheme, ...]:
        """Dense, and the schemes that give more zeros than were read; densest first, so zeros never get fewer."""
        dense, *sparse = self.schemes
        return (dense, *(scheme for scheme in sparse if self.zeros_under(scheme) > self.zeros))

    @property
    def sparsest(self) -> NMScheme:
        """The scheme with the most zeros: dense if the site was read with more than any scheme gives."""
        return self.choices[-1]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """A weight that stays as it is, and why.

    `counted` is False for tensors of ONNX Runtime's own operators that aren't known to be weights, as embeddings are:
    those are listed so that nothing is silent, but the model's sparsity doesn't count them. `by_options` is True where
    other options would make a site of it: `include`, `exclude`, or a target with the schemes that it was given.
    `in_function` is as a site's. `quantised` is True where integers are stored, or floats that become integers on the
    way.
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
    by_options: bool = False
    in_function: bool = False
    quantised: bool = False

    @property
    def label(self) -> str:
        """Weight and node, as all reports and messages name it."""
        return self.key.read_by(self.name)

    def zeros_under(self, scheme: NMScheme | None) -> int:  # noqa: ARG002 - the same question as a site answers
        """Zeros planned: those that were read, since no scheme changes a skipped weight."""
        return self.zeros


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """Every weight of a model, once: sites and skips in file order, and what a user should know about them."""

    sites: tuple[Site, ...]
    skips: tuple[Skip, ...]
    notes: tuple[str, ...] = ()

    @property
    def counted(self) -> tuple[Site | Skip, ...]:
        """All weights of Conv, ConvTranspose, Gemm, MatMul and of operators that contain one, pruned or not."""
        return (*self.sites, *(skip for skip in self.skips if skip.counted))

    @property
    def params(self) -> int:
        """Weights that the model's sparsity is counted over."""
        return sum(weight.params for weight in self.counted)

    @property
    def macs(self) -> int | None:
        """MACs of one inference over the counted weights; None if those of any are unknown."""
        return _sum_or_none(weight.macs for weight in self.counted)

    def site(self, key: WeightKey) -> Site | None:
        """The site of this weight, None if it has none."""
        return next((site for site in self.sites if site.key == key), None)

    @property
    def sparsest(self) -> dict[WeightKey, NMScheme]:
        """For each site, the scheme with the most zeros. No other choice saves more weights or more MACs."""
        return {site.key: site.sparsest for site in self.sites}

    def planned_zeros(self, schemes: Mapping[WeightKey, NMScheme]) -> dict[WeightKey, int]:
        """Zeros of each counted weight under `schemes`; sites without one are dense."""
        return {weight.key: weight.zeros_under(schemes.get(weight.key)) for weight in self.counted}

    def sparsity(self, schemes: Mapping[WeightKey, NMScheme]) -> float:
        """Share of the counted weights that is zero under `schemes`, 0 to 1; sites without one are dense."""
        return self.share_of_zeros(self.planned_zeros(schemes))

    def flops_saved(self, schemes: Mapping[WeightKey, NMScheme]) -> float | None:
        """Share of the MACs that the zeros under `schemes` save, 0 to 1; None where MACs are unknown, or none."""
        return self.share_of_macs(self.planned_zeros(schemes))

    def share_of_zeros(self, zeros: Mapping[WeightKey, int]) -> float:
        """Share of the counted weights that is zero, from the zeros of each of them."""
        return sum(zeros[weight.key] for weight in self.counted) / self.params if self.params else 0.0

    def share_of_macs(self, zeros: Mapping[WeightKey, int]) -> float | None:
        """Share of the MACs saved, from the zeros of each counted weight; None where MACs are unknown, or none."""
        saved = _sum_or_none(macs_saved(weight, zeros[weight.key]) for weight in self.counted)
        return saved / self.macs if saved is not None and self.macs else None


def macs_saved(weight: Site | Skip, zeros: int) -> int | None:
    """MACs that `zeros` zeros of a weight save: their share of it, rounded down, so that no budget is missed."""
    if weight.macs is None:
        return None
    return weight.macs * zeros // weight.params if weight.params else 0


def _sum_or_none(values: Iterable[int | None]) -> int | None:
    total = 0
    for value in values:
        if value is None:
            return None
        total += value
    return total
