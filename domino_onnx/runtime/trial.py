"""Does ONNX Runtime survive a model? Tried in a child process, because its native code crashes on some."""

from __future__ import annotations

import signal
import subprocess
import sys

from domino_onnx.errors import ModelError
from domino_onnx.runtime.providers import require_onnxruntime

__all__ = ["require_survivable"]

_SECONDS = 600
_REFUSED = 3
"""Exit code of the child where ONNX Runtime gave an error. All others but 0 are crashes."""
_CHILD = f"""
import sys, threading
try:
    import resource
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
except ImportError:
    pass
import numpy, onnxruntime
types = {{"float": "float32", "double": "float64"}}
options = onnxruntime.SessionOptions()
options.log_severity_level = 4
options.intra_op_num_threads = 1
if sys.argv[1] == "plain":
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
try:
    session = onnxruntime.InferenceSession(sys.stdin.buffer.read(), options, providers=["CPUExecutionProvider"])
except Exception as error:
    sys.stdout.write(str(error).strip().split(chr(10))[0][:500])
    sys.stdout.flush()
    sys.exit({_REFUSED})
try:
    inputs = {{}}
    for value in session.get_inputs():
        kind = value.type.removeprefix("tensor(").removesuffix(")")
        shape = [size if isinstance(size, int) else 1 for size in value.shape]
        if numpy.prod(shape, dtype=float) > 1e7:
            raise ValueError
        inputs[value.name] = numpy.ones(shape, types.get(kind, kind))
    limit = onnxruntime.RunOptions()
    timer = threading.Timer(20, setattr, (limit, "terminate", True))
    timer.daemon = True
    timer.start()
    session.run(None, inputs, limit)
except Exception:
    pass  # made-up inputs needn't fit; a crash tells
"""


def require_survivable(model: bytes) -> None:
    """Raise ModelError if ONNX Runtime refuses a model, or ends the process that loads it or runs it on ones.

    Parameters
    ----------
    model
        With all data inline.
    """
    version = require_onnxruntime().__version__
    code, said = _tried(model, "optimised")
    if code == 0:
        return
    if code == _REFUSED:
        raise ModelError(f"ONNX Runtime {version} can't load the model: {said}")
    without = _tried(model, "plain")[0] == 0
    advice = "; without its graph optimisations it runs" if without else ""
    raise ModelError(f"ONNX Runtime {version} crashes on the model ({_ending(code)}){advice}")


def _tried(model: bytes, how: str) -> tuple[int, str]:
    """Exit code of the child, and what it says."""
    try:
        child = subprocess.run(
            [sys.executable, "-I", "-c", _CHILD, how], input=model, capture_output=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise ModelError(f"ONNX Runtime takes more than {_SECONDS} s to load the model") from None
    except OSError as error:
        raise ModelError(f"no process can be started to try the model in: {error}") from None
    return child.returncode, child.stdout.decode("utf-8", "replace")


def _ending(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
