"""Files that a command is to write: none of them is something that it reads, and no two are the same."""

from __future__ import annotations

import json
import pkgutil
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from domino_onnx.errors import OutputError
from domino_onnx.files import NOTHING
from domino_onnx.options import CompressOptions, DataOptions, Goal
from domino_onnx.pipeline import apply, finetune, search
from domino_onnx.report.compressed_document import compress_document
from domino_onnx.report.documents import dump
from domino_onnx.scheme import NMScheme
from domino_onnx.stages import write_text

Run = Callable[..., Any]

MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
two (float[n, 16] x) => (float[n, 16] y) {
    h = MatMul (x, a)
    r = Relu (h)
    y = MatMul (r, b)
}
"""


def proto() -> onnx.ModelProto:
    """Two MatMuls over (n, 16)."""
    model, generator = onnx.parser.parse_model(MODEL), np.random.default_rng(0)
    for name in "ab":
        weight = generator.standard_normal((16, 16)).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(weight, name))
    return model


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, data, a plan, a pruned file, and a recipe as TOML and as a report."""
    folder = tmp_path_factory.mktemp("made")
    model = folder / "model.onnx"
    onnx.save(proto(), model)
    np.savez(folder / "data.npz", x=np.random.default_rng(1).standard_normal((64, 16)).astype(np.float32))
    (folder / "recipe.toml").write_text('search.strategy = "uniform"\n')
    options = CompressOptions(goal=Goal(scheme=NMScheme(2, 4)))
    plan = search(model, options).plan
    (folder / "plan.json").write_text(plan.to_json())
    result = apply(model, plan, folder / "pruned.onnx", options)
    (folder / "recipe.json").write_text(dump(compress_document(result)))
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of these files; commands run in it."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    "words",
    [
        "compress model.onnx --sparsity 0.5",
        "apply model.onnx plan.json",
        "finetune pruned.onnx --teacher model.onnx --data data.npz",
    ],
)
@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_report_is_another_file_than_the_output(words: str, force: list[str], domino: Run, folder: Path) -> None:
    before = contents(folder)
    ran = domino(*words.split(), "-o", "x.json", "--report", folder / "x.json", *force)
    assert ran.code == 2
    assert "give another name for one of them" in " ".join(ran.err.split())
    assert contents(folder) == before


@pytest.mark.parametrize(
    "words",
    [
        "compress model.onnx --sparsity 0.5 -o",
        "compress model.onnx --sparsity 0.5 -o other.onnx --report",
        "search model.onnx --sparsity 0.5 -o",
        "sweep model.onnx --sparsity 0.5 --data data.npz --report",
        "apply model.onnx plan.json -o",
        "apply model.onnx plan.json -o other.onnx --report",
        "finetune pruned.onnx --teacher model.onnx --data data.npz -o",
        "finetune pruned.onnx --teacher model.onnx --data data.npz -o other.onnx --report",
    ],
)
@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_recipe_is_not_replaced(words: str, force: list[str], domino: Run, folder: Path) -> None:
    before = contents(folder)
    for recipe in ["recipe.json"] if words.endswith("--report") else ["recipe.json", "recipe.toml"]:
        ran = domino(*words.split(), recipe, "--recipe", folder / recipe, *force)
        assert ran.code == 1
        assert "is the input itself" in ran.err
        assert contents(folder) == before


