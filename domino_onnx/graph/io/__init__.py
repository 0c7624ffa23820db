"""ONNX files: read and checked, and written with nothing else changed."""
