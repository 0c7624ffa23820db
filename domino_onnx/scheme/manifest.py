"""What a compressed file says of itself, and how a mask is hashed.

The manifest is compact JSON under one key of the model's `metadata_props`; docs/format.md specifies it.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from domino_onnx import codec
from domino_onnx.errors import CheckFailed
from domino_onnx.scheme.budget import Budget, require_distinct
from domino_onnx.scheme.key import WeightKey
from domino_onnx.scheme.layout import WeightLayout
from domino_onnx.scheme.nm import NMScheme

__all__ = [
    "MANIFEST_KEY",
    "NODE_KEY",
    "PREFIX",
    "Manifest",
    "ManifestEntry",
    "mask_sha256",
    "scales_sha256",
    "values_sha256",
]

PREFIX = "domino_onnx."
MANIFEST_KEY = PREFIX + "manifest"
NODE_KEY = PREFIX + "scheme"
VERSION = 1
_WHAT = "the manifest"
_DIGITS = 6
"""Of the share of zeros."""
_ROUNDED = 10.0**-_DIGITS


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ManifestEntry:
    """One weight that was given a scheme: where it is, how its groups run, which weights were kept, and their values.

    Attributes
    ----------
    values_sha256
        None in older manifests.
    scales_sha256
        None where nothing quantises the weight, and in older manifests.
    """

    key: WeightKey
    layout: WeightLayout
    scheme: NMScheme
    zeros: int
    mask_sha256: str
    values_sha256: str | None = None
    scales_sha256: str | None = None


class _Key(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A weight's name in the text."""

    name: str
    scope: tuple[str, ...] = ()

    @property
    def key(self) -> WeightKey:
        """What it is the text of."""
        return WeightKey(self.name, self.scope)


class _Entry(_Key, frozen=True, kw_only=True, omit_defaults=True):
    """An entry in the text; sizes are checked here, against each other."""

    n: int
    m: int
    axis: int
    conv_groups: int = 1
    shape: tuple[int, ...]
    sparsity: float | msgspec.UnsetType = msgspec.UNSET
    zeros: int
    mask_sha256: str
    values_sha256: str | None = None
    scales_sha256: str | None = None

    def __post_init__(self) -> None:
        layout, scheme = self.value.layout, self.value.scheme
        axes = 0 <= layout.axis < len(layout.shape) and min(layout.shape) >= 1
        parts = layout.conv_groups
        if not axes or not 1 <= parts <= layout.shape[layout.axis] or layout.shape[layout.axis] % (parts * scheme.m):
            raise ValueError(f"axis {layout.axis} of the shape {layout.shape} doesn't hold groups of {scheme.m}")
        if self.sparsity is not msgspec.UNSET and not abs(self.sparsity - self.zeros / layout.size) < _ROUNDED:
            raise ValueError(f"{self.zeros} zeros among {layout.size} values aren't a sparsity of {self.sparsity}")

    @classmethod
    def of(cls, entry: ManifestEntry) -> _Entry:
        """The text's form of an entry."""
        return cls(
            name=entry.key.name,
            scope=entry.key.scope,
            n=entry.scheme.n,
            m=entry.scheme.m,
            axis=entry.layout.axis,
            conv_groups=entry.layout.conv_groups,
            shape=entry.layout.shape,
            sparsity=round(entry.zeros / entry.layout.size, _DIGITS),
            zeros=entry.zeros,
            mask_sha256=entry.mask_sha256,
            values_sha256=entry.values_sha256,
            scales_sha256=entry.scales_sha256,
        )

    @property
    def value(self) -> ManifestEntry:
        """The entry that the text describes."""
        return ManifestEntry(
            key=self.key,
            layout=WeightLayout(self.shape, self.axis, self.conv_groups),
            scheme=NMScheme(self.n, self.m),
            zeros=self.zeros,
            mask_sha256=self.mask_sha256,
            values_sha256=self.values_sha256,
            scales_sha256=self.scales_sha256,
        )


