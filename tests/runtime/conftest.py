"""Child processes that end as native code does."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from domino_onnx.runtime import child

CRASH = """
import os, signal
from domino_onnx.runtime import guest
opened = guest._opened
def crash(request):
    if request["do"] == "open" and not (request["lean"] and {survives!r} == "lean"):
        os.kill(os.getpid(), signal.SIGSEGV)
    return opened(request)
guest._opened = crash
"""
"""What a null pointer does to a process."""


@pytest.fixture
def crashing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Let children crash when they load a model: all of them, or those that aren't "lean"."""
    before, _, after = child._CODE.partition("from domino_onnx")
    monkeypatch.setattr(child.Child, "_idle", [])

    def let(survives: str) -> None:
        code = before + f"exec({CRASH.format(survives=survives)!r}); from domino_onnx" + after
        monkeypatch.setattr(
            child,
            "_CODE",
            code.replace("{", "{{")
            .replace("}", "}}")
            .replace("{{path!r}}", "{path!r}")
            .replace("{{parent}}", "{parent}"),
        )

    yield let
    while child.Child._idle:
        child.Child._idle.pop().end()
