"""Weights in 8-bit integers, with a scale for each output channel: the numbers of ONNX Runtime's own quantiser."""

from __future__ import annotations

import importlib
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from domino_onnx.errors import DependencyError, ModelError
from domino_onnx.graph import ChannelWeight, OnnxFile, channel_weights, floats_left, holds_integers, quantize_in_place
from domino_onnx.graph.io.tensors import read_tensor
from domino_onnx.graph.walk import nodes, normal_domain
from domino_onnx.plurals import quantity
from domino_onnx.runtime import require_onnxruntime
from domino_onnx.scheme import WeightKey

__all__ = ["float_notes", "integer_refusal", "quantized_channels", "require_quantizer", "to_int8"]

_PER_CHANNEL_SINCE = 13
_LIFT = (
    "import sys, onnx, onnx.version_converter as v; "
    f"onnx.save(v.convert_version(onnx.load(sys.argv[1]), {_PER_CHANNEL_SINCE}), sys.argv[2])"
)


def integer_refusal(model: ModelProto, opset: int, path: Path) -> str | None:
    """Why weights of a model can't be stored as integers, and what can be done; None if they can.

    Parameters
    ----------
    path
        Of the model's file.
    """
    if opset < _PER_CHANNEL_SINCE:
        return (
            f"its opset {opset} has no scales for each channel; {_PER_CHANNEL_SINCE} is the first that has. "
            f"{_how_to_lift(model, path)}"
        )
    if not channel_weights(model) and not holds_integers(model):
        return "it has no float32 weight of Conv, ConvTranspose, Gemm or MatMul that would become smaller"
    return None


def _how_to_lift(model: ModelProto, path: Path) -> str:
    """How a dense model gets a newer opset, if onnx's own converter knows its operators."""
    foreign = sorted({normal_domain(node.domain) for node in nodes(model)} - {""})
    if foreign or model.functions:
        what = f"operators of {', '.join(foreign)}" if foreign else "local functions"
        return f"onnx's version converter doesn't lift {what}: export the model again, with opset 13 or later"
    lifted = path.with_name(f"{path.stem}.{_PER_CHANNEL_SINCE}.onnx")
    return f"Lift the dense model first: {shlex.join(['python', '-c', _LIFT, str(path), str(lifted)])}"


def require_quantizer() -> Any:
    """ONNX Runtime's module of quantisation; DependencyError without ONNX Runtime."""
    require_onnxruntime()
    try:
        return importlib.import_module("onnxruntime.quantization.quant_utils")
    except ImportError as error:
        raise DependencyError(f"this ONNX Runtime has no quantiser ({error}): `pip install -U onnxruntime`") from None


def to_int8(model: ModelProto) -> dict[WeightKey, int]:
    """Store the weights of a model whose data are all inline as int8; edits `model`, whose messages stay the same ones.

    Returns
    -------
    How many zeros each of them has now, with small values that became zeros; by the names that they had.

    Raises
    ------
    ModelError
        If a weight can't be read.
    """
    quantized = list(_quantized(channel_weights(model)))
    quantize_in_place(model, quantized)
    return {weight.key: integers.size - int(np.count_nonzero(integers)) for weight, integers, _ in quantized}


def float_notes(file: OnnxFile) -> tuple[str, ...]:
    """Which weights `to_int8` has left as float32, and why."""
    left = floats_left(file)
    reasons = {
        "local functions keep theirs": left.in_functions,
        "other operators are between weight and product": left.behind_operators,
        "other nodes read them otherwise, or a graph input may replace them": left.others,
    }
    return tuple(
        f"--weights int8 leaves {quantity(len(keys), 'weight')} in float32, {str(keys[0])!r} first: {reason}"
        for reason, keys in reasons.items()
        if keys
    )


def quantized_channels(weight: NDArray[Any], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """A weight as integers, and the scale of each of its channels along `axis`.

    The largest magnitude of a channel becomes 127, a zero stays 0; small values may become 0 as well. A channel of
    zeros has the scale 1.
    """
    quantizer = require_quantizer()
    rows = np.moveaxis(weight, axis, 0)
    integers, scales = np.empty(rows.shape, np.int8), np.empty(len(rows), np.float32)
    for channel, row in enumerate(rows):
        zero_point, scales[channel], values = quantizer.quantize_data(row.reshape(-1), TensorProto.INT8, True)
        if zero_point:
            raise ModelError(f"ONNX Runtime's quantiser gave a zero point of {zero_point} for symmetric integers")
        integers[channel] = np.reshape(values, row.shape)
    return np.ascontiguousarray(np.moveaxis(integers, 0, axis)), scales


def _quantized(
    weights: Iterable[ChannelWeight],
) -> Iterator[tuple[ChannelWeight, NDArray[np.int8], NDArray[np.float32]]]:
    for weight in weights:
        yield weight, *quantized_channels(read_tensor(weight.tensor, Path()), weight.axis)
