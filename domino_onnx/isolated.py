"""How is a Python process started that finds the packages of this one, and takes nothing else from its environment?"""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["isolated"]


def isolated(code: str, *arguments: str) -> list[str]:
    """The command of a process that runs `code`, with `arguments` behind the first of `sys.argv`.

    PYTHONPATH and folders of a user's own are hidden from an isolated process, so that it gets `sys.path` in the code.
    """
    path = [str(Path(place).absolute()) for place in sys.path]
    return [sys.executable, "-I", "-c", f"import sys; sys.path[:] = {path!r}\n{code}", *arguments]
