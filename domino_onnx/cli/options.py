"""Options that commands share, and how their values are read."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from domino_onnx.errors import PlanError
from domino_onnx.graph import Selection
from domino_onnx.pipeline import CompressOptions
from domino_onnx.scheme import Budget, Measure, NMScheme, SchemePool
from domino_onnx.search import DominoOptions
from domino_onnx.targets import TARGETS

__all__ = [
    "InputShape",
    "Parsed",
    "any_format_option",
    "budget_options",
    "common_options",
    "compress_options",
    "data_option",
    "eval_data_option",
    "format_option",
    "model_argument",
    "output_options",
    "precision_options",
    "recovery_options",
    "run_options",
    "search_options",
    "selection_options",
    "set_up_logging",
    "target_options",
    "threads_option",
]

_F = TypeVar("_F", bound=Callable[..., Any])
_PATH = click.Path(path_type=Path)


class InputShape(click.ParamType):  # type: ignore[type-arg]  # generic only in click 8.4 and later
    """``NAME:1,3,224,224``."""

    name = "NAME:DIMS"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, tuple[int, ...]]:
        """Name and sizes; click's usage error if the text is neither."""
        if isinstance(value, tuple):
            return value
        name, _, dims = str(value).rpartition(":")
        try:
            sizes = tuple(int(size) for size in dims.split(",")) if dims else ()
        except ValueError:
            sizes = (0,)
        if not name or any(size < 1 for size in sizes):
            self.fail(f"{value!r} is not NAME:SIZES, for instance input:1,3,224,224", param, ctx)
        return name, sizes


