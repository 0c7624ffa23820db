"""The functions: nothing is written, all forms of a model are taken, and results tell of themselves."""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

import domino_onnx
from domino_onnx import DominoWarning, Progress, errors

Array = np.ndarray[Any, np.dtype[Any]]
CHEAP: Any = {"sparsity": 0.5, "strategy": "uniform", "data": "none", "finetune": False, "threads": 1}


def zeros(model: ModelProto) -> float:
    """Share of zeros among all stored values, counted by onnx and numpy alone."""
    arrays = [numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    return 1 - sum(np.count_nonzero(array) for array in arrays) / sum(array.size for array in arrays)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory and, below it, the folder of temporary files."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return tmp_path


def test_nothing_is_written_and_nothing_stays(small: ModelProto, folder: Path, save: Any) -> None:
    path = save(small)
    result = domino_onnx.compress(path, **CHEAP)
    assert zeros(result.model) == pytest.approx(0.5)
    assert [each.name for each in folder.iterdir() if each.name != "tmp"] == [path.name]
    del result
    gc.collect()
    assert list((folder / "tmp").iterdir()) == []


def test_a_call_that_fails_leaves_nothing(small: ModelProto, folder: Path) -> None:
    with pytest.raises(errors.BudgetError):
        domino_onnx.compress(small, **{**CHEAP, "sparsity": 0.999})
    assert list((folder / "tmp").iterdir()) == []


def test_what_is_saved_is_what_the_command_writes(small: ModelProto, save: Any, tmp_path: Path, domino: Any) -> None:
    path = save(small)
    saved = domino_onnx.compress(path, **CHEAP).save(tmp_path / "a.onnx")
    words = ("--sparsity", "50%", "--data", "none", "--no-finetune", "--threads", 1, "-o", tmp_path / "b.onnx")
    assert domino("compress", path, *words, recipe={"search.strategy": "uniform"}).code == 0
    assert saved.read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_saving_replaces_nothing_without_force(small: ModelProto, tmp_path: Path) -> None:
    result = domino_onnx.compress(small, **CHEAP)
    (tmp_path / "there.onnx").write_text("mine")
    with pytest.raises(errors.OutputError, match="force=True"):
        result.save(tmp_path / "there.onnx")
    assert (tmp_path / "there.onnx").read_text() == "mine"
    assert onnx.load(result.save(tmp_path / "there.onnx", force=True)) == result.model


@pytest.mark.filterwarnings("ignore:the written file lost much:domino_onnx.DominoWarning")
def test_saving_replaces_nothing_that_was_read(small: ModelProto, save: Any, rows: Array, tmp_path: Path) -> None:
    path, data = save(small), tmp_path / "data.npz"
    before = path.read_bytes()
    np.savez(data, x=rows)
    result = domino_onnx.compress(path, scheme="2:4", data=data, finetune=False)
    for made in (result, domino_onnx.convert(result, format="packed")):
        with pytest.raises(errors.OutputError, match="is the input itself"):
            made.save(path, force=True)
    with pytest.raises(errors.OutputError, match="is the input itself"):
        result.save(data, force=True)
    with pytest.raises(errors.OutputError, match="is a folder; give the name of a file"):
        result.save(tmp_path)
    assert path.read_bytes() == before


@pytest.mark.filterwarnings("ignore:the written file lost much:domino_onnx.DominoWarning")
def test_saving_replaces_no_teacher_that_was_found(small: ModelProto, save: Any, rows: Array, tmp_path: Path) -> None:
    path, sparse = save(small), tmp_path / "sparse.onnx"
    before = path.read_bytes()
    domino_onnx.compress(path, **CHEAP).save(sparse)
    tuned = domino_onnx.finetune(sparse, data=rows, finetune_steps=1, threads=1)
    with pytest.raises(errors.OutputError, match="is the input itself"):
        tuned.save(path, force=True)
    assert path.read_bytes() == before


def test_external_data_are_saved_beside_the_model(small: ModelProto, tmp_path: Path, run_ort: Any, rows: Array) -> None:
    copy = ModelProto()
    copy.CopyFrom(small)
    onnx.save(copy, tmp_path / "big.onnx", save_as_external_data=True, location="big.data", size_threshold=0)
    result = domino_onnx.compress(tmp_path / "big.onnx", **CHEAP)
    (tmp_path / "out").mkdir()
    saved = result.save(tmp_path / "out" / "small.onnx")
    assert len(list(saved.parent.iterdir())) == 2
    np.testing.assert_array_equal(run_ort(saved, {"x": rows})[0], run_ort(result.model, {"x": rows})[0])
    with pytest.raises(errors.ModelError, match="give the model's path"):
        domino_onnx.inspect(onnx.load(tmp_path / "big.onnx", load_external_data=False))


@pytest.mark.parametrize(
    "form", [str, lambda path: path, lambda path: path.read_bytes(), onnx.load],
    ids=["str", "Path", "bytes", "ModelProto"],
)  # fmt: skip
def test_every_form_of_a_model_is_the_same(form: Callable[[Path], Any], small: ModelProto, save: Any) -> None:
    path = save(small)
    expected = domino_onnx.compress(path, **CHEAP).model
    assert domino_onnx.compress(form(path), **CHEAP).model == expected


def test_a_graph_keeps_what_graphsurgeon_has_no_place_for(small: ModelProto, run_ort: Any, rows: Array) -> None:
    surgeon = pytest.importorskip("onnx_graphsurgeon", reason="onnx-graphsurgeon is not installed")
    result = domino_onnx.compress(surgeon.import_onnx(small), **CHEAP)
    np.testing.assert_array_equal(
        run_ort(result.model, {"x": rows})[0], run_ort(domino_onnx.compress(small, **CHEAP).model, {"x": rows})[0]
    )
    whole = domino_onnx.compress(small, **CHEAP)
    graph = whole.graph()
    assert domino_onnx.verify(graph).holds
    graph.outputs[0].name = "answer"
    edited = domino_onnx.convert(graph).model
    assert [output.name for output in edited.graph.output] == ["answer"]
    assert {entry.key: entry.value for entry in edited.metadata_props}["author"] == "a test"
    assert next(entry.key for entry in edited.graph.node[0].metadata_props) == "note"


@pytest.mark.filterwarnings("ignore:the written file lost much:domino_onnx.DominoWarning")
def test_functions_take_what_others_give(small: ModelProto, rows: Array) -> None:
    plan = domino_onnx.search(small, scheme="2:4", data="none", threads=1).plan
    result = domino_onnx.apply(small, plan, data=rows, threads=1)
    assert result.plan.schemes == plan.schemes
    assert domino_onnx.compress(small, plan=plan, data="none", finetune=False, threads=1).sparsity == result.sparsity
    assert domino_onnx.verify(result).holds
    assert domino_onnx.doctor(result).passes
    packed = domino_onnx.convert(result, format="packed")
    assert packed.format == "packed"
    assert domino_onnx.evaluate(result, packed, rows, threads=1).drop == pytest.approx(0, abs=1e-6)
    expected = domino_onnx.session(result).run(None, {"x": rows[:3]})[0]
    np.testing.assert_allclose(domino_onnx.session(packed).run(None, {"x": rows[:3]})[0], expected, rtol=1e-5)
    assert len(domino_onnx.benchmark(result, packed, threads=1, batch_sizes=2, seconds=0.05).rows) == 2
    assert len(domino_onnx.benchmark(result, data=None, input_shapes={"x": (3, 32)}, seed=1, seconds=0.05).rows) == 1


def test_a_function_may_judge(small: ModelProto, rows: Array) -> None:
    def nearness(reference: Any, candidate: Any, labels: Any) -> float:
        assert labels is None
        return -float(np.abs(reference["y"] - candidate["y"]).mean())

    result = domino_onnx.evaluate(small, domino_onnx.compress(small, **CHEAP), rows, metric=nearness, threads=1)
    assert result.metric == "nearness"
    assert result.drop > 0

    def broken(*_: Any) -> float:
        raise ZeroDivisionError("oh")

    with pytest.raises(errors.MetricError, match=r"^metric broken failed: ZeroDivisionError: oh"):
        domino_onnx.evaluate(small, small, rows, metric=broken, threads=1)


def test_a_plan_is_a_goal_like_all_others(small: ModelProto) -> None:
    plan = domino_onnx.search(small, scheme="1:4", data="none").plan
    with pytest.raises(errors.OptionError, match="sparsity and plan contradict each other"):
        domino_onnx.compress(small, **CHEAP, plan=plan)
    assert domino_onnx.compress(small, **CHEAP, plan=None).sparsity == 0.5
    recipe = {"goal": {"sparsity": 0.5}}
    cheap: Any = {"recipe": recipe, "data": "none", "finetune": False, "threads": 1}
    assert domino_onnx.compress(small, **cheap, plan=plan).sparsity == 0.75
    assert domino_onnx.compress(small, **cheap, strategy="uniform", scheme=None).sparsity == 0.5


def test_a_result_that_has_a_plan_is_a_plan(small: ModelProto, rows: Array, tmp_path: Path) -> None:
    cheap: Any = {"data": "none", "threads": 1}
    found = domino_onnx.search(small, scheme="1:4", data="none")
    applied = domino_onnx.apply(small, found.plan, **cheap)
    assert domino_onnx.apply(small, found, **cheap).model == applied.model
    assert domino_onnx.apply(small, applied, **cheap).plan == found.plan
    assert domino_onnx.compress(small, plan=found, finetune=False, **cheap).plan == found.plan
    trial = domino_onnx.sweep(small, 0.5, data=rows, threads=1).trials[0]
    assert domino_onnx.apply(small, trial, **cheap).plan == trial.plan
    wrong: Any
    for wrong in (3, {"one": "2:4"}, domino_onnx.inspect(small)):
        with pytest.raises(errors.OptionError, match=r"apply\(\): 'plan' is .*; give a Plan, its file, or a result"):
            domino_onnx.apply(small, wrong, **cheap)
    file = tmp_path / "plan.onnx"
    file.write_text(found.plan.to_json())
    with pytest.raises(errors.OutputError, match="is the input itself"):
        domino_onnx.apply(small, file, **cheap).save(file, force=True)


def test_the_goal_of_a_recipe_contradicts_no_keyword_of_a_sweep(small: ModelProto, rows: Array) -> None:
    swept = domino_onnx.sweep(small, [0.5], recipe={"goal": {"scheme": "2:4"}}, pool="2:4,1:4", data=rows, threads=1)
    assert swept.sparsities == (0.5,)


@pytest.mark.filterwarnings("ignore:the written file lost much:domino_onnx.DominoWarning")
def test_progress_and_warnings_are_told(small: ModelProto, rows: Array) -> None:
    told: list[Progress] = []
    with pytest.warns(DominoWarning, match="data and eval_data are the same") as warned:
        result = domino_onnx.apply(small, domino_onnx.search(small, scheme="2:4", data="none").plan, data=rows,
                                   eval_data=__file__ and rows, progress=told.append, threads=1)  # fmt: skip
    assert {each.stage for each in told} >= {"read", "refit", "write", "evaluate"}
    assert str(Progress(stage="refit", text="two", left=65.0)) == "refitting: two (1:05 left)"
    assert any("data and eval_data are the same" in warning for warning in result.warnings)
    assert warned[0].filename == __file__


def test_results_hold_what_was_warned_of(small: ModelProto, rows: Array) -> None:
    given = {"x": rows, "labels": np.zeros(len(rows), np.int64)}
    with pytest.warns(DominoWarning) as warned:
        judged = domino_onnx.evaluate(small, small, given, threads=1)
    assert judged.warnings == tuple(str(warning.message) for warning in warned)
    assert judged.to_dict()["warnings"] == list(judged.warnings)
    with pytest.warns(DominoWarning, match="a run has 1 sample") as warned:
        timed = domino_onnx.benchmark(small, data=rows[:1], batch_sizes=4, seconds=0.05)
    assert timed.warnings == tuple(str(warning.message) for warning in warned)


def test_an_observer_takes_warnings(small: ModelProto, rows: Array) -> None:
    class Hears:
        def __init__(self) -> None:
            self.said: list[str] = []

        def __getattr__(self, name: str) -> Any:
            return lambda *given: self.said.append(f"{name} {given}")

    observer: Any = Hears()
    plan = domino_onnx.search(small, scheme="2:4", data="none").plan
    domino_onnx.apply(small, plan, data=rows, eval_data=rows, observer=observer, threads=1)
    assert any(said.startswith("warn") and "data and eval_data" in said for said in observer.said)


def test_results_tell_of_themselves(small: ModelProto, rows: Array) -> None:
    result = domino_onnx.compress(small, **{**CHEAP, "data": rows})
    assert repr(result).startswith("CompressResult(sparsity=0.5, metric='relative error', drop=0.")
    assert "\n" not in repr(result)
    assert "<pre>" in result._repr_html_()
    assert "50.00 %" in str(result)
    assert "\nwritten" not in str(result)
    assert re.search(rf"^model +{result.nbytes:,} bytes, dense$", str(result), re.MULTILINE)
    document = json.loads(json.dumps(result.to_dict()))
    assert (document["model"], document["recipe"]["data"]["calibration"]) == ("<model>", "<data>")
    for text in (str(document), str(result), result._repr_html_(), result.to_html()):
        assert tempfile.gettempdir() + "/domino" not in text
    assert "domino_onnx.evaluate(model, result, data=...)" in str(result)
    assert "domino-onnx evaluate model.onnx model.sparse.onnx" in result.to_html()
    again = domino_onnx.compress(small, recipe=document, data=rows)
    assert again.model == result.model


@pytest.mark.filterwarnings("ignore::domino_onnx.DominoWarning")
def test_what_was_in_memory_is_asked_for_again(small: ModelProto, save: Any, rows: Array, tmp_path: Path,
                                               domino: Any) -> None:  # fmt: skip
    cheap: Any = {"finetune": False, "threads": 1}
    plan = domino_onnx.search(small, scheme="2:4", data="none").plan
    result = domino_onnx.compress(small, plan=plan, data=rows[:40], eval_data=rows[40:], **cheap)
    recipe = result.to_dict()
    kept: dict[str, Any] = {}
    for keyword, value in (("data", rows[:40]), ("eval_data", rows[40:]), ("plan", plan)):
        with pytest.raises(errors.OptionError, match=f"which was in memory .*: give {keyword} again"):
            domino_onnx.compress(small, recipe=recipe, **kept)
        kept[keyword] = value
    assert domino_onnx.compress(small, recipe=recipe, **kept).model == result.model
    report, model = tmp_path / "report.json", save(small)
    report.write_text(json.dumps(recipe))
    ran = domino("compress", model, "--recipe", report)
    assert (ran.code, "give --data again" in " ".join(ran.err.split())) == (2, True)
    np.savez(tmp_path / "data.npz", x=rows[:40])
    ran = domino(
        "search",
        model,
        "--recipe",
        report,
        "--scheme",
        "2:4",
        "--data",
        tmp_path / "data.npz",
        "-o",
        tmp_path / "p.json",
    )
    assert ran.code == 0, f"search takes no samples to judge by, and asks for none: {ran.err}"


@pytest.mark.usefixtures("brief_timing")
@pytest.mark.filterwarnings("ignore::domino_onnx.DominoWarning")
def test_a_second_model_has_a_name_too(small: ModelProto) -> None:
    kernels = pytest.importorskip("domino_onnx_kernels", reason="domino-onnx-kernels is not installed")
    pytest.importorskip("onnx_graphsurgeon", reason="onnx-graphsurgeon is not installed")
    try:
        kernels.library_path()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    result = domino_onnx.compress(small, **CHEAP, deploy="cpu")
    document = result.to_dict()
    assert (document["output"], document["deployed"]["output"]) == ("<result>", "<result.deployed>")
    assert "\ndeployed    <result.deployed>: " in str(result)
    assert result.deployed is not None
    assert result.deployed.to_dict() == document["deployed"]
    for text in (str(document), str(result), result.to_html(), str(result.deployed)):
        assert tempfile.gettempdir() + "/domino" not in text


def test_rows_name_models_that_have_no_file(small: ModelProto, save: Any) -> None:
    path = save(small)
    timed = domino_onnx.benchmark(path, small, seconds=0.05)
    assert [str(row.model) for row in timed.rows] == [str(path), "<model 2>"]
    assert re.search("^<model 2> +1 +1 ", str(domino_onnx.benchmark(small, small, seconds=0.05)), re.MULTILINE)


def test_unknown_keywords_are_refused(small: ModelProto) -> None:
    wrong: Any = {"sparsty": 0.5}
    of_the_command_line: Any = {"output": "a.onnx"}
    with pytest.raises(TypeError, match=r"compress\(\) takes no keyword 'sparsty'; did you mean 'sparsity'"):
        domino_onnx.compress(small, **wrong)
    with pytest.raises(TypeError, match=r"compress\(\) takes no keyword 'output'; .*result\.save\(PATH\) does"):
        domino_onnx.compress(small, **of_the_command_line)


def test_progress_that_is_no_function_is_refused(small: ModelProto) -> None:
    wrong: Any = {"progress": True}
    with pytest.raises(errors.OptionError, match=r"compress\(\): 'progress' is True; it must be a function"):
        domino_onnx.compress(small, **CHEAP, **wrong)


def test_shares_of_a_sweep_are_read_as_those_of_compress(small: ModelProto, rows: Array) -> None:
    with pytest.raises(errors.BudgetError, match=r"sparsity 75 is not between 0 and 1: write 0\.75 or 75%"):
        domino_onnx.sweep(small, [0.5, 75], data=rows)
    assert domino_onnx.sweep(small, ["50%"], data=rows).sparsities == (0.5,)


def test_a_session_of_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(errors.ModelError, match=r"^there is no file .*none\.onnx$"):
        domino_onnx.session(tmp_path / "none.onnx")


@pytest.mark.parametrize("wrong", [3, None, object()])
def test_what_is_no_model_is_said(wrong: Any) -> None:
    with pytest.raises(errors.ModelError, match="is no model: give a path, bytes"):
        domino_onnx.inspect(wrong)


def test_names_are_imported_when_they_are_asked_for(root: Path) -> None:
    code = (
        "import sys, domino_onnx, domino_onnx.errors\n"
        "assert 'numpy' not in sys.modules\n"
        "import domino_onnx.search, domino_onnx.evaluate\n"
        "from domino_onnx import search\n"
        "assert callable(search) and search is domino_onnx.search and callable(domino_onnx.evaluate)\n"
        "assert set(domino_onnx.__all__) <= set(dir(domino_onnx))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False,
                         env={**os.environ, "PYTHONPATH": str(root)})  # fmt: skip
    assert ran.returncode == 0, ran.stderr
