"""`--format` and `convert`: every command reads every form, and each form holds the same weights and manifest."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from domino_onnx.errors import OptionError
from domino_onnx.pipeline import convert
from domino_onnx.precision import Conversion

Run = Callable[..., Any]
FORMS = ("dense", "packed")
UNIFORM = {"search.strategy": "uniform"}


@pytest.fixture(scope="module")
def digits(small_digits: Path) -> Path:
    return small_digits


def manifest(path: Path) -> str:
    model = onnx.load(path)
    return next(entry.value for entry in model.metadata_props if entry.key == "domino_onnx.manifest")


def shown(path: Path) -> bytes:
    image = np.random.default_rng(0).standard_normal((4, 1, 8, 8)).astype(np.float32)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: image})[0].tobytes()


def test_every_command_reads_every_form(domino: Run, digits: Path, samples: Path, tmp_path: Path) -> None:
    files = {form: tmp_path / f"{form}.onnx" for form in FORMS}
    pruned = ("compress", digits, "--sparsity", "0.85", "--no-finetune")
    for form, path in files.items():
        ran = domino(*pruned, "--format", form, "-o", path, "--json", recipe=UNIFORM)
        assert ran.code == 0, ran.err
        document = json.loads(ran.out)
        assert (document["format"], document["bytes"]) == (form, path.stat().st_size)
    assert files["packed"].stat().st_size * 3 < files["dense"].stat().st_size
    assert len({manifest(path) for path in files.values()}) == 1
    assert len({shown(path) for path in files.values()}) == 1
    told = {}
    for form, path in files.items():
        assert domino("verify", path).code == 0
        inspected = json.loads(domino("inspect", path, "--json").out)
        assert inspected.pop("format") == form
        told[form] = {key: inspected[key] for key in ("sites", "skipped", "params", "sparsity", "macs")}
        back = tmp_path / f"{form}.back.onnx"
        assert domino("convert", path, "--format", "dense", "-o", back).code == 0
        assert back.read_bytes() == files["dense"].read_bytes()
        evaluated = domino("evaluate", files["dense"], path, "--data", samples / "digits_evaluation.npz", "--json")
        assert json.loads(evaluated.out)["max_abs"] == 0
    assert told["dense"] == told["packed"]


def test_a_packed_file_can_be_compressed_again_and_finetuned(
    domino: Run, digits: Path, samples: Path, tmp_path: Path
) -> None:
    packed, again, dense = (tmp_path / f"{name}.onnx" for name in ("packed", "again", "dense"))
    once = ("--sparsity", "0.75", "--no-finetune")
    assert domino("compress", digits, *once, "--format", "packed", "-o", packed, recipe=UNIFORM).code == 0
    assert domino("convert", packed, "--format", "dense", "-o", dense).code == 0
    more = ("--sparsity", "0.85", "--no-finetune")
    assert domino("compress", packed, *more, "--format", "packed", "-o", again, recipe=UNIFORM).code == 0
    assert domino("verify", again).code == 0
    assert again.stat().st_size < packed.stat().st_size
    pytest.importorskip("torch")
    outputs = []
    for source, is_of_the_teacher in ((packed, True), (dense, True), (again, False)):
        output = tmp_path / f"finetuned.{source.name}"
        ran = domino(
            *("finetune", source, "--teacher", digits, "--data", samples / "digits_calibration.npz"),
            *("--finetune-steps", "3", "--format", "packed", "-o", output),
            recipe={"finetune.lr": 1e-3},
        )
        assert ran.code == 0, ran.err
        assert domino("verify", output).code == 0
        assert ("made from another model than the teacher" in " ".join(ran.err.split())) is not is_of_the_teacher
        outputs.append(shown(output))
    assert outputs[0] == outputs[1]


def test_convert_says_what_it_did(domino: Run, digits: Path, tmp_path: Path) -> None:
    ran = domino("convert", digits, "--format", "packed", "-o", tmp_path / "out.onnx", "--json")
    assert ran.code == 0
    told = json.loads(ran.out)
    assert (told["before"], told["format"], told["bytes_before"]) == ("dense", "packed", digits.stat().st_size)
    assert {weight["kind"] for weight in told["weights"]} == {"dense"}
    assert "packing saves nothing" in told["warnings"][0]
    assert "packing saves nothing" in ran.err
    assert domino("convert", digits, "--format", "packed", "-o", tmp_path / "out.onnx").code == 1
    assert domino("convert", digits, "-o", tmp_path / "other.onnx").code == 2
    assert domino("convert", digits, "--format", "zip", "-o", tmp_path / "other.onnx").code == 2
    assert domino("convert", tmp_path / "nothing.onnx", "--format", "dense").code == 1


def test_the_default_output_names_the_form(domino: Run, digits: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(digits.read_bytes())
    assert domino("convert", model, "--format", "packed").code == 0
    assert (tmp_path / "model.packed.onnx").is_file()


def test_sparse_tensors_are_read_and_never_written(
    domino: Run, digits: Path, make_sparse: Callable[[onnx.ModelProto], onnx.ModelProto], tmp_path: Path
) -> None:
    sparse, pruned, of_dense, half = (tmp_path / f"{name}.onnx" for name in ("model", "pruned", "of_dense", "half"))
    sparse.write_bytes(make_sparse(onnx.load(digits)).SerializeToString())
    inspected = json.loads(domino("inspect", sparse, "--json").out)
    assert inspected["format"] == "sparse"
    assert len(inspected["sites"]) == len(json.loads(domino("inspect", digits, "--json").out)["sites"]) > 3
    for source, output in ((sparse, pruned), (digits, of_dense)):
        ran = domino("compress", source, "--scheme", "2:16", "--no-finetune", "--format", "packed", "-o", output)
        assert ran.code == 0, ran.err
        assert domino("verify", output).code == 0
    assert shown(pruned) == shown(of_dense)
    ran = domino("convert", sparse, "--precision", "fp16", "-o", half, "--json")
    assert ran.code == 0, ran.err
    assert (json.loads(ran.out)["before"], json.loads(ran.out)["format"]) == ("sparse", "dense")
    assert "written dense" in json.loads(ran.out)["warnings"][0]
    assert domino("convert", digits, "--format", "sparse", "-o", tmp_path / "other.onnx").code == 2


@pytest.mark.parametrize("form", ["sparse", "xyz", ""])
def test_python_cannot_write_other_forms(form: Any, digits: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="it must be 'dense' or 'packed'"):
        convert(digits, tmp_path / "out.onnx", form)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("given", [{"precision": "bf16"}, {"weights": "int4"}, {"precision": None}])
def test_python_cannot_write_other_precisions(given: Any, digits: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=next(iter(given))):
        convert(digits, tmp_path / "out.onnx", conversion=Conversion(**given))
    assert list(tmp_path.iterdir()) == []
