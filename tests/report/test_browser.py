"""The report in a browser: nothing is wider than a phone, tables can be sorted, weights can be looked for."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from domino_onnx.options import CompressOptions, DataOptions, FinetuneOptions, Goal
from domino_onnx.pipeline import compress
from domino_onnx.report.page import compress_page

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")

WRITE = "document.title = JSON.stringify(found)"


def run(page: str, script: str, folder: Path) -> Any:
    """What `script`, put behind the page, has in `found`. The page's policy would stop it, so that is taken out."""
    free = re.sub(r"<meta http-equiv[^>]*>", "", page).replace(
        "</body>", f"<script>{{{script};{WRITE}}}</script></body>"
    )
    path = folder / "page.html"
    path.write_text(free, encoding="utf-8")
    words = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", path.as_uri()]
    shown = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
    return json.loads(html.unescape(re.search("<title>(.*?)</title>", shown, re.DOTALL).group(1)))  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> str:
    options = CompressOptions(
        goal=Goal(sparsity=0.5),
        data=DataOptions(calibration=samples / "digits_calibration.npz"),
        finetune=FinetuneOptions(enabled=False),
    )
    output = tmp_path_factory.mktemp("browser") / "out.onnx"
    return compress_page(compress(samples / "digits_transformer.onnx", output, options))


def test_nothing_is_wider_than_a_phone(page: str, tmp_path: Path) -> None:
    inner = html.escape(re.sub(r"<meta http-equiv[^>]*>", "", page))
    frame = f'<html><title></title><body><iframe width="390" height="800" srcdoc="{inner}"></iframe></body></html>'
    script = (
        "var root, found; onload = () => { root = frames[0].document.documentElement; found = root.scrollWidth; %s }"
    )
    path = tmp_path / "frame.html"
    path.write_text(frame.replace("</body>", f"<script>{script % WRITE}</script></body>"), encoding="utf-8")
    words = [
        str(BROWSER),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--virtual-time-budget=3000",
        "--dump-dom",
    ]
    shown = subprocess.run([*words, path.as_uri()], capture_output=True, text=True, check=True, timeout=60).stdout
    assert int(re.search("<title>(.*?)</title>", shown).group(1)) <= 390  # type: ignore[union-attr]


def test_a_click_on_a_head_sorts(page: str, tmp_path: Path) -> None:
    script = """
    const table = document.querySelector("table.sortable");
    const column = [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent === "numbers");
    const values = () => [...table.tBodies[0].rows].map((row) => Number(row.cells[column].dataset.value));
    const button = table.tHead.rows[0].cells[column].querySelector("button");
    const found = [];
    for (let at = 0; at < 2; at++) { button.click(); found.push(values()); }
    """
    rising, falling = run(page, script, tmp_path)
    assert len(rising) > 10
    assert rising == sorted(rising)
    assert falling == sorted(falling, reverse=True)


def test_weights_can_be_looked_for(page: str, tmp_path: Path) -> None:
    script = """
    const search = document.querySelector("#search");
    search.value = "Gemm";
    search.dispatchEvent(new Event("input"));
    const rows = [...document.querySelectorAll("details.block tbody tr")].filter((row) => !row.hidden);
    const found = rows.map((row) => row.cells[1].textContent);
    """
    found = run(page, script, tmp_path)
    assert found
    assert set(found) == {"Gemm"}


def test_without_script_nothing_is_hidden_but_the_search(page: str) -> None:
    assert page.count(" hidden") == 1
    assert "<label hidden>" in page
