"""``python -m domino_onnx``."""

from domino_onnx.cli import main

main()
