"""Every error that domino-onnx raises on purpose.

::

    DominoError                        exit code 1
    ├── DependencyError                a package is missing, doubled or too old
    ├── ModelError                     the model can't be read, is invalid or unsafe to read
    │   ├── CrashError                 ONNX Runtime crashes on the model, in a process of its own
    │   ├── RunError                   ONNX Runtime loads the model, and stops on these inputs
    │   └── UnsupportedOperatorError   operators without a torch counterpart, all of them at once
    ├── DeviceMemoryError              a GPU's memory is full; says what needs less
    ├── OptionError                    exit code 2: an option out of range, unknown, or against another
    ├── DataError                      calibration or evaluation data that doesn't fit
    ├── MetricError                    a user's own metric that fails or gives no number
    ├── PlanError                      a plan that is malformed or made for another model
    │   └── BudgetError                a budget that can't be met; says what can
    ├── FinetuneError                  nothing can be learned
    ├── CheckpointError                a checkpoint that can't be kept, read, or is of another run
    ├── ProcessError                   a process that did a part of the work was ended from outside
    ├── ScratchError                   activations that don't fit in memory can't be kept on the disk
    ├── OutputError                    the output can't or mustn't be written
    └── CheckFailed                    exit code 3: the file was written, a gate was not met

click's usage errors keep exit code 2, an interruption 130. A weight that can't be pruned is not an error: it is a
:class:`domino_onnx.scheme.Skip` with its reason.

Each message says what failed, where (file, node, initializer), what was expected and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable

from domino_onnx.plurals import quantity

__all__ = [
    "BudgetError",
    "CheckFailed",
    "CheckpointError",
    "CrashError",
    "DataError",
    "DependencyError",
    "DeviceMemoryError",
    "DominoError",
    "FinetuneError",
    "MetricError",
    "ModelError",
    "OptionError",
    "OutputError",
    "PlanError",
    "ProcessError",
    "RunError",
    "ScratchError",
    "UnsupportedOperatorError",
]


LESS_MEMORY = "Give a smaller --batch-size, end what else uses the GPU, or give --device cpu"
"""What to do about a full GPU."""


class DominoError(Exception):
    """Base class of every error raised on purpose; `exit_code` is what the command line ends with."""

    exit_code = 1


class DependencyError(DominoError):
    """A package that the work needs is missing, installed twice under two names, or too old."""


class ModelError(DominoError):
    """The model can't be read, isn't a valid ONNX model, or asks for files outside its folder."""


class CrashError(ModelError):
    """ONNX Runtime ended the child process in which it loaded or ran the model."""


class RunError(ModelError):
    """ONNX Runtime loaded the model, and stopped while it ran: often because of the inputs' values."""


class UnsupportedOperatorError(ModelError):
    """Operators that the torch bridge doesn't know; `operators` names all of them, sorted."""

    def __init__(self, operators: Iterable[str]) -> None:
        self.operators = tuple(sorted(set(operators)))
        super().__init__(
            f"no torch counterpart for {quantity(len(self.operators), 'operator')} of this model: "
            f"{', '.join(self.operators)}"
        )

    def __reduce__(self) -> tuple[type[UnsupportedOperatorError], tuple[tuple[str, ...]]]:
        """A copy is made of the operators, not of the message."""
        return type(self), (self.operators,)


class DeviceMemoryError(DominoError):
    """A GPU's memory doesn't hold what is computed on it."""


class OptionError(DominoError):
    """An option that is unknown or out of range, or two options that contradict each other."""

    exit_code = 2


class DataError(DominoError):
    """Calibration or evaluation data whose names, shapes, types or values don't fit the model."""


class MetricError(DominoError):
    """A user's own metric that can't be loaded, fails, or gives no finite number."""


class PlanError(DominoError):
    """A plan that is malformed, or that was made for another model."""


class BudgetError(PlanError):
    """A budget that no choice of schemes meets; the message says what is reachable."""


class FinetuneError(DominoError):
    """Nothing can be learned: no data, no finite loss or gradient, or no weight that training moves."""


class CheckpointError(DominoError):
    """A checkpoint that can't be written or read, or that another run has left."""


class ScratchError(DominoError):
    """Activations beyond the memory budget that can't be kept on the disk, or not be read back."""


class ProcessError(DominoError):
    """A process that did a part of the work was ended from outside, most often because memory ran out."""


class OutputError(DominoError):
    """The output exists, is the input itself, or can't be written."""


class CheckFailed(DominoError):
    """A file was written (or verified) and does not hold what it promises."""

    exit_code = 3
