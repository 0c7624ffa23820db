"""Mixed N:M sparsity for trained ONNX models: each command of `domino-onnx` is a function here.

::

    from pathlib import Path
    from domino_onnx import CompressOptions, DataOptions, Goal, compress

    options = CompressOptions(goal=Goal(sparsity=0.75), data=DataOptions(calibration=Path("calibration.npz")))
    result = compress(Path("model.onnx"), Path("model.sparse.onnx"), options)
"""

from domino_onnx import errors
from domino_onnx._version import __version__
from domino_onnx.errors import DominoError
from domino_onnx.options import (
    ByteSize,
    CompressOptions,
    DataOptions,
    FinetuneOptions,
    Goal,
    OutputOptions,
    RunOptions,
    SearchOptions,
    SolverOptions,
    TargetOptions,
    read_recipe,
)
from domino_onnx.pipeline import (
    apply,
    benchmark,
    compress,
    convert,
    deploy,
    doctor,
    evaluate,
    finetune,
    inspect,
    search,
    session,
    sweep,
    verify,
)
from domino_onnx.scheme import Budget, NMScheme, Plan, SchemePool
from domino_onnx.search import DominoOptions

__all__ = [
    "Budget",
    "ByteSize",
    "CompressOptions",
    "DataOptions",
    "DominoError",
    "DominoOptions",
    "FinetuneOptions",
    "Goal",
    "NMScheme",
    "OutputOptions",
    "Plan",
    "RunOptions",
    "SchemePool",
    "SearchOptions",
    "SolverOptions",
    "TargetOptions",
    "__version__",
    "apply",
    "benchmark",
    "compress",
    "convert",
    "deploy",
    "doctor",
    "errors",
    "evaluate",
    "finetune",
    "inspect",
    "read_recipe",
    "search",
    "session",
    "sweep",
    "verify",
]
