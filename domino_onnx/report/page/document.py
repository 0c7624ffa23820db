"""The frame that all pages share: templates, style, and the one script that a page may run."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from domino_onnx._version import __version__

__all__ = ["render", "with_units"]


def render(template: str, **values: Any) -> str:
    """A page. Every text is escaped; the page's own policy lets no script run but ours, and loads nothing."""
    script = _text("sort.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    own = {"style": Markup(_text("style.css")), "script": Markup(script)}  # noqa: S704  # files of this package
    return _environment().get_template(template).render(version=__version__, policy=policy, **own, **values)


def with_units(text: str) -> str:
    """The text, with each number and its unit on one line."""
    return re.sub(r"(?<=\d) (?=(?:%|[kMGT]?B|ms|s|k|M|G)(?!\w))", "\N{NO-BREAK SPACE}", text)


@functools.cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("domino_onnx.report", "page"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    made.filters["units"] = with_units
    return made


def _text(name: str) -> str:
    return resources.files("domino_onnx.report.page").joinpath(name).read_text(encoding="utf-8")
