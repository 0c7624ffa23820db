"""Is all text in a model text? Protobuf hands out bytes for a string that isn't UTF-8, where a `str` is expected."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from google.protobuf.message import Message
from onnx import ModelProto, StringStringEntryProto

from domino_onnx.errors import ModelError
from domino_onnx.scheme import PREFIX

__all__ = ["check_text"]

_FREE = ("doc_string", "producer_name", "producer_version")
"""What is written for people, and isn't read here."""
_METADATA = "metadata_props"
Fields = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...]]


def check_text(model: ModelProto) -> None:
    """Raise ModelError, with the field, if a name or another text that is read isn't UTF-8."""
    waiting: list[Message] = [model]
    while waiting:
        message = waiting.pop()
        texts, lists, messages, many = _fields(message.DESCRIPTOR)
        for name in texts:
            if not isinstance(getattr(message, name), str):
                raise _refusal(message, name, getattr(message, name))
        for name in lists:
            for value in getattr(message, name):
                if not isinstance(value, str):
                    raise _refusal(message, name, value)
        waiting += [getattr(message, name) for name in messages if message.HasField(name)]
        for name in many:
            if name == _METADATA:
                _check_metadata(getattr(message, name))
            else:
                waiting += getattr(message, name)


def _check_metadata(entries: Iterable[StringStringEntryProto]) -> None:
    """Keys are looked at, and of the values our own."""
    for entry in entries:
        if not isinstance(entry.key, str):
            raise _refusal(entry, "key", entry.key)
        if entry.key.startswith(PREFIX) and not isinstance(entry.value, str):
            raise _refusal(entry, "value", entry.value)


def _refusal(message: Message, field: str, value: object) -> ModelError:
    return ModelError(f"a name in the model isn't UTF-8 text: {value!r} ({message.DESCRIPTOR.name}.{field})")


@functools.cache
def _fields(descriptor: Any) -> Fields:
    """Names of a message's texts, lists of texts, inner messages and lists of them; numbers and bytes are left out."""
    fields = [field for field in descriptor.fields if field.name not in _FREE]
    texts = [field for field in fields if field.type == field.TYPE_STRING]
    messages = [field for field in fields if field.type == field.TYPE_MESSAGE]
    return _names(texts, False), _names(texts, True), _names(messages, False), _names(messages, True)


def _names(fields: Iterable[Any], repeated: bool) -> tuple[str, ...]:
    return tuple(field.name for field in fields if isinstance(field.default_value, list) == repeated)
