"""A run that is killed behind its first rename goes on, and replaces what it has put in place itself, nothing else."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from domino_onnx.stages import holds_checkpoint

Run = Callable[..., Any]
node = helper.make_node

OF_THE_ATTEMPT = ("seconds", "peak_rss_bytes_by_stage", "peak_rss_bytes", "forecast")
AT_ONCE = {"run.checkpoint_after": 0}
OUTPUT, REPORT = "out.onnx", "report.json"


@dataclasses.dataclass
class Work:
    """A command in a folder of its own, and what the folder held before each change of a run."""

    folder: Path
    words: list[object]
    snapshots: list[Path]
    data: str
    """The pattern of the output's external data; no file where it has none."""

    def restore(self, snapshot: Path) -> None:
        """The folder as a killed run has left it."""
        shutil.rmtree(self.folder)
        shutil.copytree(snapshot, self.folder)

    def outcome(self) -> dict[str, object]:
        """Every file that is there; of the report all but what each attempt has of its own."""
        files = [path for path in self.folder.glob("*.onnx*") if path.is_file()]
        found: dict[str, object] = {path.name: path.read_bytes() for path in files}
        document = json.loads((self.folder / REPORT).read_text())
        return found | {REPORT: {key: value for key, value in document.items() if key not in OF_THE_ATTEMPT}}

    def behind_the_rename(self) -> Path:
        """The first state in which the output exists."""
        return next(path for path in self.snapshots if (path / OUTPUT).exists())


