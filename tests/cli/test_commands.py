"""The command line's contract: help, exit codes, one JSON document on stdout, messages on stderr."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import domino_onnx
from domino_onnx.cli.group import cli

Run = Callable[..., Any]
node = helper.make_node


_WRITING = ("search", "apply", "compress", "convert", "finetune")


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


def test_without_data_it_says_that_finetuning_is_skipped(domino: Run, model: Path, tmp_path: Path) -> None:
    ran = domino("compress", model, "--sparsity", "0.5", "--json", "-o", tmp_path / "out.onnx")
    assert ran.code == 0
    skipped = [warning for warning in json.loads(ran.out)["warnings"] if "finetuning is skipped" in warning]
    assert len(skipped) == 1
    assert skipped[0] in ran.err
