"""ONNX files: read and checked, every weight found, written back with nothing else changed."""

from domino_onnx.graph.index import stored_tensors
from domino_onnx.graph.inventory import Selection, take_inventory
from domino_onnx.graph.read import OnnxFile, read_model
from domino_onnx.graph.shapes import Shape, ShapeTable, infer_shapes, model_inputs
from domino_onnx.graph.write import check_output, read_manifest, write_model

__all__ = [
    "OnnxFile",
    "Selection",
    "Shape",
    "ShapeTable",
    "check_output",
    "infer_shapes",
    "model_inputs",
    "read_manifest",
    "read_model",
    "stored_tensors",
    "take_inventory",
    "write_model",
]