class Parsed(click.ParamType):  # type: ignore[type-arg]  # as above
    """A value in the library's own notation; where that is wrong, its PlanError becomes click's usage error."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """What the text stands for."""
        try:
            return self._parse(value)
        except PlanError as error:
            self.fail(str(error), param, ctx)


def _stacked(*decorators: Callable[[Any], Any]) -> Callable[[_F], _F]:
    def apply(function: _F) -> _F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


model_argument = click.argument("model", type=_PATH)

common_options = _stacked(
    click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout, all else on stderr."),
    click.option("-q", "--quiet", is_flag=True, help="No progress, no tables; errors and warnings stay."),
    click.option("-v", "--verbose", count=True, help="Log what happens on the way; twice for more."),
    click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Of all randomness."),
)

selection_options = _stacked(
    click.option(
        "--include", multiple=True, metavar="GLOB", help="Prune only weights or nodes of this name; repeatable."
    ),
    click.option("--exclude", multiple=True, metavar="GLOB", help="Leave these weights or nodes dense; repeatable."),
    click.option(
        "--input-shape",
        "input_shapes",
        type=InputShape(),
        multiple=True,
        help="Shape of a dynamic input, for MACs, as NAME:1,3,224,224; repeatable. With --data it is taken from there.",
    ),
    click.option("--m", type=int, default=16, show_default=True, help="M of the scheme pool {1, 2, 4, ..., M}:M."),
    click.option(
        "--policy",
        type=click.Choice(["fixed-m", "fixed-n"]),
        default="fixed-m",
        show_default=True,
        help="M fixed and N in {1, 2, 4, ...}, or N = 1 and M in {2, 4, ..., M} (the paper has both).",
    ),
    click.option(
        "--pool",
        type=Parsed("N:M,...", SchemePool.parse),
        help="The schemes themselves, and dense, instead of --m and --policy: 1:16,2:16 or, mixed, 2:4,1:4,2:16.",
    ),
)

budget_options = _stacked(
    click.option(
        "--sparsity", type=float, metavar="S", help="Zeros over all Conv/Gemm/MatMul weights, 0.875 for 87.5 %."
    ),
    click.option(
        "--flops-reduction",
        type=float,
        metavar="F",
        help="Share of the MACs to save, 0 to 1; both hold if both are given.",
    ),
    click.option(
        "--scheme",
        type=Parsed("N:M", NMScheme.parse),
        help="This scheme for every weight that can have it, 2:4 for instance, instead of a budget and a search.",
    ),
)

search_options = _stacked(
    click.option(
        "--strategy",
        type=click.Choice(["auto", "sensitivity", "measured-domino", "domino", "erk", "uniform"]),
        default="auto",
        show_default=True,
        help="How the schemes are chosen: by measured losses (exact, or falling as in DominoSearch), DominoSearch, "
        "Erdos-Renyi-Kernel densities, or the same everywhere. auto: sensitivity with --data, domino without.",
    ),
    click.option(
        "--search-gradients/--no-search-gradients",
        default=True,
        show_default=True,
        help="Let domino use gradients where there are data.",
    ),
    click.option(
        "--vote",
        type=click.FloatRange(0, 1),
        default=0.75,
        show_default=True,
        help="domino: share of groups that must agree before N falls (paper: 0.75).",
    ),
    click.option(
        "--decay",
        type=click.FloatRange(0, min_open=True),
        default=1.0,
        show_default=True,
        help="domino: strength of the pull to zero (paper: 0.1).",
    ),
    click.option(
        "--search-lr",
        type=click.FloatRange(0, min_open=True),
        default=0.01,
        show_default=True,
        help="domino: learning rate (paper: 0.01).",
    ),
    click.option(
        "--erk-weight",
        type=click.FloatRange(0),
        default=0.5,
        show_default=True,
        help="domino: weight of the ERK deficit in a site's factor (paper: 0.5).",
    ),
    click.option(
        "--flops-weight",
        type=click.FloatRange(0),
        default=0.5,
        show_default=True,
        help="domino: weight of the remaining FLOPs (paper: 0.5).",
    ),
    click.option(
        "--check-every",
        type=click.IntRange(1),
        default=1,
        show_default=True,
        help="domino: steps between two votes (paper: 100).",
    ),
    click.option(
        "--penalise-every",
        type=click.IntRange(1),
        default=1,
        show_default=True,
        help="domino: steps between two penalties (paper: 5).",
    ),
)

target_options = _stacked(
    click.option(
        "--target",
        type=click.Choice(TARGETS),
        help="The runtime that masks must suit: tensorrt keeps at most two of each aligned four input channels "
        "wherever its sparse kernels can run. Without: what the plan was made for, else generic.",
    ),
    click.option("--speed-only", is_flag=True, help="Leave dense what the target can't speed up."),
)

recovery_options = _stacked(
    click.option("--recover-steps", type=click.IntRange(1), default=500, show_default=True, help="Finetuning steps."),
    click.option(
        "--recover-lr",
        type=click.FloatRange(0, min_open=True),
        help="Peak learning rate of the finetuning; without, a few are tried.",
    ),
    click.option(
        "--recover-scope",
        type=click.Choice(["model", "blocks", "both"]),
        default="model",
        show_default=True,
        help="Train the model as a whole, in blocks of a few weights towards the dense activations (for models that "
        "don't fit, and whatever operators torch has no counterpart for), or in blocks first.",
    ),
    click.option(
        "--recover-method",
        type=click.Choice(["fixed", "sr-ste"]),
        default="fixed",
        show_default=True,
        help="fixed: what is zero stays zero; sr-ste: masks may move, each weight's scheme stays.",
    ),
    click.option(
        "--recover-optimizer",
        type=click.Choice(["auto", "adamw", "sgd"]),
        default="auto",
        show_default=True,
        help="auto: AdamW, but SGD with momentum for sr-ste.",
    ),
    click.option(
        "--recover-ema",
        type=click.FloatRange(0, 1, max_open=True),
        default=0.0,
        show_default=True,
        help="Decay of a running mean of the weights, which is written then; 0 for none.",
    ),
    click.option(
        "--recover-loss",
        type=click.Choice(["auto", "kl", "mse", "cosine"]),
        default="auto",
        show_default=True,
        help="How outputs are compared with the dense model's; auto: by what they look like.",
    ),
    click.option(
        "--recover-temperature",
        type=click.FloatRange(0, min_open=True),
        default=2.0,
        show_default=True,
        help="Softens class scores before they are compared.",
    ),
    click.option(
        "--recover-label-weight",
        type=click.FloatRange(0, 1),
        default=0.5,
        show_default=True,
        help="What labels count beside the dense model's answers, where the data have labels.",
    ),
    click.option(
        "--recover-feature-weight",
        type=click.FloatRange(0),
        default=0.0,
        show_default=True,
        help="What activations inside the model count beside its outputs; 0 leaves them alone.",
    ),
    click.option(
        "--recover-mix/--no-recover-mix",
        default=True,
        show_default=True,
        help="Learn from mixtures of two samples, which the dense model answers for too (float inputs only).",
    ),
    click.option(
        "--recover-precision",
        type=click.Choice(["float32", "bfloat16"]),
        default="float32",
        show_default=True,
        help="What finetuning computes in; bfloat16 is up to twice as fast where the processor has it.",
    ),
    click.option(
        "--checkpoint",
        type=click.Path(path_type=Path, file_okay=False),
        help="A folder to keep what an interrupted run needs to go on.",
    ),
    click.option(
        "--checkpoint-every",
        type=click.IntRange(1),
        default=100,
        show_default=True,
        help="Finetuning steps between two checkpoints; SIGINT and SIGTERM make one as well.",
    ),
    click.option("--resume", is_flag=True, help="Go on from --checkpoint; from the beginning if nothing is there."),
    click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Samples a step."),
)

threads_option = click.option(
    "--threads",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Threads of torch and ONNX Runtime; 0 lets them choose.",
)
run_options = _stacked(
    click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda"]),
        default="auto",
        show_default=True,
        help="Where torch and ONNX Runtime run; auto takes a GPU where they see one.",
    ),
    threads_option,
)

solver_options = _stacked(
    click.option(
        "--solver",
        type=click.Choice(["refit", "sparsegpt", "magnitude"]),
        default="refit",
        show_default=True,
        help="How masks and weights are found with --data: refitted layer by layer in graph order, as SparseGPT "
        "does, or by magnitude alone.",
    ),
    click.option(
        "--saliency",
        type=click.Choice(["admm", "obs", "fisher", "activation", "magnitude"]),
        default="admm",
        show_default=True,
        help="What decides which weights of a group stay when they are refitted: all groups settled together, one "
        "after another, each weight by its Fisher information (needs torch), by its input's size, or by itself.",
    ),
)
data_option = click.option(
    "--data",
    type=_PATH,
    help="Calibration samples: an .npz with one array per input, a folder of .npz or .npy, or images: a folder with a "
    "preprocessing.yaml, or such a .yaml.",
)
eval_data_option = click.option(
    "--eval-data",
    type=_PATH,
    help="Compare on these samples (with `labels`: top-1), not on those of --data, which the weights are fitted to.",
)

output_options = _stacked(
    click.option(
        "-o",
        "--output",
        type=_PATH,
        help="The file to write; without, a name beside MODEL (MODEL.sparse.onnx, .recovered.onnx).",
    ),
    click.option("--force", is_flag=True, help="Replace an output that exists."),
    click.option("--report", type=_PATH, metavar="FILE", help="Also write a report: .html or .json."),
)


def _format(**more: Any) -> Callable[[_F], _F]:
    return click.option(
        "--format",
        "form",
        type=click.Choice(["dense", "packed"]),
        help="How weights are stored: zeros in place, or packed and expanded by standard operators while the file is "
        "loaded.",
        **more,
    )


format_option = _format(default="dense", show_default=True)
any_format_option = _format()

precision_options = _stacked(
    click.option(
        "--precision",
        type=click.Choice(["keep", "fp16", "bf16"]),
        default="keep",
        show_default=True,
        help="What the output computes in. fp16: half precision, as strongly typed TensorRT wants it; its inputs and "
        "outputs stay float32.",
    ),
    click.option(
        "--weights",
        type=click.Choice(["keep", "int8"]),
        default="keep",
        show_default=True,
        help="What weights are stored as. int8: symmetric, a scale for each output channel, made floats again by "
        "DequantizeLinear; zeros stay zeros.",
    ),
)


def set_up_logging(verbose: int, quiet: bool) -> None:
    """Log to stderr: warnings alone, the decisions with -v, everything with -vv."""
    level = logging.ERROR if quiet else [logging.WARNING, logging.INFO, logging.DEBUG][min(verbose, 2)]
    logging.basicConfig(level=level, format="%(message)s")


def compress_options(**given: Any) -> CompressOptions:
    """The library's options from the command line's; those a command doesn't have keep their defaults."""
    _refuse_contradictions()
    family = SchemePool.fixed_n if given.get("policy") == "fixed-n" else SchemePool.fixed_m
    domino = {
        field: given[option]
        for option, field in {
            "vote": "vote",
            "decay": "decay",
            "search_lr": "lr",
            "erk_weight": "erk_weight",
            "flops_weight": "flops_weight",
            "check_every": "check_every",
            "penalise_every": "penalise_every",
        }.items()
        if option in given
    }
    return CompressOptions(
        budgets=_budgets(given.get("sparsity"), given.get("flops_reduction")),
        pool=given.get("pool") or family(given.get("m", 16)),
        domino=DominoOptions(**domino),
        selection=Selection(include=given.get("include", ()), exclude=given.get("exclude", ())),
        input_shapes=dict(given.get("input_shapes", ())),
        search_with_data=given.get("search_gradients", True),
        **{name: given[name] for name in _SAME_NAME if name in given},
    )