class _Document(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The manifest's text. Keys that aren't known are left alone: a newer version may have added them."""

    version: int
    tool: str
    source_sha256: str
    strategy: str
    budgets: tuple[Budget, ...]
    target: str
    seed: int
    weights: tuple[_Entry, ...]
    also_changed: tuple[_Key, ...]
    precision: str = "keep"
    weight_type: str = "keep"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The claim that a file makes: `verify` re-proves it from the file alone.

    `also_changed` names the stored tensors, besides the weights, whose values are others than the source's: biases that
    were refitted. `precision` and `weight_type` say what was converted when the file was written: ``"fp16"``,
    ``"int8"``, or ``"keep"``.
    """

    tool: str
    source_sha256: str
    strategy: str
    budgets: tuple[Budget, ...]
    target: str
    seed: int
    entries: tuple[ManifestEntry, ...]
    also_changed: tuple[WeightKey, ...] = ()
    precision: str = "keep"
    weight_type: str = "keep"

    def to_json(self) -> str:
        """Compact JSON; the same manifest gives the same text."""
        document = _Document(
            version=VERSION,
            tool=self.tool,
            source_sha256=self.source_sha256,
            strategy=self.strategy,
            budgets=self.budgets,
            target=self.target,
            seed=self.seed,
            weights=tuple(map(_Entry.of, self.entries)),
            also_changed=tuple(_Key(name=key.name, scope=key.scope) for key in self.also_changed),
            precision=self.precision,
            weight_type=self.weight_type,
        )
        return codec.encode(document)

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read `to_json`'s text; CheckFailed if it isn't a manifest that this version knows."""
        plain = codec.parse(text, what=_WHAT, error=CheckFailed)
        codec.require_version(plain, "version", VERSION, what=_WHAT, error=CheckFailed)
        document = codec.convert(plain, _Document, what=_WHAT, error=CheckFailed)
        require_distinct(document.budgets, CheckFailed)
        return cls(
            tool=document.tool,
            source_sha256=document.source_sha256,
            strategy=document.strategy,
            budgets=document.budgets,
            target=document.target,
            seed=document.seed,
            entries=tuple(entry.value for entry in document.weights),
            also_changed=tuple(key.key for key in document.also_changed),
            precision=document.precision,
            weight_type=document.weight_type,
        )


def mask_sha256(kept: NDArray[np.bool_]) -> str:
    """SHA-256 of a mask in the stored tensor's C order, eight weights a byte, the first in the highest bit.

    Parameters
    ----------
    kept
        Boolean, in the stored tensor's shape; True where the weight is not zero.
    """
    return hashlib.sha256(np.packbits(np.ascontiguousarray(kept).reshape(-1)).tobytes()).hexdigest()


def values_sha256(values: NDArray[np.generic]) -> str:
    """SHA-256 of a weight's values: in the stored tensor's C order and type, the lowest byte of each first.

    Parameters
    ----------
    values
        As they are stored, of any type and shape.
    """
    return hashlib.sha256(_little_endian(values)).hexdigest()


def scales_sha256(scales: Sequence[NDArray[np.generic]]) -> str | None:
    """SHA-256 of what makes the values of a quantised weight besides its integers; None if nothing does.

    Parameters
    ----------
    scales
        Scales and zero points of the DequantizeLinear and QuantizeLinear between the weight and its readers, as they
        are stored; their bytes follow one another as those of `values_sha256` do.
    """
    if not scales:
        return None
    digest = hashlib.sha256()
    for values in scales:
        digest.update(_little_endian(values))
    return digest.hexdigest()


def _little_endian(values: NDArray[np.generic]) -> memoryview:
    flat = np.ascontiguousarray(values).reshape(-1)
    return flat.astype(flat.dtype.newbyteorder("<"), copy=False).view(np.uint8).data
