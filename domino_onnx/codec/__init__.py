"""Documents in and out: JSON, TOML and YAML text as typed values, and typed values as JSON.

Every document that the program reads goes through here, so that each mistake gets the same kind of message: which
document, where in it, what it holds there, and what it must hold.
"""

from domino_onnx.codec.syntax import Syntax, parse
from domino_onnx.codec.typed import Hook, check_fields, convert, decode, refuse_unknown, require_version
from domino_onnx.codec.words import nearest, shown
from domino_onnx.codec.write import encode, plain

__all__ = [
    "Hook",
    "Syntax",
    "check_fields",
    "convert",
    "decode",
    "encode",
    "nearest",
    "parse",
    "plain",
    "refuse_unknown",
    "require_version",
    "shown",
]