_SAME_NAME = (
    *(
        "max_drop",
        "scheme",
        "target",
        "speed_only",
        "strategy",
        "solver",
        "saliency",
        "data",
        "eval_data",
        "plan",
        "recover",
        "recover_steps",
        "recover_lr",
        "recover_scope",
        "recover_method",
        "recover_optimizer",
        "recover_ema",
        "recover_loss",
        "recover_temperature",
        "recover_label_weight",
        "recover_feature_weight",
        "recover_mix",
        "recover_precision",
        "checkpoint",
        "checkpoint_every",
        "form",
        "precision",
        "weights",
        "resume",
        "batch_size",
    ),
    *("device", "threads", "seed", "force"),
)

_EXCLUSIVE = (
    ("sparsity", "plan", "scheme", "max_drop"),
    ("flops_reduction", "plan", "scheme", "max_drop"),
    ("scheme", "strategy"),
    ("scheme", "pool", "m"),
    ("scheme", "pool", "policy"),
)
"""Options that answer the same question: at most one of each row may be given."""


def _refuse_contradictions() -> None:
    """Raise click's usage error for two answers to one question; a default is no answer."""
    context = click.get_current_context()
    if context.params.get("resume") and context.params.get("checkpoint") is None:
        raise click.UsageError("--resume goes on from a --checkpoint: give its folder")
    aims = context.params.get("target") == "tensorrt" or (
        context.params.get("target") is None and context.params.get("plan") is not None
    )
    if context.params.get("speed_only") and not aims:
        raise click.UsageError("--speed-only leaves dense what a target can't speed up: give --target tensorrt")
    for options in _EXCLUSIVE:
        given = [
            f"--{name.replace('_', '-')}"
            for name in options
            if context.get_parameter_source(name) not in (None, ParameterSource.DEFAULT)
        ]
        if len(given) > 1:
            raise click.UsageError(f"{' and '.join(given)} contradict each other; give one")


def _budgets(sparsity: float | None, flops_reduction: float | None) -> tuple[Budget, ...]:
    wanted: tuple[tuple[Measure, float | None], ...] = (("params", sparsity), ("flops", flops_reduction))
    return tuple(Budget(measure=measure, reduction=share) for measure, share in wanted if share is not None)
