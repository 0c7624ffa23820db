"""What a file is written in, if not in what it was read: checked before any work, done at its end."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from domino_onnx.codec import check_fields
from domino_onnx.errors import ModelError, OptionError
from domino_onnx.graph import OnnxFile, float_weights, loaded, stored_tensors
from domino_onnx.graph.io.external import is_external, resolve
from domino_onnx.graph.io.listed import unlist_constants
from domino_onnx.graph.walk import tensors
from domino_onnx.options import Precision, WeightType
from domino_onnx.precision.claims import Claims
from domino_onnx.precision.half import half_refusal, range_refusal, require_converter, to_half
from domino_onnx.precision.integer import float_notes, integer_refusal, require_quantizer, to_int8
from domino_onnx.runtime import require_survivable
from domino_onnx.scheme import Manifest, ManifestEntry, WeightKey

__all__ = ["KEEP", "Conversion", "Converted", "check_conversion", "converted", "try_conversion"]

_MAX_BYTES = 2**31 - 1
_MAX_TRIED = 1 << 28
"""Bytes of the largest model that is converted only to see whether it can be: that takes seconds, and copies of it."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What a file is to be written in.

    Attributes
    ----------
    precision
        Of all float32 values and of what is computed with them; graph inputs and outputs stay float32.
    weights
        Of the float32 weights of Conv, ConvTranspose, Gemm and MatMul, which DequantizeLinear makes floats of again.
    """

    precision: Precision = "keep"
    weights: WeightType = "keep"

    def __post_init__(self) -> None:
        check_fields(self, OptionError)

    @property
    def is_needed(self) -> bool:
        """Whether anything changes."""
        return self != KEEP


KEEP = Conversion()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """A file to be written, and what its manifest says then.

    Attributes
    ----------
    values
        New values of its stored tensors.
    zeros
        How many zeros there are in each weight that became integers; by the names that they had.
    notes
        Which weights weren't converted, and why.
    """

    file: OnnxFile
    values: Mapping[WeightKey, NDArray[np.generic]] = dataclasses.field(default_factory=dict)
    manifest: Manifest | None = None
    zeros: Mapping[WeightKey, int] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()


def check_conversion(file: OnnxFile, wanted: Conversion) -> None:
    """Find out before any work what would stop `converted` after it, as far as a look at the model can tell.

    Raises
    ------
    ModelError
        If the model can't be converted.
    DependencyError
        If ONNX Runtime is missing.
    """
    if not wanted.is_needed:
        return
    if wanted.precision == "fp16":
        require_converter()
        _refuse(file, "can't be converted to float16", half_refusal(file.proto, file.opset))
    if wanted.weights == "int8":
        require_quantizer()
        _refuse(file, "can't have int8 weights", integer_refusal(file.proto, file.opset, file.path))
    if _size(file) > _MAX_BYTES:
        raise ModelError(f"{file.path} can't be converted: it has more than the 2 GiB that fit in one message")
    for key, values in float_weights(file):  # which are finite, or end in an error
        if wanted.precision == "fp16":
            _refuse(file, "can't be converted to float16", range_refusal(key, values))


def try_conversion(file: OnnxFile, wanted: Conversion) -> None:
    """`check_conversion`, and a conversion of the model as it is, where that is cheap: much is known by trying alone.

    Raises
    ------
    ModelError
        If the model can't be converted, or ONNX Runtime can't load what comes of it.
    DependencyError
        If ONNX Runtime is missing.
    """
    check_conversion(file, wanted)
    if wanted.is_needed and _size(file) <= _MAX_TRIED:
        converted(file, {}, None, wanted)


def converted(
    file: OnnxFile, values: Mapping[WeightKey, NDArray[np.generic]], manifest: Manifest | None, wanted: Conversion
) -> Converted:
    """Convert the model with new `values`; `file` stays as it is, and is given back where nothing is wanted.

    Parameters
    ----------
    values
        In the dtypes and shapes that `file` stores.
    manifest
        Of the model with these values.

    Returns
    -------
    The converted file, which holds its values, and the manifest with the places that its weights have there. What was
    given, untouched, if nothing is to be converted: then nothing is loaded, and ONNX Runtime is not asked.

    Raises
    ------
    ModelError
        If the model can't be converted, or ONNX Runtime can't load what came of it.
    """
    if not wanted.is_needed:
        return Converted(file=file, values=values, manifest=manifest)
    work = loaded(file, values)
    unlist_constants(work.proto)
    before = stored_tensors(work.proto)  # of tensors that are held, and so stay the same objects while they move
    claims = Claims(() if manifest is None else manifest.entries, work, before)
    zeros = to_int8(work.proto) if wanted.weights == "int8" else {}
    notes = float_notes(work) if wanted.weights == "int8" else ()
    if wanted.precision == "fp16":
        to_half(work.proto)
    else:
        require_survivable(work.proto.SerializeToString())
    places = {id(tensor): key for key, tensor in stored_tensors(work.proto).items()}
    moved = {key: places[id(tensor)] for key, tensor in before.items()}
    if manifest is not None:
        manifest = _moved(manifest, claims.converted(work, moved), moved, wanted)
    return Converted(file=work, manifest=manifest, zeros=zeros, notes=notes)


def _moved(
    manifest: Manifest,
    entries: tuple[ManifestEntry, ...],
    places: Mapping[WeightKey, WeightKey],
    wanted: Conversion,
) -> Manifest:
    """The manifest with these entries, and under the names that tensors have now."""
    return dataclasses.replace(
        manifest,
        entries=entries,
        also_changed=tuple(places.get(key, key) for key in manifest.also_changed),
        precision=wanted.precision if wanted.precision != "keep" else manifest.precision,
        weight_type=wanted.weights if wanted.weights != "keep" else manifest.weight_type,
    )


def _refuse(file: OnnxFile, what: str, reason: str | None) -> None:
    if reason is not None:
        raise ModelError(f"{file.path} {what}: {reason}")


def _size(file: OnnxFile) -> int:
    """Bytes of all values that a model stores."""
    return sum(_nbytes(tensor, file.folder) for tensor in tensors(file.proto))


def _nbytes(tensor: TensorProto, folder: Path) -> int:
    """Bytes of a tensor's values, wherever they lie."""
    return resolve(tensor, folder).length if is_external(tensor) else tensor.ByteSize()
