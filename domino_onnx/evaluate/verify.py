"""Does a file hold what its manifest says? Counted again, weight by weight, from the file alone."""

from __future__ import annotations

import dataclasses

import numpy as np
from onnx import TensorProto

from domino_onnx.graph import OnnxFile, read_manifest, stored_tensors
from domino_onnx.scheme import Manifest, ManifestEntry, mask_sha256
from domino_onnx.solve import obeys

__all__ = ["Finding", "Verdict", "verify_file"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One weight of the manifest: `problem` is None if it holds."""

    weight: str
    scheme: str
    zeros: int
    problem: str | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What `verify` found; `holds` is False without a manifest."""

    holds: bool
    manifest: Manifest | None
    findings: tuple[Finding, ...]
    problems: tuple[str, ...]


def verify_file(file: OnnxFile) -> Verdict:
    """Check every weight of the manifest: its shape, that each group keeps at most N of M, and the mask's hash.

    Raises
    ------
    CheckFailed
        If the manifest itself can't be read.
    ModelError
        If a weight can't be read.
    """
    manifest = read_manifest(file.proto)
    if manifest is None:
        problem = f"{file.path} has no domino-onnx manifest, so there is nothing that it promises"
        return Verdict(holds=False, manifest=None, findings=(), problems=(problem,))
    tensors = stored_tensors(file.proto)
    findings = tuple(_check(file, tensors.get(entry.key), entry) for entry in manifest.entries)
    problems = tuple(f"{finding.weight}: {finding.problem}" for finding in findings if finding.problem)
    return Verdict(holds=not problems, manifest=manifest, findings=findings, problems=problems)


def _check(file: OnnxFile, tensor: TensorProto | None, entry: ManifestEntry) -> Finding:
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
            problem = f"other weights are zero than when it was written ({zeros} zeros, {entry.zeros} then)"
        else:
            problem = None
    return Finding(weight=str(entry.key), scheme=str(entry.scheme), zeros=zeros, problem=problem)