@pytest.mark.parametrize(
    "words",
    [
        "compress model.onnx --sparsity 0.5 -o data.json",
        "compress model.onnx --sparsity 0.5 -o other.onnx --report data.json",
        "search model.onnx --sparsity 0.5 -o data.json",
        "sweep model.onnx --sparsity 0.5 --data data.npz --report data.json",
        "apply model.onnx plan.json -o data.json",
        "apply model.onnx plan.json -o other.onnx --report data.json",
        "finetune pruned.onnx --teacher model.onnx --data data.npz -o data.json",
        "finetune pruned.onnx --teacher model.onnx --data data.npz -o other.onnx --report data.json",
        "convert model.onnx --format packed -o data.json",
    ],
)
def test_external_data_are_not_replaced(words: str, domino: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither before the work nor after it. A file's name says nothing of what is in it."""
    onnx.save(proto(), folder / "model.onnx", save_as_external_data=True, location="data.json", size_threshold=0)
    plan = json.loads((folder / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps({**plan, "source_sha256": ""}))
    before = contents(folder)
    for stage in (
        "choosing.solve_once",
        "planning.search_domino",
        "finetuning.pruned_file.finetune",
        "writing.converting.write_model",
    ):
        monkeypatch.setattr(f"domino_onnx.stages.{stage}", lambda *_, **__: pytest.fail("it began to work"))
    for force, says in ([], "exists; give another name"), (["--force"], "is the input itself"):
        ran = domino(*words.split(), *force)
        assert (ran.code, says in ran.err) == (1, True), ran.err
        assert contents(folder) == before


def test_data_of_a_teacher_are_not_replaced_from_python(folder: Path) -> None:
    teacher, data = folder / "model.onnx", folder / "model.data"
    onnx.save(proto(), teacher, save_as_external_data=True, location=data.name, size_threshold=0)
    options, before = CompressOptions(data=DataOptions(calibration=folder / "data.npz")), contents(folder)
    with pytest.raises(OutputError, match="is the input itself"):
        finetune(folder / "pruned.onnx", teacher, data, options, force=True)
    assert contents(folder) == before


def test_an_alias_of_external_data_is_not_replaced(domino: Run, tmp_path: Path) -> None:
    model, data, alias = tmp_path / "model.onnx", tmp_path / "model.data", tmp_path / "alias.onnx"
    onnx.save(proto(), model, save_as_external_data=True, location=data.name, size_threshold=0)
    alias.symlink_to(data)
    before = contents(tmp_path)
    ran = domino("compress", model, "--scheme", "2:4", "-o", alias, "--force")
    assert (ran.code, "is the input itself" in ran.err) == (1, True)
    assert (contents(tmp_path), alias.is_symlink()) == (before, True)


def test_plans_of_a_sweep_replace_nothing_that_it_reads(domino: Run, folder: Path) -> None:
    plans = folder / "plans"
    plans.mkdir()
    shutil.copy(folder / "recipe.json", plans / "0.5.json")
    words = ["--sparsity", "0.5", "--data", "data.npz", "--recipe", "plans/0.5.json", "--plans", "plans", "--force"]
    before = contents(plans)
    ran = domino("sweep", "model.onnx", *words)
    assert ran.code == 1
    assert "the plan plans/0.5.json is the input itself" in ran.err
    assert contents(plans) == before


def test_a_sweep_writes_its_plans_where_one_is(domino: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "here").mkdir()
    monkeypatch.chdir(folder / "here")
    ran = domino("sweep", "../model.onnx", "--sparsity", "0.5", "--data", "../data.npz", "--plans", ".")
    assert ran.code == 0, ran.err
    assert [path.name for path in (folder / "here").iterdir()] == ["0.5.json"]


def test_plans_of_shares_that_are_close_have_names_of_their_own(domino: Run, folder: Path) -> None:
    words = ["--sparsity", "0.5", "--sparsity", "0.5000001", "--data", "data.npz", "--plans", "plans"]
    ran = domino("sweep", "model.onnx", *words)
    assert ran.code == 0, ran.err
    assert sorted(path.name for path in (folder / "plans").iterdir()) == ["0.5.json", "0.5000001.json"]


@pytest.mark.parametrize("more", [[], ["--deploy", "cpu"]])
def test_a_folder_is_no_output(domino: Run, folder: Path, more: list[str]) -> None:
    before = contents(folder)
    ran = domino("compress", "model.onnx", "--sparsity", "0.5", "--data", "none", "-o", ".", *more)
    assert ran.code == 1
    assert "is a folder; give the name of a file" in ran.err
    assert contents(folder) == before


def test_a_sweep_that_fails_leaves_no_folder_of_its_own(domino: Run, folder: Path) -> None:
    words = ("sweep", "model.onnx", "--sparsity", "0.5", "--data", "missing.npz", "--plans")
    (folder / "older").mkdir()
    assert [domino(*words, name).code for name in ("plans", "older")] == [1, 1]
    assert [(folder / name).exists() for name in ("plans", "older")] == [False, True]


@pytest.mark.parametrize(
    ("function", "words", "late"),
    [
        ("pruning.search_result", ["search", "model.onnx", "--sparsity", "0.5", "-o", "late.json"], "late.json"),
        (
            "run.compared",
            ["compress", "model.onnx", "--scheme", "2:4", "-o", "o.onnx", "--report", "r.html"],
            "r.html",
        ),
        ("run.compared", ["apply", "model.onnx", "plan.json", "-o", "o.onnx", "--report", "r.json"], "r.json"),
        (
            "pruning.sweep_result",
            ["sweep", "model.onnx", "--sparsity", "0.5", "--data", "data.npz", "--report", "r.json"],
            "r.json",
        ),
        (
            "pruning.sweep_result",
            ["sweep", "model.onnx", "--sparsity", "0.5", "--data", "data.npz", "--plans", "plans"],
            "plans/0.5.json",
        ),
    ],
)
def test_what_another_run_writes_meanwhile_stays_without_force(
    function: str, words: list[str], late: str, folder: Path, domino: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"domino_onnx.pipeline.{function}"
    original = pkgutil.resolve_name(place)

    def slow(*arguments: Any, **options: Any) -> Any:
        result = original(*arguments, **options)
        (folder / late).write_text("another run's")
        return result

    with monkeypatch.context() as patch:
        patch.setattr(place, slow)
        ran = domino(*words)
    assert ran.code == 1
    assert f"{late} exists by now: another run wrote it meanwhile" in ran.err
    assert (folder / late).read_text() == "another run's"
    ran = domino(*words, "--force")
    assert ran.code == 0, ran.err
    assert (folder / late).read_text() != "another run's"


def test_a_model_that_another_run_writes_meanwhile_stays_without_force(
    folder: Path, domino: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from domino_onnx.stages.writing import converting
    from domino_onnx.stages.writing import write as writing

    commands = [
        ["compress", "model.onnx", "--sparsity", "0.5", "-o", "late.onnx"],
        ["apply", "model.onnx", "plan.json", "-o", "late.onnx"],
        ["convert", "pruned.onnx", "--format", "packed", "-o", "late.onnx"],
    ]
    original = writing.write_model

    def late(*arguments: Any, **options: Any) -> Any:
        if Path(arguments[3]).name == "late.onnx":  # not the file that tells how large it is packed
            (folder / "late.onnx").write_text("another run's")
        return original(*arguments, **options)

    for module in (writing, converting):
        monkeypatch.setattr(module, "write_model", late)
    for words in commands:
        (folder / "late.onnx").unlink(missing_ok=True)
        ran = domino(*words)
        assert ran.code == 1
        assert "late.onnx exists" in ran.err
        assert (folder / "late.onnx").read_text() == "another run's"
        assert domino(*words, "--force").code == 0
        onnx.checker.check_model(onnx.load(folder / "late.onnx"))


def test_of_two_that_write_one_text_at_once_one_is_refused(tmp_path: Path) -> None:
    for place in range(20):
        path, barrier = tmp_path / f"{place}.json", threading.Barrier(2, timeout=10)
        refused: list[str] = []

        def run(
            text: str, path: Path = path, barrier: threading.Barrier = barrier, refused: list[str] = refused
        ) -> None:
            barrier.wait()
            try:
                write_text(path, text, NOTHING, what="plan")
            except OutputError:
                refused.append(text)

        threads = [threading.Thread(target=run, args=(text,)) for text in ("one", "two")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert sorted([*refused, path.read_text()]) == ["one", "two"]


def test_a_folder_that_is_called_none_is_not_taken_for_data(
    domino: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "none").mkdir()
    words = ("search", folder / "model.onnx", "--scheme", "2:4", "--quiet", "--force", "--data")
    said = domino(*words, "none").err
    assert said == f"warning: --data none means no samples. Give the whole path to read {tmp_path / 'none'}\n"
    assert "holds no" in domino(*words, tmp_path / "none").err


@pytest.mark.parametrize(
    ("words", "ending"),
    [
        ("compress model.onnx --sparsity 0.5 -o out.pt", ".onnx"),
        ("apply model.onnx plan.json -o out", ".onnx"),
        ("finetune pruned.onnx --teacher model.onnx --data data.npz -o out.npz", ".onnx"),
        ("convert model.onnx --format packed -o out.bin", ".onnx"),
        ("deploy pruned.onnx -o out.engine", ".onnx"),
        ("search model.onnx --scheme 2:4 -o out.onnx", ".json"),
    ],
)
def test_a_name_that_ends_as_those_of_other_files_is_refused(
    words: str, ending: str, folder: Path, domino: Run
) -> None:
    before = contents(folder)
    ran = domino(*words.split())
    assert ran.code == 1
    assert f"{words.rpartition(' ')[2]} must end in {ending}\n" in ran.err
    assert contents(folder) == before


def test_a_model_of_another_ending_keeps_it(folder: Path, domino: Run) -> None:
    (folder / "model.onnx").rename(folder / "model.pb")
    ran = domino("compress", "model.pb", "--scheme", "2:4", "--data", "none")
    assert ran.code == 0, ran.err
    assert onnx.load(folder / "model.sparse.pb", format="protobuf").graph.node
    assert domino("compress", "model.pb", "--scheme", "2:4", "-o", "out.pt").err.endswith("must end in .onnx or .pb\n")
