"""What a file says of how its weights are stored: compact JSON under one key of the model's `metadata_props`."""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated, Any, Literal

import msgspec

from domino_onnx import codec
from domino_onnx.errors import ModelError
from domino_onnx.storage.packing import Grouping

__all__ = ["STORAGE_KEY", "FileForm", "Form", "Storage", "StoredWeight"]

STORAGE_KEY = "domino_onnx.storage"
VERSION = 1
Form = Literal["dense", "packed"]
"""How weights are written: with zeros in place, or packed without them."""
FileForm = Literal["dense", "packed", "sparse"]
"""How weights are stored in a file that was read; ``sparse`` are ONNX's sparse tensors, which aren't written."""
_MAX_RANK = 64
_MOST_VALUES = 2**62
_WHAT = "the record of how weights are stored"


class _Weight(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A weight in the text."""

    name: str
    shape: Annotated[tuple[Annotated[int, msgspec.Meta(ge=1)], ...], msgspec.Meta(min_length=1, max_length=_MAX_RANK)]
    axis: int | None = None
    m: int | None = None
    digits: int | None = None

    def __post_init__(self) -> None:
        if math.prod(self.shape) >= _MOST_VALUES:
            raise ValueError(f"no tensor has the shape {codec.shown(self.shape)}")
        if self.m is not None and (self.axis is None or self.digits is None):
            raise ValueError("'m' goes together with 'axis' and 'digits'")

    @property
    def grouping(self) -> Grouping | None:
        """Of a packed weight; None for a bitmask."""
        if self.m is None or self.axis is None or self.digits is None:
            return None
        return Grouping(self.axis, self.m, self.digits)


class _Document(msgspec.Struct, frozen=True, kw_only=True):
    """The record's text. Keys that aren't known are left alone: a newer version may have added them."""

    version: int
    form: Literal["packed"]
    prefix: str = ""
    weights: tuple[_Weight, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StoredWeight:
    """One packed weight.

    Attributes
    ----------
    name
        The initializer that it makes, or the output of the Constant node.
    grouping
        None for a bitmask.
    """

    name: str
    shape: tuple[int, ...]
    grouping: Grouping | None = None

    def to_document(self) -> dict[str, Any]:
        """As JSON values."""
        document: dict[str, Any] = codec.plain(self.text)
        return document

    @property
    def text(self) -> _Weight:
        """As the record's text has it."""
        grouping = {} if self.grouping is None else dataclasses.asdict(self.grouping)
        return _Weight(name=self.name, shape=self.shape, **grouping)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """The packed weights of a file; the parts of number `k` have names that begin with ``{prefix}{k}.``."""

    weights: tuple[StoredWeight, ...]
    prefix: str = ""

    def to_json(self) -> str:
        """Compact JSON; the same record gives the same text."""
        document = _Document(
            version=VERSION, form="packed", prefix=self.prefix, weights=tuple(weight.text for weight in self.weights)
        )
        return codec.encode(document)

    @classmethod
    def from_json(cls, text: str) -> Storage:
        """Read `to_json`'s text; ModelError if it isn't a record that this version knows."""
        plain = codec.parse(text, what=_WHAT, error=ModelError)
        codec.require_version(plain, "version", VERSION, what=_WHAT, error=ModelError)
        document = codec.convert(plain, _Document, what=_WHAT, error=ModelError)
        weights = tuple(
            StoredWeight(name=weight.name, shape=weight.shape, grouping=weight.grouping) for weight in document.weights
        )
        return cls(weights=weights, prefix=document.prefix)
