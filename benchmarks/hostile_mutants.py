"""Mutants of ONNX files: what a field holds is doubled, dropped, exchanged, or set to a border of its type."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import onnx
from google.protobuf.message import DecodeError, EncodeError, Message

__all__ = ["mutant"]

_NUMBERS = (0, 1, -1, 2, 3, 5, 8, 255, 2**31 - 1, -(2**31), 2**31, 2**32, 2**62, -(2**63), 2**63 - 1, 10**6, 10**9)
_FLOATS = (0.0, -1.0, float("nan"), float("inf"), 1e38, -1e-45)
_ENUMS = (0, 1, 2, 3, 6, 7, 8, 10, 11, 16, 17, 22, 23, 99)
_OPERATORS = (
    *("Conv", "Gemm", "MatMul", "Reshape", "Transpose", "If", "Loop", "Scan", "Resize", "Slice", "Gather", "LSTM"),
    *("ConvTranspose", "Split", "Concat", "Einsum", "QuantizeLinear", "DequantizeLinear", "Constant", "Pad", "MaxPool"),
)
_NAMES = ("", "../x", "a" * 300, "\x1b[31m")
_DEEPEST = 8


def mutant(data: bytes, seed: str) -> bytes:
    """A changed copy of a serialised model; the same for the same seed."""
    draw = random.Random(seed)
    try:
        model = onnx.ModelProto.FromString(data)
    except DecodeError:
        return _flipped(data, draw)
    names = [tensor.name for tensor in model.graph.initializer] + [o for node in model.graph.node for o in node.output]
    for _ in range(draw.choice((1, 1, 1, 2, 3, 5))):
        message = draw.choice(list(_messages(model)))
        fields = [(field, value) for field, value in message.ListFields() if field.name != "ir_version"]
        if fields:
            try:
                _change(message, *draw.choice(fields), draw, [*names, *_NAMES])
            except (TypeError, ValueError, OverflowError):
                continue
    try:
        changed = model.SerializeToString()
    except EncodeError:
        return data
    return _flipped(changed, draw) if draw.random() < 0.15 else changed


def _messages(message: Message, depth: int = 0) -> Iterator[Message]:
    yield message
    if depth < _DEEPEST:
        for field, value in message.ListFields():
            if field.message_type is not None:
                for inner in value if field.is_repeated else [value]:
                    yield from _messages(inner, depth + 1)


def _change(message: Any, field: Any, value: Any, draw: random.Random, names: list[str]) -> None:
    if field.is_repeated:
        _change_list(field, value, draw, names)
    elif field.message_type is not None:
        if draw.random() < 0.3:
            message.ClearField(field.name)
    else:
        setattr(message, field.name, _other(field, value, draw, names))


def _change_list(field: Any, values: Any, draw: random.Random, names: list[str]) -> None:
    if not len(values):
        return
    place, what = draw.randrange(len(values)), draw.random()
    if what < 0.25:
        del values[place]
    elif what < 0.5:
        if field.message_type is not None:
            values.add().CopyFrom(values[place])
        else:
            values.append(values[place])
    elif field.message_type is None:
        values[place] = _other(field, values[place], draw, names)
    else:
        other = draw.randrange(len(values))
        kept = type(values[place])()
        kept.CopyFrom(values[place])
        values[place].CopyFrom(values[other])
        values[other].CopyFrom(kept)


def _other(field: Any, value: Any, draw: random.Random, names: list[str]) -> Any:
    if field.enum_type is not None:
        return draw.choice(_ENUMS)
    if isinstance(value, bool | int):
        return draw.choice(_NUMBERS) if draw.random() < 0.7 else value + draw.choice((-1, 1))
    if isinstance(value, float):
        return draw.choice(_FLOATS)
    if isinstance(value, bytes):
        return (
            value[: draw.randrange(len(value) + 1)] if draw.random() < 0.6 else value + b"\xff" * draw.randrange(1, 64)
        )
    return draw.choice(_OPERATORS) if field.name == "op_type" else draw.choice(names)


def _flipped(data: bytes, draw: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.randrange(1, 8) if changed else 0):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)
