"""What a user can ask for: the options in groups, and recipe files that hold them."""

from domino_onnx.options.compress import CompressOptions
from domino_onnx.options.duration import Duration
from domino_onnx.options.groups import (
    MEASURED,
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
from domino_onnx.options.keywords import KEYWORDS
from domino_onnx.options.recipe import overridden, read_recipe, recipe_document, recipe_of, with_files
from domino_onnx.options.share import SHARE, parse_share
from domino_onnx.options.size import ByteSize
from domino_onnx.options.steps import (
    DEFAULT_TIME,
    JUDGED_DRAWS,
    TRIED_RATES,
    Decider,
    Pace,
    PlannedSteps,
    looks_within,
    planned_steps,
    rates_to_try,
    trial_steps,
)
from domino_onnx.options.timing import TimingOptions

__all__ = [
    "DEFAULT_TIME",
    "JUDGED_DRAWS",
    "KEYWORDS",
    "MEASURED",
    "NO_DATA",
    "SHARE",
    "TRIED_RATES",
    "ByteSize",
    "CompressOptions",
    "DataOptions",
    "Decider",
    "Device",
    "Duration",
    "FinetuneOptions",
    "Goal",
    "LossKind",
    "Method",
    "OutputOptions",
    "Pace",
    "PlannedSteps",
    "Precision",
    "RunOptions",
    "SearchOptions",
    "Solver",
    "SolverOptions",
    "Strategy",
    "TargetOptions",
    "TimingOptions",
    "WeightType",
    "looks_within",
    "overridden",
    "parse_share",
    "planned_steps",
    "rates_to_try",
    "read_recipe",
    "recipe_document",
    "recipe_of",
    "trial_steps",
    "with_files",
]
