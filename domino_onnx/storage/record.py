"""What a file says of how its weights are stored: compact JSON under one key of the model's `metadata_props`."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any, Literal

from domino_onnx.errors import ModelError
from domino_onnx.storage.codec import Grouping

__all__ = ["STORAGE_KEY", "FileForm", "Form", "Storage", "StoredWeight"]

STORAGE_KEY = "domino_onnx.storage"
VERSION = 1
Form = Literal["dense", "packed"]
"""How weights are written: with zeros in place, or packed without them."""
FileForm = Literal["dense", "packed", "sparse"]
"""How weights are stored in a file that was read; ``sparse`` are ONNX's sparse tensors, which aren't written."""
_MAX_RANK = 64


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StoredWeight:
    """One packed weight.

    Attributes
    ----------
    name
        The initializer that it stands for, or the output of the Constant node.
    grouping
        None for a bitmask.
    """

    name: str
    shape: tuple[int, ...]
    grouping: Grouping | None = None

    def to_document(self) -> dict[str, Any]:
        """As JSON values."""
        grouping = dataclasses.asdict(self.grouping) if self.grouping is not None else {}
        return {"name": self.name, "shape": list(self.shape), **grouping}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """The packed weights of a file; the parts of number `k` have names that begin with ``{prefix}{k}.``."""

    weights: tuple[StoredWeight, ...]
    prefix: str = ""

    def to_json(self) -> str:
        """Compact JSON; the same record gives the same text."""
        document = {
            "version": VERSION,
            "form": "packed",
            "prefix": self.prefix,
            "weights": [weight.to_document() for weight in self.weights],
        }
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Storage:
        """Read `to_json`'s text; ModelError if it isn't a record that this version knows."""
        try:
            document = json.loads(text)
            version, form = document["version"], document["form"]
            if version != VERSION or form != "packed":
                raise ModelError(f"its weights are stored in form {form!r}, version {version!r}, which isn't known")
            weights = tuple(map(_weight, document["weights"]))
            return cls(weights=weights, prefix=str(document.get("prefix", "")))
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError, RecursionError) as error:
            raise ModelError(f"the record of how weights are stored can't be read: {error!r}") from None


def _weight(value: dict[str, Any]) -> StoredWeight:
    shape = tuple(int(size) for size in value["shape"])
    if not 1 <= len(shape) <= _MAX_RANK or min(shape) < 1 or math.prod(shape) >= 2**62:
        raise ValueError(f"shape {shape}")
    grouping = Grouping(int(value["axis"]), int(value["m"]), int(value["digits"])) if "m" in value else None
    return StoredWeight(name=str(value["name"]), shape=shape, grouping=grouping)
