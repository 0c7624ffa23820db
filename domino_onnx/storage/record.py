"""What a file says of how its weights are stored: compact JSON under one key of the model's `metadata_props`."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any, Literal, get_args

from domino_onnx.errors import ModelError
from domino_onnx.storage.codec import Grouping

__all__ = ["STORAGE_KEY", "Form", "Storage", "StoredWeight"]

STORAGE_KEY = "domino_onnx.storage"
VERSION = 1
Form = Literal["dense", "packed", "sparse"]
"""How zeros are stored: in place, left out with a few bits for each, or left out with an index for each value."""
_MAX_RANK = 64


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StoredWeight:
    """One weight that isn't stored dense.

    Attributes
    ----------
    name
        The initializer that it stands for, or the output of the Constant node.
    grouping
        Of a packed weight; None for a bitmask.
    place
        Of a sparse weight: where among the dense initializers it stood; None for a Constant node.
    """

    name: str
    shape: tuple[int, ...]
    grouping: Grouping | None = None
    place: int | None = None

    def to_document(self) -> dict[str, Any]:
        """As JSON values."""
        grouping = dataclasses.asdict(self.grouping) if self.grouping is not None else {}
        place = {"place": self.place} if self.place is not None else {}
        return {"name": self.name, "shape": list(self.shape), **grouping, **place}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """The form of a file; weight number `k` of a packed file has parts whose names begin with ``{prefix}{k}.``."""

    form: Form
    weights: tuple[StoredWeight, ...]
    prefix: str = ""

    def to_json(self) -> str:
        """Compact JSON; the same record gives the same text."""
        document = {
            "version": VERSION,
            "form": self.form,
            **({"prefix": self.prefix} if self.form == "packed" else {}),
            "weights": [weight.to_document() for weight in self.weights],
        }
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Storage:
        """Read `to_json`'s text; ModelError if it isn't a record that this version knows."""
        try:
            document = json.loads(text)
            version, form = document["version"], document["form"]
            if version != VERSION or form not in get_args(Form):
                raise ModelError(f"its weights are stored in form {form!r}, version {version!r}, which isn't known")
            weights = tuple(map(_weight, document["weights"]))
            return cls(form=form, weights=weights, prefix=str(document.get("prefix", "")))
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError, RecursionError) as error:
            raise ModelError(f"the record of how weights are stored can't be read: {error!r}") from None


def _weight(value: dict[str, Any]) -> StoredWeight:
    shape = tuple(int(size) for size in value["shape"])
    if not 1 <= len(shape) <= _MAX_RANK or min(shape) < 1 or math.prod(shape) >= 2**62:
        raise ValueError(f"shape {shape}")
    grouping = Grouping(int(value["axis"]), int(value["m"]), int(value["digits"])) if "m" in value else None
    place = value.get("place")
    return StoredWeight(
        name=str(value["name"]), shape=shape, grouping=grouping, place=None if place is None else int(place)
    )
