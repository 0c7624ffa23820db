"""What a user can ask for: the options in groups, and recipe files that hold them."""

from domino_onnx.options.compress import CompressOptions
from domino_onnx.options.groups import (
    NO_DATA,
    DataOptions,
    Device,
    FinetuneOptions,
    Goal,
    LossKind,
    Method,
    OutputOptions,
    Precision,
    RunOptions,
    SearchOptions,
    Solver,
    SolverOptions,
    Strategy,
    TargetOptions,
    WeightType,
)
from domino_onnx.options.recipe import overridden, read_recipe, recipe_document
from domino_onnx.options.size import ByteSize

__all__ = [
    "NO_DATA",
    "ByteSize",
    "CompressOptions",
    "DataOptions",
    "Device",
    "FinetuneOptions",
    "Goal",
    "LossKind",
    "Method",
    "OutputOptions",
    "Precision",
    "RunOptions",
    "SearchOptions",
    "Solver",
    "SolverOptions",
    "Strategy",
    "TargetOptions",
    "WeightType",
    "overridden",
    "read_recipe",
    "recipe_document",
]
