"""Is a file that is too large to be run what it should be? Random groups of weights are compared with the source."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from domino_onnx.errors import CheckFailed
from domino_onnx.graph import OnnxFile, read_manifest, stored_tensors
from domino_onnx.scheme import ManifestEntry

__all__ = ["SampledCheck", "check_sample"]

_GROUPS = 1024


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SampledCheck:
    """How much was looked at, in how many weights; all of it was as it should be."""

    weights: int
    groups: int

    def in_words(self) -> str:
        """For people."""
        return (
            f"{self.groups:,} random groups of {self.weights} weights, read back: each obeys its scheme, and what it "
            "keeps is as it was. The model is too large to be run here"
        )


def check_sample(dense: OnnxFile, written: OnnxFile, seed: int) -> SampledCheck:
    """Compare random groups of each weight in a written file's manifest with the source's.

    Values must not have been refitted. One weight is mapped into memory at a time.

    Raises
    ------
    CheckFailed
        If a group keeps more than its scheme allows, or a value that the source doesn't have there.
    ModelError
        If a weight can't be read.
    """
    manifest = read_manifest(written.proto)
    entries = () if manifest is None else manifest.entries
    before, after = stored_tensors(dense.proto), stored_tensors(written.proto)
    generator, groups = np.random.default_rng(seed), 0
    for entry in entries:
        count = entry.layout.size // entry.scheme.m
        places = generator.integers(0, count, min(count, _GROUPS))
        old, new = (
            entry.layout.groups_at(file.array(tensors[entry.key]), entry.scheme.m, places)
            for file, tensors in ((dense, before), (written, after))
        )
        _require_pruned(entry, old, new)
        groups += len(places)
    return SampledCheck(weights=len(entries), groups=groups)


def _require_pruned(entry: ManifestEntry, old: NDArray[np.generic], new: NDArray[np.generic]) -> None:
    kept = new != 0
    if np.any(np.count_nonzero(kept, axis=1) > entry.scheme.n):
        raise CheckFailed(f"weight {str(entry.key)!r}: a group keeps more than {entry.scheme.n} of {entry.scheme.m}")
    if np.any(kept & (new != old)):
        raise CheckFailed(f"weight {str(entry.key)!r}: a group keeps a value that the source doesn't have there")
