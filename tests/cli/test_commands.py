"""The command line's contract: help, exit codes, one JSON document on stdout, messages on stderr."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import domino_onnx
from domino_onnx.cli.group import cli
from domino_onnx.scheme import Plan

Run = Callable[..., Any]
node = helper.make_node
_WRITING = ("search", "apply", "compress", "convert", "finetune")


@pytest.fixture
def model(make_model: Callable[..., Any], save: Callable[..., Path]) -> Path:
    """Two MatMuls over (batch, 16)."""
    generator = np.random.default_rng(0)
    nodes = [
        node("MatMul", ["x", "a"], ["h"], name="first"),
        node("Relu", ["h"], ["r"]),
        node("MatMul", ["r", "b"], ["y"], name="second"),
        node("Conv", ["c", "k"], ["z"], name="small"),
    ]
    arrays = {
        "a": generator.standard_normal((16, 32)).astype(np.float32),
        "b": generator.standard_normal((32, 16)).astype(np.float32),
        "k": generator.standard_normal((2, 3, 1, 1)).astype(np.float32),
    }
    inputs = {"x": ["batch", 16], "c": ["batch", 3, 2, 2]}
    return save(make_model(nodes, inputs, {"y": None, "z": None}, arrays))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    generator = np.random.default_rng(1)
    path = tmp_path / "data.npz"
    np.savez(
        path,
        x=generator.standard_normal((60, 16)).astype(np.float32),
        c=generator.standard_normal((60, 3, 2, 2)).astype(np.float32),
    )
    return path


@pytest.mark.parametrize("command", ["", *cli.commands])
def test_every_command_explains_itself_with_an_example(command: str, domino: Run) -> None:
    ran = domino(*([command] if command else []), "--help")
    assert ran.code == 0
    assert not ran.err
    described = ran.out.split("\n", 1)[1].split("\nRun:")[0].split("\nOptions:")[0]
    assert f"domino-onnx {command}".strip() in described


def test_short_help_and_version(domino: Run) -> None:
    assert domino("-h").out == domino("--help").out
    ran = domino("--version")
    assert (ran.code, ran.err) == (0, "")
    first, libraries = ran.out.splitlines()
    assert first == f"domino-onnx {domino_onnx.__version__}"
    assert f"numpy {np.__version__}" in libraries
    assert f"onnx {onnx.__version__}" in libraries


@pytest.mark.parametrize(
    ("shell", "script"), [("bash", "complete -o nosort -F"), ("zsh", "compdef"), ("fish", "complete --")]
)
def test_completion_is_a_script_for_the_shell(shell: str, script: str, domino: Run) -> None:
    ran = domino("completion", shell)
    assert (ran.code, ran.err) == (0, "")
    assert script in ran.out
    assert "_DOMINO_ONNX_COMPLETE" in ran.out


def test_commands_options_and_choices_are_completed(domino: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_DOMINO_ONNX_COMPLETE", "bash_complete")

    def offered(line: str) -> set[str]:
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(line.split()) - 1))
        return {each.partition(",")[2] for each in domino().out.splitlines()}

    assert offered("domino-onnx co") == {"compress", "convert", "completion"}
    assert offered("domino-onnx compress --spar") == {"--sparsity"}
    assert offered("domino-onnx compress --target ten") == {"tensorrt"}


USAGE = [
    (["nonsense"], "nonsense"),
    (["compress", "MODEL"], "--scheme or --plan"),
    (["compress", "MODEL", "--sparsity", "much"], "write for instance 0.5 or 50%"),
    (["compress", "MODEL", "--sparsity", "50"], "write 0.5 or 50%"),
    (["sweep", "MODEL", "--sparsity", "87.5"], "write 0.875 or 87.5%"),
    (["compress", "MODEL", "--flops-reduction", "0.5", "--plan", "p.json"], "contradict"),
    (["compress", "MODEL", "--sparsity", "0.5", "--format", "magic"], "magic"),
    (["compress", "MODEL", "--sparsity", "0.5", "--recipe", "missing.toml"], "missing.toml"),
    (["compress", "MODEL", "--sparsity", "0.5", "--report", "r.pdf"], ".html or .json"),
    (["compress", "MODEL", "--max-drop", "1.5"], "--max-drop"),
    (["inspect", "MODEL", "--input-shape", "x"], "NAME:SIZES"),
    (["inspect", "MODEL", "--input-shape", "x:1,-3"], "NAME:SIZES"),
    (["inspect", "MODEL", "--batch-axis", "x"], "NAME=AXIS"),
    (["inspect", "MODEL", "--batch-axis", "x=-1"], "NAME=AXIS"),
    (["inspect"], "MODEL"),
    (["evaluate", "MODEL", "MODEL"], "--data"),
    (["search", "MODEL"], "--flops-reduction or --scheme"),
]


@pytest.mark.parametrize(("arguments", "says"), USAGE)
def test_wrong_usage_ends_with_two(arguments: list[str], says: str, domino: Run, model: Path) -> None:
    ran = domino(*(model if argument == "MODEL" else argument for argument in arguments))
    assert ran.code == 2
    assert says in ran.err
    assert not ran.out


@pytest.mark.parametrize(("arguments", "says"), USAGE[1:])
def test_wrong_usage_is_a_document_for_scripts(arguments: list[str], says: str, domino: Run, model: Path) -> None:
    ran = domino(*(model if argument == "MODEL" else argument for argument in arguments), "--json")
    document = json.loads(ran.out)["error"]
    assert document["type"].endswith("Error")
    assert says in document["message"]


ERRORS = [
    (["inspect", "missing.onnx"], "no file missing.onnx"),
    (["inspect", "."], ". is a folder: give the file in it"),
    (["benchmark", "MODEL", "missing.onnx"], "no file missing.onnx"),
    (["compress", "MODEL", "--sparsity", "0.5", "--metric", "score.py"], "--metric score.py names no function"),
    (["compress", "MODEL", "--scheme", "3:7"], "no weight of the model can have 3:7"),
    (["compress", "MODEL", "--sparsity", "0.6", "--pool", "2:4"], "--pool 1:32"),
    (["inspect", "MODEL", "--input-shape", "q:1,2"], "'q'"),
    (["compress", "MODEL", "--sparsity", "0.99"], "at most"),
    (["compress", "MODEL", "--sparsity", "0.5", "-o", "MODEL"], "input itself"),
    (["compress", "MODEL", "--sparsity", "0.5", "-o", "no/where.onnx"], "doesn't exist"),
    (["compress", "MODEL", "--sparsity", "0.5", "--report", "no/where.html"], "doesn't exist"),
    (["compress", "MODEL", "--sparsity", "0.5", "--data", "missing.npz"], "missing.npz"),
    (["compress", "MODEL", "--plan", "missing.json"], "can't read the plan missing.json: No such file"),
    (["compress", "MODEL", "--sparsity", "0.5", "--include", "nothing"], "--include 'nothing' matches no weight"),
    (["finetune", "MODEL", "--teacher", "MODEL", "--data", "DATA"], "manifest"),
    (["evaluate", "MODEL", "MODEL", "--data", "missing.npz"], "missing.npz"),
]


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(("arguments", "says"), ERRORS)
def test_errors_end_with_one_and_one_message(
    arguments: list[str],
    says: str,
    as_json: bool,
    domino: Run,
    model: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    real = {"MODEL": model, "DATA": data}
    ran = domino(*(real.get(argument, argument) for argument in arguments), *(["--json"] if as_json else []))
    assert ran.code == 1
    lines = [line for line in ran.err.splitlines() if not line.startswith(("warning:", "note:"))]
    assert lines[0].startswith("error: ")
    assert says in ran.err
    assert "Traceback" not in ran.err
    assert "bug" not in ran.err
    if as_json:
        assert says in json.loads(ran.out)["error"]["message"]
    else:
        assert not ran.out
    assert set(tmp_path.iterdir()) == before


def test_a_failed_check_ends_with_three(domino: Run, model: Path) -> None:
    ran = domino("verify", model, "--json")
    assert ran.code == 3
    assert json.loads(ran.out)["holds"] is False
    changed = onnx.load(model)
    changed.metadata_props.add(key="domino_onnx.manifest", value="garbage")
    model.write_bytes(changed.SerializeToString())
    ran = domino("verify", model)
    assert ran.code == 3
    assert "manifest" in ran.err


COMPRESS_KEYS = {
    "model", "output", "sparsity", "sparsity_sites", "flops_saved", "planned_sparsity", "planned_flops_saved",
    "strategy", "sites", "skipped", "parity", "finetuning", "seconds", "peak_rss_bytes",
}  # fmt: skip
SITE_KEYS = {"name", "weight", "op", "shape", "n", "m", "sparsity", "params", "macs"}


def test_compress_json_has_the_promised_keys(domino: Run, model: Path, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    output = tmp_path / "out.onnx"
    ran = domino("compress", model, "--sparsity", "0.75", "--data", data, "--finetune-steps", 8, "-o", output, "--json")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert set(document) >= COMPRESS_KEYS
    assert all(set(site) >= SITE_KEYS for site in document["sites"])
    assert [{"name", "reason"} <= set(skip) for skip in document["skipped"]] == [True]
    assert {"before", "after", "steps"} <= set(document["finetuning"])
    assert document["finetuning"]["after"] <= document["finetuning"]["before"]
    assert document["finetuning"]["steps"] == 8
    assert document["output"] == str(output)
    assert document["peak_rss_bytes"] > 1 << 20
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(output).graph.initializer}
    for site in document["sites"]:
        weight = stored[site["weight"]]
        assert site["shape"] == list(weight.shape)
        assert site["sparsity"] == np.mean(weight == 0)
        assert site["params"] == weight.size
    total = sum(np.count_nonzero(stored[name] == 0) for name in ("a", "b", "k")) / 1030
    assert document["sparsity"] == pytest.approx(total)
    assert document["sparsity"] >= 0.75


@pytest.mark.parametrize(
    "command", ["inspect", "search", "apply", "compress", "convert", "evaluate", "verify", "finetune"]
)
def test_json_is_exactly_one_document_on_stdout(
    command: str, domino: Run, model: Path, data: Path, tmp_path: Path
) -> None:
    sparse, plan = tmp_path / "sparse.onnx", tmp_path / "plan.json"
    assert domino("search", model, "--sparsity", "0.5", "-o", plan).code == 0
    assert domino("apply", model, plan, "-o", sparse).code == 0
    if command == "finetune":
        pytest.importorskip("torch")
    arguments = {
        "inspect": ["inspect", model],
        "search": ["search", model, "--sparsity", "0.6", "-o", tmp_path / "other.json"],
        "apply": ["apply", model, plan, "-o", tmp_path / "o.onnx"],
        "compress": ["compress", model, "--sparsity", "0.5", "-o", tmp_path / "o.onnx"],
        "convert": ["convert", sparse, "--format", "packed", "-o", tmp_path / "o.onnx"],
        "evaluate": ["evaluate", model, sparse, "--data", data],
        "verify": ["verify", sparse],
        "finetune": [
            "finetune",
            sparse,
            "--teacher",
            model,
            "--data",
            data,
            "--finetune-steps",
            "4",
            "-o",
            tmp_path / "o.onnx",
        ],
    }[command]
    ran = domino(*arguments, "--json")
    assert ran.code == 0, ran.err
    assert isinstance(json.loads(ran.out), dict)
    quiet = domino(*arguments, "-q", *(["--force"] if command in _WRITING else []))
    assert (quiet.code, quiet.out) == (0, "")
    both = domino(*arguments, "-q", "--json", *(["--force"] if command in _WRITING else []))
    assert isinstance(json.loads(both.out), dict)


def test_outputs_that_exist_are_kept_without_force(domino: Run, model: Path, tmp_path: Path) -> None:
    output, plan = tmp_path / "out.onnx", tmp_path / "plan.json"
    output.write_text("precious")
    plan.write_text("precious")
    assert domino("compress", model, "--sparsity", "0.5", "-o", output).code == 1
    assert domino("search", model, "--sparsity", "0.5", "-o", plan).code == 1
    assert (output.read_text(), plan.read_text()) == ("precious", "precious")
    assert domino("compress", model, "--sparsity", "0.5", "-o", output, "--force").code == 0
    assert domino("search", model, "--sparsity", "0.5", "-o", plan, "--force").code == 0


def test_no_input_is_ever_replaced(domino: Run, samples: Path, tmp_path: Path) -> None:
    model, data, plan = tmp_path / "model.onnx", tmp_path / "data.npz", tmp_path / "plan.json"
    shutil.copy(samples / "digits_resnet.onnx", model)
    with np.load(samples / "digits_calibration.npz") as arrays:
        np.savez(data, image=arrays["image"][:16])
    assert domino("search", model, "--sparsity", "0.5", "-o", plan).code == 0
    (tmp_path / "alias.json").symlink_to(data)
    before = {path: path.read_bytes() for path in (model, data, plan)}
    sparse = ("--sparsity", "0.5", "--force", "--no-finetune")
    for words in (
        ("search", model, "--sparsity", "0.5", "--force", "-o", model),
        ("search", model, "--sparsity", "0.5", "--force", "--data", data, "-o", data),
        ("compress", model, *sparse, "--data", data, "-o", data),
        ("compress", model, *sparse, "--eval-data", data, "-o", data),
        ("compress", model, *sparse, "--data", data, "--report", tmp_path / "alias.json"),
        ("compress", model, "--plan", plan, "--force", "--no-finetune", "-o", plan),
        ("apply", model, plan, "--force", "-o", plan),
        ("apply", model, plan, "--force", "-o", tmp_path / "out.onnx", "--report", plan),
    ):
        ran = domino(*words)
        assert ran.code == 1, words
        assert "is the input itself" in ran.err
    assert {path: path.read_bytes() for path in before} == before
    assert not (tmp_path / "out.onnx").exists()


def test_only_regular_files_are_replaced(domino: Run, model: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.onnx"
    os.mkfifo(pipe)
    ran = domino("compress", model, "--sparsity", "0.5", "-o", pipe, "--force")
    assert ran.code == 1
    assert "no regular file" in ran.err
    assert pipe.is_fifo()


def test_a_search_that_cannot_write_its_plan_does_not_begin(
    domino: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("domino_onnx.pipeline.search", lambda *_: pytest.fail("it searched"))
    ran = domino("search", model, "--sparsity", "0.5", "-o", tmp_path / "nowhere" / "plan.json")
    assert ran.code == 1
    assert "doesn't exist; make it first" in ran.err


def test_data_that_overflow_are_named_as_such(domino: Run, samples: Path, small_digits: Path, tmp_path: Path) -> None:
    with np.load(samples / "digits_calibration.npz") as arrays:
        np.savez(tmp_path / "huge.npz", image=arrays["image"][:32] * np.float32(1e30))
    words = ["compress", small_digits, "--sparsity", "0.5", "--no-finetune", "-q"]
    ran = domino(*words, "--data", tmp_path / "huge.npz", "-o", tmp_path / "out.onnx")
    assert ran.code == 1
    assert "too large to be squared in float32: check their scale" in ran.err
    assert "Warning" not in ran.err


def test_who_was_fitted_to_is_no_judge_and_says_so(
    domino: Run, samples: Path, small_digits: Path, tmp_path: Path
) -> None:
    with np.load(samples / "digits_calibration.npz") as arrays:
        np.savez(tmp_path / "data.npz", image=arrays["image"][:32])
        np.savez(tmp_path / "other.npz", image=arrays["image"][32:64])
    words = ["compress", small_digits, "--scheme", "2:4", "--no-finetune", "--force"]
    words += ["-o", tmp_path / "out.onnx", "--data", tmp_path / "data.npz"]
    fitted = domino(*words)
    assert "measured on the calibration data" in " ".join(fitted.out.split())
    for more, recipe in ((["--eval-data", tmp_path / "other.npz"], {}), ([], {"solver.method": "magnitude"})):
        ran = domino(*words, *more, "--json", recipe=recipe)
        assert json.loads(ran.out)["parity"]["fitted"] is False, ran.err


def test_default_output_stands_beside_the_model(domino: Run, model: Path) -> None:
    assert domino("compress", model, "--sparsity", "0.5").code == 0
    assert model.with_name("model.sparse.onnx").is_file()


def test_without_data_it_says_that_finetuning_is_skipped(domino: Run, model: Path, tmp_path: Path) -> None:
    ran = domino("compress", model, "--sparsity", "0.5", "-o", tmp_path / "out.onnx")
    assert ran.code == 0
    assert "--data" in ran.err
    assert json.loads(domino("compress", model, "--sparsity", "0.5", "--json", "-o", tmp_path / "o.onnx").out)[
        "warnings"
    ]


def test_reports_are_written_as_their_suffix_says(domino: Run, model: Path, tmp_path: Path) -> None:
    for suffix, start in (("html", "<!doctype html>"), ("json", "{")):
        report = tmp_path / f"report.{suffix}"
        ran = domino("compress", model, "--sparsity", "0.5", "-o", tmp_path / "out.onnx", "--force", "--report", report)
        assert ran.code == 0
        assert report.read_text().lower().startswith(start)
        assert str(report) in ran.out.replace("\n", "") or report.name in ran.out


def test_a_plan_can_be_edited_and_applied(domino: Run, model: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    domino("search", model, "--sparsity", "0.5", "-o", plan)
    document = json.loads(plan.read_text())
    document["sites"] = [{"weight": "a", "scheme": "3:8"}]
    plan.write_text(json.dumps(document))
    ran = domino("apply", model, plan, "-o", tmp_path / "out.onnx")
    assert ran.code == 0, ran.err
    stored = {
        tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(tmp_path / "out.onnx").graph.initializer
    }
    assert (np.count_nonzero(stored["a"].reshape(2, 8, 32), axis=1) == 3).all()
    assert stored["b"].all()
    assert domino("verify", tmp_path / "out.onnx").code == 0


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        ({"sites": [{"weight": "nothing", "scheme": "2:4"}]}, "nothing"),
        ({"sites": [{"weight": "k", "scheme": "2:4"}]}, "not a site"),
        ({"sites": [{"weight": "a", "scheme": "2:5"}]}, "divisible"),
        ({"source_sha256": "0" * 64}, "SHA-256"),
        ({"extra": 1}, "unknown key"),
    ],
)
def test_plans_that_do_not_fit_are_refused(
    edit: dict[str, Any], says: str, domino: Run, model: Path, tmp_path: Path
) -> None:
    plan = tmp_path / "plan.json"
    domino("search", model, "--sparsity", "0.5", "-o", plan)
    plan.write_text(json.dumps({**json.loads(plan.read_text()), **edit}))
    ran = domino("apply", model, plan, "-o", tmp_path / "out.onnx")
    assert ran.code == 1
    assert says in ran.err
    assert not (tmp_path / "out.onnx").exists()
    ran = domino("compress", model, "--plan", plan, "-o", tmp_path / "out.onnx")
    assert (ran.code, says in ran.err) == (1, True)


def test_a_plan_for_any_model_has_no_hash(domino: Run, model: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    domino("search", model, "--sparsity", "0.5", "-o", plan)
    plan.write_text(json.dumps({**json.loads(plan.read_text()), "source_sha256": ""}))
    changed = onnx.load(model)
    changed.doc_string = "another file"
    other = model.with_name("other.onnx")
    other.write_bytes(changed.SerializeToString())
    assert domino("apply", other, plan, "-o", tmp_path / "out.onnx").code == 0


def test_a_manifest_with_a_garbage_budget_does_not_crash_finetune(
    domino: Run, model: Path, data: Path, tmp_path: Path
) -> None:
    sparse = tmp_path / "sparse.onnx"
    domino("compress", model, "--sparsity", "0.5", "-o", sparse, "--no-finetune")
    for budget in ({"x": 1}, 1, {"measure": "size", "reduction": 0.5}, {"measure": "params", "reduction": "a lot"}):
        changed = onnx.load(sparse)
        for entry in changed.metadata_props:
            if entry.key == "domino_onnx.manifest":
                entry.value = json.dumps({**json.loads(entry.value), "budgets": [budget]})
        sparse.write_bytes(changed.SerializeToString())
        ran = domino(
            "finetune",
            sparse,
            "--teacher",
            model,
            "--data",
            data,
            "-o",
            tmp_path / "out.onnx",
            "--finetune-steps",
            "1",
            "--force",
        )
        assert "bug" not in ran.err, budget


def test_the_plan_of_search_is_the_one_compress_uses(domino: Run, model: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    domino("search", model, "--sparsity", "0.6", "-o", plan)
    ran = domino("compress", model, "--sparsity", "0.6", "-o", tmp_path / "out.onnx", "--json")
    chosen = {site["weight"]: f"{site['n']}:{site['m']}" for site in json.loads(ran.out)["sites"]}
    assert {str(key): str(scheme) for key, scheme in Plan.load(plan).schemes.items()} == chosen


class TestProcess:
    """What only a process of its own can show."""

    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # noqa: RUF012

    def run(self, *arguments: object, root: Path, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            capture_output=True, text=True, cwd=root, env=self.environment, timeout=100, check=False, **options,
        )  # fmt: skip

    def test_inspect_needs_neither_torch_nor_onnxruntime(self, model: Path, root: Path) -> None:
        code = (
            "import sys; sys.argv = ['domino-onnx', 'inspect', sys.argv[1], '--json']\n"
            "from domino_onnx.cli import main\n"
            "try:\n    main()\n"
            "finally:\n    print(sorted({'torch', 'onnxruntime'} & set(sys.modules)), file=sys.stderr)"
        )
        ran = self.run("-c", code, model, root=root)
        assert ran.returncode == 0, ran.stderr
        assert ran.stderr.strip() == "[]"
        json.loads(ran.stdout)

    def test_it_runs_as_a_module(self, model: Path, root: Path) -> None:
        ran = self.run("-m", "domino_onnx", "inspect", model, root=root)
        assert ran.returncode == 0, ran.stderr
        assert "first" in ran.stdout

    @pytest.mark.usefixtures("hears_ctrl_c")
    @pytest.mark.parametrize("module", ["numpy", "click", "domino_onnx.pipeline"])
    def test_an_interrupted_import_is_quiet(self, module: str, model: Path, root: Path) -> None:
        code = (
            "import os, signal, sys\n"
            "class Interrupts:\n"
            "    def find_spec(self, name, *_):\n"
            f"        if name == {module!r}:\n"
            "            os.kill(os.getpid(), signal.SIGINT)\n"
            "sys.meta_path.insert(0, Interrupts())\n"
            "from domino_onnx.cli import main\n"
            "sys.argv[0] = 'domino-onnx'\n"
            "main()\n"
        )
        ran = self.run("-c", code, "inspect", model, root=root)
        assert (ran.returncode, ran.stderr, ran.stdout) == (130, "interrupted\n", "")

    def test_a_closed_pipe_is_no_traceback(self, model: Path, root: Path) -> None:
        ran = subprocess.run(
            ["bash", "-c", f"'{sys.executable}' -m domino_onnx inspect '{model}' | true"],
            capture_output=True, text=True, cwd=root, env=self.environment, timeout=100, check=False,
        )  # fmt: skip
        assert "Traceback" not in ran.stderr

    @pytest.mark.usefixtures("hears_ctrl_c")
    def test_an_interruption_ends_with_130_and_writes_nothing(self, model: Path, root: Path, tmp_path: Path) -> None:
        output, recipe = tmp_path / "out.onnx", tmp_path / "recipe.toml"
        recipe.write_text("search.domino.check_every = 100000000")
        process = subprocess.Popen(
            [sys.executable, "-m", "domino_onnx", "compress", str(model), "--sparsity", "0.9", "-o", str(output),
             "--recipe", str(recipe)],
            cwd=root, env=self.environment, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stderr is not None
        said = ""
        while "elapsed" not in said:  # a stage has begun
            line = process.stderr.readline()
            assert line, f"ended without a stage: {said}"
            said += line
        process.send_signal(signal.SIGINT)
        try:
            _, message = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == 130, said + message
        assert "Traceback" not in message
        assert not output.exists()
        assert not list(tmp_path.glob(".*tmp"))
