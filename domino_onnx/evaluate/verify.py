"""Does a file hold what its manifest says? Counted again, weight by weight, from the file alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from domino_onnx.deployment.operators import is_deployed
from domino_onnx.graph import (
    OnnxFile,
    quantisers,
    read_manifest,
    stored_tensors,
    take_inventory,
    weight_readers,
)
from domino_onnx.plurals import quantity
from domino_onnx.scheme import Manifest, ManifestEntry, WeightKey, mask_sha256, scales_sha256, values_sha256
from domino_onnx.solve import obeys
from domino_onnx.targets import GROUPS_OF_FOUR, TARGETS, count_fours, known, refusal

__all__ = ["Finding", "Verdict", "verify_file"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One weight of the manifest: `problem` is None if it holds; `name` is the node that reads it, "" for none."""

    weight: str
    name: str
    scheme: str
    zeros: int
    problem: str | None

    @property
    def label(self) -> str:
        """Weight and node, as all reports name it."""
        return f"{self.weight} ({self.name})" if self.name else self.weight


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What `verify` found.

    Attributes
    ----------
    manifest
        None if the file has none; then it holds nothing.
    of_the_file
        Problems that belong to no weight.
    """

    manifest: Manifest | None
    findings: tuple[Finding, ...]
    of_the_file: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    @property
    def problems(self) -> tuple[str, ...]:
        """All of them, weight by weight, then those of the file."""
        of_weights = (f"{finding.label}: {finding.problem}" for finding in self.findings if finding.problem)
        return (*of_weights, *self.of_the_file)


def verify_file(file: OnnxFile) -> Verdict:
    """Check every weight of the manifest: its shape, at most N of M kept in each group, zeros, and the hashes.

    Those are of its mask, of its values, and of the scales and zero points that quantise it.

    Where the manifest names a target, also that every weight which it can speed up is as it wants it.

    Raises
    ------
    CheckFailed
        If the manifest itself can't be read.
    ModelError
        If a weight can't be read.
    """
    manifest = read_manifest(file.proto)
    if manifest is None:
        problem = f"{file.path} has no domino-onnx manifest: there is nothing to check it against"
        if is_deployed(file.proto):
            problem = f"{file.path} was deployed for the CPU and has no manifest: verify the file it was made from"
        return Verdict(manifest=None, findings=(), of_the_file=(problem,))
    tensors = stored_tensors(file.proto)
    strict = _eligible(file) if manifest.target == "tensorrt" else frozenset()
    nodes = weight_readers(file)
    scales = quantisers(file, {entry.key for entry in manifest.entries})
    findings = tuple(
        _check(file, tensors.get(entry.key), scales.get(entry.key, ()), entry, nodes.get(entry.key, ""), strict)
        for entry in manifest.entries
    )
    unknown = f"the target {manifest.target!r} is unknown; this program knows {', '.join(TARGETS)}"
    of_the_file = () if known(manifest.target) else (unknown,)
    return Verdict(manifest=manifest, findings=findings, of_the_file=of_the_file)


def _eligible(file: OnnxFile) -> frozenset[WeightKey]:
    """The weights that TensorRT's sparse kernels can take, whatever their values."""
    sites = take_inventory(file, GROUPS_OF_FOUR, {}, structure_only=True).sites
    return frozenset(site.key for site in sites if refusal(site) is None)


def _check(
    file: OnnxFile,
    tensor: TensorProto | None,
    scales: Sequence[NDArray[np.generic]],
    entry: ManifestEntry,
    node: str,
    strict: frozenset[WeightKey],
) -> Finding:
    zeros = 0
    if tensor is None:
        problem: str | None = "the weight is gone"
    elif tuple(tensor.dims) != entry.layout.shape:
        problem = f"its shape was {entry.layout.shape} and is {tuple(tensor.dims)}"
    else:
        values = file.array(tensor)
        zeros = values.size - int(np.count_nonzero(values))
        if not obeys(values, entry.layout, entry.scheme):
            problem = f"it no longer keeps at most {entry.scheme.n} of every {entry.scheme.m} weights"
        elif mask_sha256(values != 0) != entry.mask_sha256:
            problem = (
                f"other weights are zero than when it was written ({quantity(zeros, 'zero')}, {entry.zeros:,} then)"
            )
        elif zeros != entry.zeros:
            problem = f"the manifest counts {quantity(entry.zeros, 'zero')} in it, and there are {zeros:,}"
        elif entry.values_sha256 not in (None, values_sha256(values)):
            problem = "its values are others than when it was written, though the same weights are zero"
        elif entry.scales_sha256 not in (None, scales_sha256(scales)):
            problem = "the scales or zero points that make its values are others than when it was written"
        else:
            problem = _illegal(values, entry) if entry.key in strict and not entry.scheme.is_dense else None
    return Finding(weight=str(entry.key), name=node, scheme=str(entry.scheme), zeros=zeros, problem=problem)


def _illegal(values: NDArray[np.generic], entry: ManifestEntry) -> str | None:
    """How a weight breaks the rule of the target that the manifest names."""
    fours = count_fours(values, entry.layout)
    if fours.is_legal:
        return None
    return (
        f"{fours.broken} of {fours.count} aligned fours keep more than two weights, the first at {fours.first}, "
        "which the target tensorrt forbids"
    )