@pytest.fixture(params=["inside", "external"])
def work(
    request: pytest.FixtureRequest,
    make_model: Callable[..., Any],
    domino: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Work:
    """Two MatMuls over (batch, 64), compressed once undisturbed."""
    generator, folder = np.random.default_rng(0), tmp_path / "work"
    folder.mkdir()
    nodes = [node("MatMul", ["x", "a"], ["h"]), node("Relu", ["h"], ["r"]), node("MatMul", ["r", "b"], ["y"])]
    arrays = {name: generator.standard_normal((64, 64)).astype(np.float32) for name in "ab"}
    model = make_model(nodes, {"x": ["batch", 64]}, {"y": None}, arrays)
    onnx.save(model, folder / "model.onnx", save_as_external_data=request.param == "external", location="weights.bin")
    np.savez(folder / "data.npz", x=generator.standard_normal((80, 64)).astype(np.float32))
    words = ["compress", folder / "model.onnx", "--sparsity", "0.6", "--data", folder / "data.npz", "--no-finetune"]
    words += ["-o", folder / OUTPUT, "--report", folder / REPORT, "--quiet"]
    made = Work(folder, words, [], f"{OUTPUT}.*.data" if request.param == "external" else "nothing")
    with monkeypatch.context() as patched:
        for change in ("replace", "unlink", "rmdir"):
            patched.setattr(Path, change, _seen(made, tmp_path / "snapshots", getattr(Path, change)))
        ran = domino(*words, recipe=AT_ONCE)
    assert ran.code == 0, ran.err
    return made


def _seen(work: Work, room: Path, change: Callable[..., Any]) -> Callable[..., Any]:
    def changed(path: Path, *arguments: Any, **options: Any) -> Any:
        if work.folder in path.parents:
            work.snapshots.append(shutil.copytree(work.folder, room / str(len(work.snapshots))))
        return change(path, *arguments, **options)

    return changed


def test_killed_at_any_moment_behind_the_first_rename(work: Work, domino: Run) -> None:
    """The run goes on to the same files. Where nothing is kept any more, they are all in place."""
    wanted, numbers = work.outcome(), {True: 0, False: 0}
    assert len(list(work.folder.glob(work.data))) == (work.data != "nothing")
    for snapshot in work.snapshots:
        if not (snapshot / OUTPUT).exists():
            continue
        work.restore(snapshot)
        kept = holds_checkpoint(work.folder / f"{OUTPUT}.partial")
        numbers[kept] += 1
        ran = domino(*work.words, "--resume", recipe=AT_ONCE)
        assert (ran.code, "--force to replace it" in ran.err) == ((0, False) if kept else (1, True)), snapshot
        assert work.outcome() == wanted
        if kept:
            assert sorted(path.name for path in work.folder.iterdir() if path.is_dir()) == []
    assert numbers[True] > 4
    assert numbers[False] > 0


def test_a_file_that_somebody_changed_since_stays(work: Work, domino: Run) -> None:
    complete = [path for path in work.snapshots if (path / REPORT).exists() and (path / f"{OUTPUT}.partial").exists()]
    for name in (OUTPUT, REPORT, *(path.name for path in work.folder.glob(work.data))):
        work.restore(complete[0])
        content = bytearray((work.folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (work.folder / name).write_bytes(content)
        before = {path.name: path.read_bytes() for path in work.folder.iterdir() if path.is_file()}
        ran = domino(*work.words, "--resume", recipe=AT_ONCE)
        assert ran.code == 1
        named = f"report {work.folder / REPORT}" if name == REPORT else f"output {work.folder / OUTPUT}"
        assert f"the {named} exists; give another name, or --force to replace it" in ran.err
        assert {path.name: path.read_bytes() for path in work.folder.iterdir() if path.is_file()} == before
    assert domino(*work.words, "--resume", "--force", recipe=AT_ONCE).code == 0


def test_another_run_replaces_nothing(work: Work, domino: Run) -> None:
    """Neither one without --resume, nor one of other options, nor one with another output."""
    work.restore(work.behind_the_rename())
    before = (work.folder / OUTPUT).read_bytes()
    for more, says in (
        ([], "exists"),
        (["--resume", "--seed", "7"], "checkpoint of another run: run.seed was '0', is '7'"),
    ):
        ran = domino(*work.words, *more, recipe=AT_ONCE)
        assert (ran.code, says in ran.err) == (1, True), ran.err
    other = work.folder / "other.onnx"
    shutil.copy(work.folder / OUTPUT, other)
    words = [*work.words, "-o", other, "--checkpoint", work.folder / f"{OUTPUT}.partial", "--resume"]
    ran = domino(*words, recipe=AT_ONCE)
    assert (ran.code, f"the output {other} exists" in ran.err) == (1, True), ran.err
    assert (work.folder / OUTPUT).read_bytes() == before


def test_a_record_that_was_changed_is_refused(work: Work, domino: Run) -> None:
    work.restore(work.behind_the_rename())
    path = work.folder / f"{OUTPUT}.partial" / "placed.npz"
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"placings"', b'"PLACINGS"'))
    assert path.read_bytes() != content
    ran = domino(*work.words, "--resume", recipe=AT_ONCE)
    assert (ran.code, "placed.npz is no checkpoint that can be read" in ran.err) == (1, True), ran.err


def test_what_lands_there_while_the_run_goes_on_stays(work: Work, domino: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run's own file passed when the run began; another one took its place before the rename."""
    from domino_onnx.stages.writing import write as writing

    work.restore(work.behind_the_rename())
    real = writing.write_model

    def late(*arguments: Any, **options: Any) -> Any:
        if arguments[3] == work.folder / OUTPUT:
            (work.folder / OUTPUT).write_bytes(b"another run's")
        return real(*arguments, **options)

    monkeypatch.setattr(writing, "write_model", late)
    ran = domino(*work.words, "--resume", recipe=AT_ONCE)
    assert (ran.code, f"{OUTPUT} exists" in ran.err) == (1, True), ran.err
    assert (work.folder / OUTPUT).read_bytes() == b"another run's"


@pytest.mark.usefixtures("brief_timing")
@pytest.mark.parametrize("work", ["inside"], indirect=True)
def test_the_file_for_the_cpu(work: Work, domino: Run, interrupt: Callable[..., Any]) -> None:
    """Killed before it, and behind it: what was found is kept until all files are in place."""
    pytest.importorskip("domino_onnx_kernels")
    pytest.importorskip("onnx_graphsurgeon")
    for path in (work.folder / OUTPUT, work.folder / REPORT):
        path.unlink()
    deployed = work.folder / "out.cpu.onnx"
    for where, exists in (("pipeline.run.with_second", False), ("pipeline.run.write_report", True)):
        more = ["--resume"] if exists else []
        with interrupt(where):
            assert domino(*work.words, "--deploy", "cpu", *more, recipe=AT_ONCE).code == 130
        assert deployed.exists() == exists
    ran = domino(*work.words, "--deploy", "cpu", "--resume", recipe=AT_ONCE)
    assert ran.code == 0, ran.err
    assert json.loads((work.folder / REPORT).read_text())["deployed"]["output"] == str(deployed)
    assert not list(work.folder.glob("*.partial"))


def test_plans_and_the_report_of_a_sweep(
    work: Work, domino: Run, interrupt: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between two plans, and before the report; a plan that was edited meanwhile stays."""
    from domino_onnx.stages.writing import reporting

    words = ["sweep", work.folder / "model.onnx", "--sparsity", "0.5", "--sparsity", "0.7"]
    words += ["--data", work.folder / "data.npz", "--plans", work.folder / "plans"]
    words += ["--report", work.folder / "sweep.json", "--quiet"]
    real = reporting.write_text

    def stops_at_the_second(path: Path, *arguments: Any, **options: Any) -> None:
        if path.name == "0.7.json":
            raise KeyboardInterrupt
        real(path, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(reporting, "write_text", stops_at_the_second)
        assert domino(*words, recipe=AT_ONCE).code == 130
    assert [path.name for path in (work.folder / "plans").iterdir()] == ["0.5.json"]
    with interrupt("pipeline.pruning.write_sweep_report"):
        assert domino(*words, "--resume", recipe=AT_ONCE).code == 130
    plan = work.folder / "plans" / "0.7.json"
    content = plan.read_bytes()
    plan.write_bytes(content + b"\n")
    ran = domino(*words, "--resume", recipe=AT_ONCE)
    assert (ran.code, f"{plan} exists; give another folder" in ran.err) == (1, True), ran.err
    plan.write_bytes(content)
    assert domino(*words, "--resume", recipe=AT_ONCE).code == 0
    assert (work.folder / "sweep.json").exists()
    assert not list(work.folder.glob("*.partial"))
