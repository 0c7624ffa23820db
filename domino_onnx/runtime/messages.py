"""Messages to a child process and back: JSON, and behind it the bytes of arrays. Reading them runs nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["receive", "send"]

_LENGTH = 8
_MOST_TEXT = 1 << 30
"""Bytes of the JSON in a message."""


def send(stream: IO[bytes], message: Any) -> None:
    """Write what consists of dictionaries, lists, arrays and plain values.

    Raises
    ------
    TypeError
        If there is something else in it.
    """
    arrays: list[NDArray[Any]] = []
    text = json.dumps(_outline(message, arrays)).encode()
    stream.write(len(text).to_bytes(_LENGTH, "little"))
    stream.write(text)
    for array in arrays:
        stream.write(array.reshape(-1).view(np.uint8).data)
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """The next message.

    Raises
    ------
    EOFError
        If the other side has ended.
    ValueError
        If that is no message.
    MemoryError
        If it is too large.
    """
    length = int.from_bytes(_exactly(stream, bytearray(_LENGTH)), "little")
    if length > _MOST_TEXT:
        raise ValueError(f"a message of {length} bytes")
    return _filled(json.loads(bytes(_exactly(stream, bytearray(length)))), stream)


def _outline(value: Any, arrays: list[NDArray[Any]]) -> Any:
    """What JSON can hold; arrays are put aside in the order of their places."""
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "OSU":
            return {"texts": [_text(each) for each in value.reshape(-1)], "shape": value.shape}
        arrays.append(np.ascontiguousarray(value))
        return {"dtype": value.dtype.name, "shape": value.shape}
    if isinstance(value, dict):
        return {"items": [[_outline(name, arrays), _outline(each, arrays)] for name, each in value.items()]}
    if isinstance(value, list | tuple):
        return [_outline(each, arrays) for each in value]
    return value


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _filled(outline: Any, stream: IO[bytes]) -> Any:
    """The message of an outline, with its arrays read."""
    if isinstance(outline, list):
        return [_filled(each, stream) for each in outline]
    if not isinstance(outline, dict):
        return outline
    if "items" in outline:
        return {_filled(name, stream): _filled(each, stream) for name, each in outline["items"]}
    if "texts" in outline:
        return np.array(outline["texts"], object).reshape(outline["shape"])
    array = np.empty(outline["shape"], np.dtype(outline["dtype"]))
    if array.dtype.hasobject:
        raise ValueError(f"an array of {array.dtype}")
    if math.prod(array.shape):
        _exactly(stream, array.reshape(-1).view(np.uint8).data)
    return array


def _exactly(stream: IO[bytes], buffer: bytearray | memoryview) -> bytearray | memoryview:
    """The buffer, filled."""
    for _ in _parts(stream, memoryview(buffer)):
        pass
    return buffer


def _parts(stream: IO[bytes], left: memoryview) -> Iterator[int]:
    while len(left):
        count = stream.readinto(left)  # type: ignore[attr-defined]
        if not count:
            raise EOFError("the other side has ended")
        left = left[count:]
        yield count
