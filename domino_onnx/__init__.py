"""Mixed N:M sparsity for trained ONNX models: each command of `domino-onnx` is a function here.

::

    from pathlib import Path
    from domino_onnx import Budget, CompressOptions, compress

    options = CompressOptions(budgets=(Budget(measure="params", reduction=0.75),), data=Path("calibration.npz"))
    result = compress(Path("model.onnx"), Path("model.sparse.onnx"), options)
"""

from domino_onnx import errors
from domino_onnx._version import __version__
from domino_onnx.errors import DominoError
from domino_onnx.graph import Selection
from domino_onnx.pipeline import (
    CompressOptions,
    apply,
    compress,
    convert,
    doctor,
    evaluate,
    finetune,
    inspect,
    search,
    sweep,
    verify,
)
from domino_onnx.scheme import Budget, NMScheme, Plan, SchemePool
from domino_onnx.search import DominoOptions

__all__ = [
    "Budget",
    "CompressOptions",
    "DominoError",
    "DominoOptions",
    "NMScheme",
    "Plan",
    "SchemePool",
    "Selection",
    "__version__",
    "apply",
    "compress",
    "convert",
    "doctor",
    "errors",
    "evaluate",
    "finetune",
    "inspect",
    "search",
    "sweep",
    "verify",
]
