"""The kernels in ONNX Runtime, against ONNX Runtime's own operators and against plain integer sums."""
