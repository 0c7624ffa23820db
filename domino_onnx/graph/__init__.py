"""What is in an ONNX file? It is read, its weights are found, and it is written with nothing else changed."""

from domino_onnx.graph.copies import loaded, with_outputs
from domino_onnx.graph.dequantize import ChannelWeight, channel_weights, holds_integers, quantize_in_place
from domino_onnx.graph.index import stored_tensors
from domino_onnx.graph.inventory import take_inventory
from domino_onnx.graph.io.data_files import check_data_name
from domino_onnx.graph.io.forms import WeightForm
from domino_onnx.graph.io.read import OnnxFile, read_model
from domino_onnx.graph.io.write import Written, read_manifest, write_model
from domino_onnx.graph.linear import Bias, LinearUse, linear_uses
from domino_onnx.graph.order import sort_nodes
from domino_onnx.graph.readers import bytes_by_reader
from domino_onnx.graph.segments import Segment, cut
from domino_onnx.graph.selection import Selection
from domino_onnx.graph.shapes import (
    Shape,
    ShapeTable,
    check_input_shapes,
    infer_shapes,
    infer_types,
    model_inputs,
)
from domino_onnx.graph.symbols import Axes, Axis, declared_axes, sizes_of_names
from domino_onnx.graph.weights import float_weights, floats_left, quantisers, weight_readers

__all__ = [
    "Axes",
    "Axis",
    "Bias",
    "ChannelWeight",
    "LinearUse",
    "OnnxFile",
    "Segment",
    "Selection",
    "Shape",
    "ShapeTable",
    "WeightForm",
    "Written",
    "bytes_by_reader",
    "channel_weights",
    "check_data_name",
    "check_input_shapes",
    "cut",
    "declared_axes",
    "float_weights",
    "floats_left",
    "holds_integers",
    "infer_shapes",
    "infer_types",
    "linear_uses",
    "loaded",
    "model_inputs",
    "quantisers",
    "quantize_in_place",
    "read_manifest",
    "read_model",
    "sizes_of_names",
    "sort_nodes",
    "stored_tensors",
    "take_inventory",
    "weight_readers",
    "with_outputs",
    "write_model",
]
