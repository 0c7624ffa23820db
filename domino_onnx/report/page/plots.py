"""Plots as SVG that needs no script: pygal draws them, the page's style colours them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree as ET

import pygal
from markupsafe import Markup
from pygal.style import Style

from domino_onnx.report.text import millions

__all__ = ["bars", "line"]

# pygal finds its plug-ins by a protocol that Python has given up. We use none, and each import would warn of it.
sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, pygal.PluginImportFixer)]

_WIDTH, _HEIGHT = 600, 280
_NAMESPACE = "{http://www.w3.org/2000/svg}"
_DROPPED = {f"{_NAMESPACE}{name}" for name in ("script", "style", "desc", "defs")} | {"script", "style", "desc", "defs"}
"""Scripts and styles of pygal's own, and the values that its script would show."""
_LOOK = Style(background="transparent", plot_background="transparent", font_family="inherit", label_font_size=13)

Points = Sequence[tuple[float, float]]


def line(
    title: str, points: Points, x_title: str, y_title: str, *, chosen: Points = (), percents: tuple[bool, bool]
) -> Markup:
    """Points in the order of x, joined by a line.

    Parameters
    ----------
    title
        What the plot shows, for readers that don't see it.
    chosen
        Points that are marked.
    percents
        Whether each axis shows shares as percents.
    """
    chart = pygal.XY(**_shared(x_title, y_title, dots_size=3))
    chart.x_value_formatter, chart.value_formatter = (_percent if each else _number for each in percents)
    chart.add("", list(points))
    chart.add("", [])  # its colour is that of the second part of a bar
    chart.add("", list(chosen), stroke=False, dots_size=7)
    return _drawn(chart, title)


def bars(
    title: str,
    parts: Sequence[Sequence[float]],
    x_title: str,
    y_title: str,
    *,
    as_percent: bool,
) -> Markup:
    """A bar for each place, its parts on top of each other."""
    chart = pygal.StackedBar(**_shared(x_title, y_title, spacing=0))
    chart.value_formatter = _percent if as_percent else _count
    for part in parts:
        chart.add("", list(part))
    return _drawn(chart, title)


def _shared(x_title: str, y_title: str, **more: Any) -> dict[str, Any]:
    return {
        "js": [],
        "style": _LOOK,
        "no_prefix": True,
        "show_legend": False,
        "width": _WIDTH,
        "height": _HEIGHT,
        "x_title": x_title,
        "y_title": y_title,
        "include_x_axis": True,
        "show_x_labels": True,
        "print_values": False,
        "max_scale": 6,
        **more,
    }


def _drawn(chart: Any, title: str) -> Markup:
    root = chart.render_tree()
    root.attrib.pop("id", None)
    root.set("role", "img")
    root.set("aria-label", title)
    for parent in list(root.iter()):
        for child in list(parent):
            if not isinstance(child.tag, str) or child.tag in _DROPPED:  # comments have a function as their tag
                parent.remove(child)
    return Markup(ET.tostring(root, encoding="unicode").replace("ns0:", "").replace(":ns0", ""))  # noqa: S704  # escaped


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"


def _count(value: float) -> str:
    return millions(round(value))


def _number(value: float) -> str:
    return f"{value:.4g}"
