"""The command line: a thin skin over the library, one file a command."""

from domino_onnx.cli.main import main

__all__ = ["main"]
