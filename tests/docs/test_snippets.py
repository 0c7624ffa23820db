"""The commands and the Python in README and docs do what they say, on a small model."""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from domino_onnx.data import InputSpec
from domino_onnx.data.fields import Fields
from domino_onnx.data.preprocessing import read_preprocessing

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("yaml")

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
SAMPLES = ROOT / "sample_models"
_SAMPLES = 96
"""Enough to show that a command does its work."""


def _blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def _commands(page: Path) -> list[str]:
    """Lines of console blocks that call this program, with continued lines joined."""
    text = "\n".join(_blocks(page, "console")).replace("\\\n", " ")
    return [line[2:] for line in text.splitlines() if line.startswith("$ domino-onnx ")]


@pytest.fixture(autouse=True)
def _fewer_samples(monkeypatch: pytest.MonkeyPatch, brief_timing: None) -> None:
    """As many are drawn as are given, and few are looked at to tell how images are prepared."""
    del brief_timing
    from domino_onnx.stages.reading import drawing
    from domino_onnx.synthesis import opening

    monkeypatch.setattr(drawing, "_MOST", _SAMPLES)
    monkeypatch.setattr(opening, "_GUESSED_FROM", 32)


@pytest.fixture(scope="module")
def folder(small_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages talk about: a model, data for it, and a compressed file."""
    path = tmp_path_factory.mktemp("docs")
    shutil.copy(small_digits, path / "model.onnx")
    for name in ("calibration", "evaluation"):
        with np.load(SAMPLES / f"digits_{name}.npz") as arrays:
            np.savez(path / f"{name}.npz", **{key: array[:_SAMPLES] for key, array in arrays.items()})
    _write_images(path / "images")
    _run("domino-onnx compress model.onnx --sparsity 0.75 --data none", path)
    _run("domino-onnx convert model.sparse.onnx --format packed -o model.packed.onnx", path)
    return path


def _write_images(folder: Path) -> None:
    """Some of the evaluation images as files, a folder for each class."""
    folder.mkdir()
    (folder / "preprocessing.yaml").write_text("color: gray\nscale: 16\nlabels: {folders: true}")
    with np.load(SAMPLES / "digits_evaluation.npz") as arrays:
        images, labels = np.rint(arrays["image"][:64, 0] * 16).astype(np.uint8), arrays["labels"][:64]
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        (folder / str(label)).mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / str(label) / f"{number}.png")


def _require_kernels() -> None:
    """Skip what needs the operators, where they were never built."""
    pytest.importorskip("onnx_graphsurgeon", reason="onnx-graphsurgeon is not installed")
    kernels = pytest.importorskip("domino_onnx_kernels", reason="domino-onnx-kernels is not installed")
    try:
        kernels.library_path()
    except FileNotFoundError as error:
        pytest.skip(str(error))


def _run(command: str, folder: Path) -> None:
    """The command in this process: others start it as a program."""
    from domino_onnx.cli import main

    words = shlex.split(command, comments=True)
    if words[1] in ("compress", "search", "apply", "finetune", "convert", "deploy") and "--force" not in words:
        words.append("--force")
    if words[1] in ("compress", "finetune") and "--finetune-steps" not in words:
        words += ["--finetune-steps", "5"]
    if words[1] == "benchmark" and "--seconds" not in words:
        words += ["--seconds", "0.1"]
    if words[1] == "sweep" and "--sparsity" not in words:
        words += ["--sparsity", "0.5"]
    with contextlib.chdir(folder), mock.patch.object(sys, "argv", words), pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code, command


@pytest.fixture(scope="module")
def done() -> set[str]:
    """Commands that have run: some pages show the same ones."""
    return set()


@pytest.mark.parametrize("page", [page for page in PAGES if _commands(page)], ids=lambda page: page.name)
def test_commands_run(page: Path, folder: Path, done: set[str]) -> None:
    for command in _commands(page):
        if command.split()[1] == "deploy" or ".cpu.onnx" in command:
            _require_kernels()
        if command.removesuffix(" --force") not in done:
            _run(command, folder)
            done.add(command.removesuffix(" --force"))


def _written_by(command: str) -> set[str]:
    """The files that a command writes, as far as its words name them."""
    words = shlex.split(command, comments=True)
    given = {words[place + 1] for place, word in enumerate(words) if word in ("-o", "--report")}
    named = "-o" in words or words[1] not in ("compress", "apply")
    return given if named else given | {words[2].removesuffix(".onnx") + ".sparse.onnx"}


@pytest.mark.parametrize("page", [page for page in PAGES if _commands(page)], ids=lambda page: page.name)
def test_commands_of_a_page_can_be_typed_one_after_the_other(page: Path) -> None:
    there: set[str] = set()
    for command in _commands(page):
        if not {"--force", "--resume"} & set(command.split()):
            assert not there & _written_by(command), command
        there |= _written_by(command)


@pytest.mark.filterwarnings("ignore::domino_onnx.DominoWarning")
@pytest.mark.parametrize("page", [page for page in PAGES if _blocks(page, "python")], ids=lambda page: page.name)
def test_python_runs(page: Path, folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")  # some pages show how data are written
    for code in _blocks(page, "python"):
        if ".cpu.onnx" in code:
            _require_kernels()
        if "finetune_steps" in code or "import torch" in code:
            pytest.importorskip("torch")
        with contextlib.chdir(copy):
            exec(compile(code, page.name, "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("page", [page for page in PAGES if _blocks(page, "yaml")], ids=lambda page: page.name)
def test_preprocessing_is_understood(page: Path, tmp_path: Path) -> None:
    spec = InputSpec(name="input", dtype=np.dtype(np.float32), axes=(None, 3, 224, 224))
    for text in _blocks(page, "yaml"):
        (tmp_path / "preprocessing.yaml").write_text(text, encoding="utf-8")
        read_preprocessing(tmp_path / "preprocessing.yaml", [spec])


def test_the_keys_of_preprocessing_are_described() -> None:
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs" / "data.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    described = {key for row in rows for key in re.findall(r"`(\w+)`", row)}
    assert described == set(Fields.__struct_fields__)


def test_every_command_stands_in_the_readme() -> None:
    from domino_onnx.cli.group import cli

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [command for command in cli.commands if f"domino-onnx {command}" not in text] == []


def test_every_public_name_has_an_example() -> None:
    import domino_onnx

    code = "\n".join(_blocks(ROOT / "docs" / "python.md", "python"))
    assert [name for name in domino_onnx.__all__ if f"domino_onnx.{name}" not in code] == []


def test_links_lead_somewhere() -> None:
    broken = [
        f"{page.name}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert broken == []
