"""Why each layer is deployed as it is, or none is, and what became of 8 bits."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from domino_onnx.plurals import quantity
from domino_onnx.report.results import DeployedLayer, DeployPrecision
from domino_onnx.stages.deploying.accuracy import ByteJudge
from domino_onnx.stages.deploying.choice import Tried

if TYPE_CHECKING:
    from domino_onnx.deployment import Kind, Layer, Seconds

__all__ = ["bits_in_words", "layer_record", "why_none"]


def layer_record(layer: Layer, seconds: Seconds, best: Tried) -> DeployedLayer:
    """What a layer takes by itself, how it was deployed and why."""
    chosen = best.chosen[layer]
    return DeployedLayer(
        name=layer.name,
        op=layer.op,
        shape=layer.shape,
        zeros=float(layer.zeros),
        skips=layer.skips,
        seconds={str(kind): each for kind, each in seconds.items()},
        chosen=chosen,
        reason=_reason(seconds, chosen, refused=layer in best.refused),
    )


def _reason(seconds: Seconds, chosen: Kind, *, refused: bool) -> str:
    """Why a layer is deployed as it is, by its own times and by what the whole model took."""
    dense = seconds["dense"]
    if "quantized" in seconds:
        return _reason_of_quantized(dense / seconds["quantized"], chosen)
    floats, in_bytes = seconds["float32"], seconds.get("int8", math.inf)
    if chosen == "int8":
        return f"{dense / in_bytes:.1f}x dense, {floats / in_bytes:.1f}x float32"
    if chosen == "float32" and floats > dense:
        return f"{dense / floats:.1f}x dense by itself; the whole model gains"
    gain = f"{dense / floats:.1f}x dense"
    if in_bytes < min(floats, dense):
        why = "costs too much accuracy" if refused else "gains too little in the whole model"
        return f"{gain}; int8 {why}" if chosen == "float32" else f"{gain} in float32; int8 {why}"
    if chosen == "float32":
        return gain
    return f"{gain}; no gain in the whole model" if floats < dense else f"{gain}: no gain"


def _reason_of_quantized(gain: float, chosen: Kind) -> str:
    """The same for a layer that the file itself has in 8 bits."""
    said = f"{gain:.1f}x dense"
    if chosen == "quantized":
        return said if gain > 1 else f"{said} by itself; the whole model gains"
    return f"{said}; no gain in the whole model" if gain > 1 else f"{said}: no gain"


def why_none(best: Tried, left: Sequence[tuple[str, str, str]]) -> str:
    """Why no layer was replaced: none was faster, or else what is most often said of those that were left."""
    if best.chosen:
        return "no layer is faster without its zeros on this machine"
    reasons = Counter(reason for _, _, reason in left).most_common(1)
    return f"no layer can be replaced ({reasons[0][0]})" if reasons else "the model has no layer to replace"


def bits_in_words(best: Tried, precision: DeployPrecision, judge: ByteJudge | str) -> str:
    """What became of 8 bits."""
    own = sum(kind == "quantized" for kind in best.chosen.values())
    said = f"{quantity(own, 'layer')} with the file's own integers, scales and zero points"
    if own and all(layer.file is not None for layer in best.chosen):
        return f"8 bits: {said}"
    others = _bits_of_floats(best, precision, judge)
    return f"{others}; {said}" if own else others


def _bits_of_floats(best: Tried, precision: DeployPrecision, judge: ByteJudge | str) -> str:
    """The same for layers that the file has in floats."""
    if precision == "float32":
        return "8 bits: not asked for (--precision float32)"
    count = sum(kind == "int8" for kind in best.chosen.values())
    layers = quantity(count, "layer")
    if isinstance(judge, str):
        return f"8 bits: {layers}, not judged: {judge}" if count else f"8 bits: not tried, since {judge}"
    if not count:
        borne = " as far as the outputs bear them" if best.refused else ""
        return f"8 bits: tried, and not taken: the whole model gains too little by them{borne}"
    limit = f" of {judge.most:g} allowed" if judge.is_strict else ""
    judges = quantity(judge.samples, "other sample")
    return f"8 bits: {layers}; outputs diverge by {best.divergence:.2g}{limit}, on {judges}"
