"""What becomes of one model in the torch bridge, on inputs that ONNX Runtime accepts; the tests ask it too."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from domino_onnx.bridge import build, first_difference, mismatch, prove_parity
from domino_onnx.data import InputSpec, input_specs
from domino_onnx.errors import DataError, ModelError, UnsupportedOperatorError
from domino_onnx.evaluate import random_inputs
from domino_onnx.graph import OnnxFile, read_model, take_inventory
from domino_onnx.runtime import Session
from domino_onnx.scheme import SchemePool

__all__ = ["Conversion", "convert"]

Inputs = dict[str, np.ndarray[Any, np.dtype[Any]]]
#: "no weights", "refused" by ONNX Runtime, a "missing" operator, "failed" in torch, "different", "reproduced".
Outcome = Literal["no weights", "refused", "missing", "failed", "different", "reproduced"]

#: Sizes to try for open axes, until ONNX Runtime accepts the input.
SIZES = (2, 1, 4, 8, 16, 32, 128, 512)
#: Text readers pool a smaller image away; ONNX Runtime doesn't refuse that and answers something.
SHAPES: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    "ch_PP-OCRv4_rec_infer": {"x": (1, 3, 48, 64)},
    "ch_ppocr_mobile_v2.0_cls_infer": {"x": (1, 3, 48, 192)},
    "pypi_real__e47acedf6632": {"x": (1, 3, 48, 192)},
}
#: Where 0 and 1 say little: a file of two bytes has almost no variance, which LayerNormalization divides by.
INTEGERS = {"magika_standard_v3_3": 256}
_SECONDS = 60.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What became of a model, and why: the missing operators, or a message."""

    outcome: Outcome
    why: tuple[str, ...] = ()


def convert(path: Path) -> Conversion:
    """Read a model, run it in ONNX Runtime, build it in torch, and compare."""
    try:
        file = read_model(path)
        if not take_inventory(file, SchemePool.fixed_m(), {}).params:
            return Conversion(outcome="no weights")
        session = Session(path, threads=1)
        inputs, expected = _answered(session, path.stem, input_specs(file.proto))
    except (DataError, ModelError) as error:
        return Conversion(outcome="refused", why=(str(error),))
    return _compared(file, inputs, expected)


def _compared(file: OnnxFile, inputs: Inputs, expected: Inputs) -> Conversion:
    try:
        module = build(file.proto, load=file.array)
        parity = prove_parity(file, module, inputs, expected, threads=1)
    except UnsupportedOperatorError as error:
        return Conversion(outcome="missing", why=error.operators)
    except ModelError as error:
        return Conversion(outcome="failed", why=(str(error),))
    if parity.ok:
        return Conversion(outcome="reproduced")
    return Conversion(outcome="different", why=(mismatch(parity, first_difference(file, module, inputs, threads=1)),))


def _answered(session: Session, name: str, specs: list[InputSpec]) -> tuple[Inputs, Inputs]:
    """The first inputs that ONNX Runtime accepts and has something to say to, and its outputs."""
    for inputs in _tried(name, specs):
        try:
            outputs = session.run(inputs, seconds=_SECONDS)
        except ModelError:
            continue
        if all(np.asarray(output).size for output in outputs.values()):
            return inputs, outputs
    raise ModelError("ONNX Runtime accepts none of the inputs tried")


def _tried(name: str, specs: list[InputSpec]) -> Iterator[Inputs]:
    shapes, integers = dict(SHAPES.get(name, {})), INTEGERS.get(name, 2)
    for size in SIZES:
        yield random_inputs(specs, shapes, 0, integers=integers, free=size)
