"""README, docs and changelog are written in plain words: short sentences, and none of the words that make riddles."""

from __future__ import annotations

import itertools
import json
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "docs").rglob("*.ipynb")),
    *(ROOT / folder / "README.md" for folder in ("benchmarks", "kernels", "sample_models")),
]
MOST_WORDS, MEDIAN = 30, 16
BANNED = re.compile(r"\b(whoever|whatsoever|nobody|for want of|stands?|such|beside|thereof|hitherto)\b", re.IGNORECASE)


PROSE, CELLS = ("paragraph_open",), ("td_open", "th_open", "heading_open")


def told(markdown: str, where: tuple[str, ...]) -> Iterator[str]:
    """The text of each paragraph and list item, or of each cell and heading; code is one word."""
    tokens = MarkdownIt().enable("table").parse(markdown)
    for before, token in itertools.pairwise(tokens):
        if token.type == "inline" and before.type in where:
            parts = token.children or []
            texts = ("CODE" if part.type == "code_inline" else part.content for part in parts)
            yield " ".join(" ".join(text or " " for text in texts).split())


def sentences(markdown: str, where: tuple[str, ...] = PROSE) -> Iterator[str]:
    for text in told(markdown, where):
        yield from re.split(r"(?<=[.!?:;])\s+", text)


def words(sentence: str) -> list[str]:
    return re.findall(r"[A-Za-z0-9][\w'.%/,-]*", sentence)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_sentences_are_short_and_plain(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        text = "\n\n".join(
            "".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"
        )
    said = [sentence for sentence in sentences(text) if words(sentence)]
    all_said = [*said, *sentences(text, CELLS)]
    assert not [sentence for sentence in all_said if len(words(sentence)) > MOST_WORDS]
    assert statistics.median(len(words(sentence)) for sentence in said) <= MEDIAN
    assert not [sentence for sentence in said if BANNED.search(sentence)]


@pytest.mark.parametrize("folder", ["domino_onnx", "kernels/src", "scripts"])
def test_code_has_no_riddles(folder: str) -> None:
    """In docstrings, comments, messages and help."""
    files = [path for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    lines = {path: path.read_text(encoding="utf-8").splitlines() for path in files}
    found = [
        f"{path.name}:{at}: {line}" for path in files for at, line in enumerate(lines[path], 1) if BANNED.search(line)
    ]
    assert files
    assert not found


def test_a_long_sentence_is_found() -> None:
    text = "One two. " + "word " * 31 + "end.\n\n| a table | isn't |\n|---|---|\n| " + "word " * 40 + "| x |\n"
    assert [len(words(sentence)) for sentence in sentences(text)] == [2, 32]
    assert [len(words(sentence)) for sentence in sentences(text, CELLS)] == [2, 1, 40, 1]
