"""The docs build as a site: every page is in its table of contents, every link and anchor leads somewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "zensical.toml"


def test_every_page_is_in_the_table_of_contents() -> None:
    listed = re.findall(r'= "([a-z/-]+\.md)"', CONFIG.read_text(encoding="utf-8"))
    there = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert sorted(listed) == sorted(there)


def test_the_site_builds_without_warnings(tmp_path: Path) -> None:
    pytest.importorskip("zensical", reason="the docs are built with zensical")
    pytest.importorskip("mkdocstrings", reason="the docs are built with mkdocstrings")
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    text = CONFIG.read_text(encoding="utf-8").replace('paths = ["."]', f"paths = ['{ROOT}']")
    (tmp_path / "zensical.toml").write_text(text, encoding="utf-8")
    words = [sys.executable, "-m", "zensical", "build", "--strict"]
    built = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    made = tmp_path / tomllib.loads(text)["project"]["site_dir"]
    assert (made / "index.html").stat().st_size
    assert "http://fonts." not in (made / "index.html").read_text(encoding="utf-8")
