"""What does a manifest say of weights that are converted? What held goes on holding, and nothing else becomes true."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from domino_onnx.graph import OnnxFile, quantisers
from domino_onnx.graph.io.tensors import read_tensor
from domino_onnx.scheme import ManifestEntry, WeightKey, mask_sha256, scales_sha256, values_sha256

__all__ = ["Claims"]


class Claims:
    """The entries of a manifest, and which of them hold before the conversion.

    Parameters
    ----------
    file
        Before the conversion, with all its data inline.
    tensors
        What it stores; the same messages hold what is stored behind the conversion.
    """

    def __init__(
        self, entries: Sequence[ManifestEntry], file: OnnxFile, tensors: Mapping[WeightKey, TensorProto]
    ) -> None:
        self._entries = entries
        self._tensors = tensors
        self._quantised = quantisers(file, {entry.key for entry in entries})
        self._true = {entry.key for entry in entries if self._holds(entry)}

    def converted(self, file: OnnxFile, places: Mapping[WeightKey, WeightKey]) -> tuple[ManifestEntry, ...]:
        """The entries of the converted file, in which each weight has a new key."""
        keys = {entry.key: places.get(entry.key, entry.key) for entry in self._entries}
        scales = quantisers(file, set(keys.values()))
        return tuple(
            self._counted(entry, keys[entry.key], scales.get(keys[entry.key], ()))
            if entry.key in self._true
            else dataclasses.replace(entry, key=keys[entry.key])
            for entry in self._entries
        )

    def _holds(self, entry: ManifestEntry) -> bool:
        tensor = self._tensors.get(entry.key)
        if tensor is None:
            return False
        values = read_tensor(tensor, Path())
        return (
            mask_sha256(values != 0) == entry.mask_sha256
            and values.size - int(np.count_nonzero(values)) == entry.zeros
            and entry.values_sha256 in (None, values_sha256(values))
            and entry.scales_sha256 in (None, scales_sha256(self._quantised.get(entry.key, ())))
        )

    def _counted(self, entry: ManifestEntry, key: WeightKey, scales: Sequence[NDArray[np.generic]]) -> ManifestEntry:
        """With what is stored now: float16 adds no zero, integers do where a weight is too small for its channel.

        Of what an older entry doesn't tell, nothing is said.
        """
        values = read_tensor(self._tensors[entry.key], Path())
        tells_values = entry.values_sha256 is not None
        tells_scales = entry.scales_sha256 is not None or (tells_values and entry.key not in self._quantised)
        return dataclasses.replace(
            entry,
            key=key,
            zeros=values.size - int(np.count_nonzero(values)),
            mask_sha256=mask_sha256(values != 0),
            values_sha256=values_sha256(values) if tells_values else None,
            scales_sha256=scales_sha256(scales) if tells_scales else None,
        )
