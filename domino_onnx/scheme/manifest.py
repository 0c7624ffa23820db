"""What a compressed file says of itself, and how a mask is hashed.

The manifest is compact JSON under one key of the model's `metadata_props`; docs/format.md specifies it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.errors import CheckFailed, PlanError
from domino_onnx.scheme.budget import Budget, budgets_from_document
from domino_onnx.scheme.key import WeightKey
from domino_onnx.scheme.layout import WeightLayout
from domino_onnx.scheme.nm import NMScheme

__all__ = ["MANIFEST_KEY", "NODE_KEY", "PREFIX", "Manifest", "ManifestEntry", "mask_sha256"]

PREFIX = "domino_onnx."
MANIFEST_KEY = PREFIX + "manifest"
NODE_KEY = PREFIX + "scheme"
VERSION = 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ManifestEntry:
    """One weight that was given a scheme: where it is, how its groups run, and which weights were kept."""

    key: WeightKey
    layout: WeightLayout
    scheme: NMScheme
    zeros: int
    mask_sha256: str


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
        document = {
            "version": VERSION,
            "tool": self.tool,
            "source_sha256": self.source_sha256,
            "strategy": self.strategy,
            "budgets": [budget.to_document() for budget in self.budgets],
            "target": self.target,
            "seed": self.seed,
            "weights": [_entry_json(entry) for entry in self.entries],
            "also_changed": [_key_json(key) for key in self.also_changed],
            **({"precision": self.precision} if self.precision != "keep" else {}),
            **({"weight_type": self.weight_type} if self.weight_type != "keep" else {}),
        }
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read `to_json`'s text; CheckFailed if it isn't a manifest that this version knows."""
        try:
            document = json.loads(text)
            if document["version"] != VERSION:
                raise CheckFailed(f"manifest version {document['version']!r} is unknown; this program reads {VERSION}")
            return cls(
                tool=str(document["tool"]),
                source_sha256=str(document["source_sha256"]),
                strategy=str(document["strategy"]),
                budgets=budgets_from_document(document["budgets"]),
                target=str(document["target"]),
                seed=int(document["seed"]),
                entries=tuple(_entry(value) for value in document["weights"]),
                also_changed=tuple(_key(value) for value in document["also_changed"]),
                precision=str(document.get("precision", "keep")),
                weight_type=str(document.get("weight_type", "keep")),
            )
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError, RecursionError, PlanError) as error:
            raise CheckFailed(f"the manifest can't be read: {type(error).__name__}: {error}") from None


def mask_sha256(kept: NDArray[np.bool_]) -> str:
    """SHA-256 of a mask in the stored tensor's C order, eight weights a byte, the first in the highest bit.

    Parameters
    ----------
    kept
        Boolean, in the stored tensor's shape; True where the weight is not zero.
    """
    return hashlib.sha256(np.packbits(np.ascontiguousarray(kept).reshape(-1)).tobytes()).hexdigest()


def _key_json(key: WeightKey) -> dict[str, Any]:
    return {"name": key.name, **({"scope": list(key.scope)} if key.scope else {})}


def _key(value: dict[str, Any]) -> WeightKey:
    return WeightKey(str(value["name"]), tuple(str(part) for part in value.get("scope", ())))


def _entry_json(entry: ManifestEntry) -> dict[str, Any]:
    return {
        **_key_json(entry.key),
        "n": entry.scheme.n,
        "m": entry.scheme.m,
        "axis": entry.layout.axis,
        **({"conv_groups": entry.layout.conv_groups} if entry.layout.conv_groups != 1 else {}),
        "shape": list(entry.layout.shape),
        "sparsity": round(entry.zeros / entry.layout.size, 6),
        "zeros": entry.zeros,
        "mask_sha256": entry.mask_sha256,
    }


def _entry(value: dict[str, Any]) -> ManifestEntry:
    shape = tuple(int(size) for size in value["shape"])
    layout = WeightLayout(shape, int(value["axis"]), int(value.get("conv_groups", 1)))
    scheme = NMScheme(int(value["n"]), int(value["m"]))
    whole = 0 <= layout.axis < len(shape) and min(shape) >= 1 and 1 <= layout.conv_groups <= shape[layout.axis]
    if not whole or shape[layout.axis] % (layout.conv_groups * scheme.m):
        raise ValueError(f"weight {value['name']!r}: axis {layout.axis} of {shape} doesn't hold groups of {scheme.m}")
    return ManifestEntry(
        key=_key(value),
        layout=layout,
        scheme=scheme,
        zeros=int(value["zeros"]),
        mask_sha256=str(value["mask_sha256"]),
    )
