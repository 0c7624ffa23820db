"""Makes a gradient pass through a QuantizeLinear that a DequantizeLinear reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from domino_onnx.bridge.ops.quantize import FAKE_QUANTIZE
from domino_onnx.bridge.program import ABSENT, Step

__all__ = ["STRAIGHT_THROUGH", "with_straight_through"]

#: The operators that are evaluated in one step with a gradient, where the second reads the first.
STRAIGHT_THROUGH = ("QuantizeLinear", "DequantizeLinear")
_FIRST, _SECOND = STRAIGHT_THROUGH


def with_straight_through(steps: Iterable[Step]) -> Iterator[Step]:
    """Let each DequantizeLinear that reads a QuantizeLinear read its input, in one step with a gradient.

    The QuantizeLinear stays for other readers; a schedule leaves it out if there are none.
    """
    quantizers: dict[int, Step] = {}
    for step in steps:
        if step.operator.name == _FIRST:
            quantizers[step.outputs[0]] = step
        source = quantizers.get(step.inputs[0]) if step.inputs else None
        yield step if source is None or step.operator.name != _SECOND else _joined(source, step)


def _joined(quantizer: Step, dequantizer: Step) -> Step:
    x, scale, zero_point, *_ = (*quantizer.inputs, ABSENT)
    return dataclasses.replace(
        dequantizer,
        operator=FAKE_QUANTIZE,
        inputs=(x, scale, zero_point, *dequantizer.inputs[1:]),
        attributes={"quantizing": quantizer.attributes, "dequantizing": dequantizer.attributes},
    )
