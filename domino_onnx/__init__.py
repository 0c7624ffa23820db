"""Mixed N:M sparsity for trained ONNX models: each command of `domino-onnx` is a function here.

::

    import domino_onnx

    result = domino_onnx.compress("model.onnx", sparsity=0.75, data={"input": images})
    result.save("model.sparse.onnx")

docs/python.md has an example of everything.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from domino_onnx._version import __version__

if TYPE_CHECKING:
    from domino_onnx import errors
    from domino_onnx.api import (
        BenchmarkResult,
        CompressResult,
        ConvertResult,
        DeployResult,
        DoctorResult,
        DominoWarning,
        EvaluateResult,
        InspectResult,
        Progress,
        SearchResult,
        SweepResult,
        VerifyResult,
        WrittenModel,
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
    from domino_onnx.errors import DominoError
    from domino_onnx.scheme import NMScheme, Plan
    from domino_onnx.stages import Observer

__all__ = [
    "BenchmarkResult",
    "CompressResult",
    "ConvertResult",
    "DeployResult",
    "DoctorResult",
    "DominoError",
    "DominoWarning",
    "EvaluateResult",
    "InspectResult",
    "NMScheme",
    "Observer",
    "Plan",
    "Progress",
    "SearchResult",
    "SweepResult",
    "VerifyResult",
    "WrittenModel",
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
    "search",
    "session",
    "sweep",
    "verify",
]

_HOMES = {"DominoError": "errors", "NMScheme": "scheme", "Plan": "scheme", "Observer": "stages"}
"""The rooms of those public names that aren't of `domino_onnx.api`."""


class _Package(ModuleType):
    """Some rooms and functions have the same name. An import of the room leaves the name to the function."""

    def __setattr__(self, name: str, value: object) -> None:
        if name == "errors" or name not in __all__ or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


def __getattr__(name: str) -> Any:
    """A public name, imported when it is first asked for: the command line starts without all of the library."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "errors":
        return importlib.import_module(f"{__name__}.errors")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'api')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


sys.modules[__name__].__class__ = _Package
