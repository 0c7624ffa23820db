"""The options that commands share, in the sections of their help."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import cloup

from domino_onnx.cli.fields import field_option, given_fields, taken_fields
from domino_onnx.cli.starting import begun
from domino_onnx.options import CompressOptions, overridden, read_recipe, with_files
from domino_onnx.report.text import printable_lines

__all__ = [
    "begin",
    "chosen_options",
    "data_option",
    "data_options",
    "finetuning_options",
    "goal_options",
    "model_argument",
    "output_options",
    "run_options",
    "target_options",
]

PATH = click.Path(path_type=Path)

Section = Callable[[Any], Any]
"""A decorator that adds the options of one section."""

SPARSITY = field_option("goal.sparsity", "--sparsity", metavar="S")
FLOPS_REDUCTION = field_option("goal.flops_reduction", "--flops-reduction", metavar="F")
MAX_DROP = field_option("goal.max_drop", "--max-drop", metavar="D")
SCHEME = field_option("goal.scheme", "--scheme")
PLAN = field_option("goal.plan", "--plan", metavar="FILE")

DATA = field_option("data.calibration", "--data", metavar="PATH")
EVAL_DATA = field_option("data.evaluation", "--eval-data", metavar="PATH")
METRIC = field_option("data.metric", "--metric", metavar="FILE:FUNC")
OUTPUT_KIND = field_option("data.output_kinds", "--output-kind", metavar="NAME=KIND")
BATCH_AXIS = field_option("data.batch_axes", "--batch-axis", metavar="NAME=AXIS")
INPUT_SHAPE = field_option("data.input_shapes", "--input-shape")
SHAPE_TO_TIME = field_option(
    "data.input_shapes", "--input-shape", told="Shape of an input with free axes, without --data."
)


def data_option(told: str) -> Section:
    """`--data` of a command that takes other samples than `DATA` says, or for something else."""
    option: Section = field_option("data.calibration", "--data", metavar="PATH", told=told)
    return option


TARGET = field_option("target.runtime", "--target")
TARGET_WITHOUT_PLAN = field_option(
    "target.runtime", "--target", told="Runtime that the masks must suit. Default: generic."
)
SPEED_ONLY = field_option("target.speed_only", "--speed-only")
INCLUDE = field_option("target.include", "--include", metavar="GLOB")
EXCLUDE = field_option("target.exclude", "--exclude", metavar="GLOB")
POOL = field_option("search.pool", "--pool")

FORMAT = field_option("output.format", "--format")
FORMAT_OR_AS_IT_IS = field_option(
    "output.format",
    "--format",
    show_default=False,
    told="dense: zeros in place. packed: zeros left out, and put in by standard operators. Default: as in MODEL.",
)
PRECISION = field_option("output.precision", "--precision")
WEIGHTS = field_option("output.weights", "--weights")
OUTPUT = cloup.option("-o", "--output", type=PATH, metavar="FILE", help="File to write. [default: next to MODEL]")
DEPLOY = field_option("output.deploy", "--deploy")
FORCE = cloup.option("--force", is_flag=True, help="Replace files that exist.")
REPORT = cloup.option("--report", type=PATH, metavar="FILE", help="Also write a report: .html or .json.")

FINETUNE = field_option("finetune.enabled", "--finetune/--no-finetune")
FINETUNE_STEPS = field_option("finetune.steps", "--finetune-steps", metavar="K")
FINETUNE_TIME = field_option("finetune.time", "--finetune-time")

RECIPE = cloup.option(
    "--recipe",
    type=PATH,
    metavar="FILE",
    help="Take all options from a .toml, or an earlier run's JSON report.",
)
CHECKPOINT = field_option("run.checkpoint", "--checkpoint", metavar="DIR")
CHECKPOINT_OF_SWEEP = field_option(
    "run.checkpoint",
    "--checkpoint",
    metavar="DIR",
    told="Folder for what is found on the way. Default: next to the report, the plans or MODEL.",
)
RESUME = field_option("run.resume", "--resume")
BATCH_SIZE = field_option("run.batch_size", "--batch-size", metavar="B")
DEVICE = field_option("run.device", "--device")
THREADS = field_option("run.threads", "--threads", metavar="T")
SEED = field_option("run.seed", "--seed", metavar="X")
MEMORY = field_option("run.memory", "--memory")
SCRATCH = field_option("run.scratch", "--scratch", metavar="DIR")
RESOURCES = (DEVICE, THREADS, MEMORY, SCRATCH)
JSON = cloup.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout, all else on stderr.")
QUIET = cloup.option("-q", "--quiet", is_flag=True, help="Show errors and warnings only.")
VERBOSE = cloup.option("-v", "--verbose", count=True, help="Log the decisions; -vv logs more.")
COMMON = (JSON, QUIET, VERBOSE)

model_argument: Section = cloup.argument("model", type=PATH)


goal_options = partial(cloup.option_group, "Goal (give one)")
data_options = partial(cloup.option_group, "Data")
target_options = partial(cloup.option_group, "Target")
output_options = partial(cloup.option_group, "Output")
finetuning_options = partial(cloup.option_group, "Finetuning")


def run_options(*options: Any) -> Section:
    """How the work is done, and what is printed."""
    group: Section = cloup.option_group("Run", *options, *COMMON)
    return group


def begin(verbose: int, quiet: bool) -> None:
    """All is imported, and the work begins. Log to stderr: warnings alone, the decisions with -v, all with -vv."""
    begun()
    level = logging.ERROR if quiet else [logging.WARNING, logging.INFO, logging.DEBUG][min(verbose, 2)]
    handler = logging.StreamHandler()
    handler.setFormatter(_PlainFormatter("%(message)s"))
    logging.basicConfig(level=level, handlers=[handler])


class _PlainFormatter(logging.Formatter):
    """Lines in which names of tensors change no terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, with control characters escaped."""
        return printable_lines(super().format(record))


def chosen_options(recipe: Path | None = None, *, has_goal: bool = True) -> CompressOptions:
    """The options of the recipe, if one is given, with those of the command line in their place.

    Parameters
    ----------
    has_goal
        Whether the command looks at a goal. Else that of the recipe is dropped, and contradicts nothing.

    Raises
    ------
    OptionError
        If the recipe can't be read, or names what is in no file, or options contradict each other.
    """
    base = CompressOptions() if recipe is None else read_recipe(recipe)
    options = overridden(base if has_goal else base.without_goal(), given_fields(click.get_current_context()))
    return with_files(options, taken_fields(click.get_current_context()))
