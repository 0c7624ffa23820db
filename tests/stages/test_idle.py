"""Options that have no effect are told: in all their combinations, and by the commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import domino_onnx
from domino_onnx.options import CompressOptions, overridden
from domino_onnx.scheme import NMScheme, SchemePool
from domino_onnx.search import DominoOptions
from domino_onnx.stages.reading.idle import idle_options

Run = Callable[..., Any]
TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
two (float[n, 16] x) => (float[n, 16] y) { h = MatMul (x, a)
 y = Relu (h) }
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    made = onnx.parser.parse_model(TEXT)
    weight = np.random.default_rng(0).standard_normal((16, 16)).astype(np.float32)
    made.graph.initializer.append(numpy_helper.from_array(weight, "a"))
    onnx.save(made, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


NONE, DATA = Path("none"), Path("data.npz")
IDLE: list[tuple[dict[str, Any], list[str]]] = [
    ({}, []),
    ({"data.calibration": NONE}, []),
    ({"data.calibration": NONE, "data.batch_axes": {"x": 0}}, ["--batch-axis has no effect without samples"]),
    ({"data.calibration": NONE, "data.evaluation": DATA, "data.batch_axes": {"x": 0}}, []),
    ({"data.batch_axes": {"x": 0}}, []),
    ({"data.calibration": NONE, "data.metric": "f.py"}, ["--metric has no effect without samples (--data none)"]),
    ({"data.calibration": NONE, "data.output_kinds": {"y": "values"}}, ["--output-kind has no effect without"]),
    ({"data.calibration": NONE, "solver.method": "sparsegpt"}, ["solver.method = 'sparsegpt' has no effect without"]),
    ({"data.calibration": NONE, "solver.masks": "obs"}, ["solver.masks has no effect: nothing is refitted"]),
    ({"data.calibration": DATA, "solver.masks": "obs"}, []),
    ({"solver.masks": "obs", "solver.method": "magnitude"}, []),  # losses are measured by these masks
    ({"solver.masks": "obs", "solver.method": "sparsegpt", "search.strategy": "measured-domino"}, []),
    ({"solver.masks": "obs", "solver.method": "magnitude", "search.strategy": "erk"}, ["solver.masks has no effect"]),
    ({"solver.masks": "obs", "solver.method": "magnitude", "goal.scheme": NMScheme(2, 4)}, ["solver.masks has no"]),
    ({"solver.masks": "obs", "solver.method": "sparsegpt", "goal.plan": DATA}, ["solver.masks has no effect"]),
    ({"data.input_shapes": {"x": (4, 16)}}, []),
    ({"data.input_shapes": {"x": (4, 16)}, "data.calibration": NONE}, []),
    ({"data.input_shapes": {"x": (4, 16)}, "data.calibration": DATA}, ["--input-shape has no effect with samples"]),
    (
        {"data.input_shapes": {"x": (4, 16)}, "data.calibration": NONE, "data.evaluation": DATA},
        ["--input-shape has no effect with samples"],
    ),
    ({"data.input_shapes": {"x": (4, 16)}, "data.evaluation": DATA}, []),  # drawn samples get this shape
    ({"data.drawn": 64}, ["data.drawn has no effect without --data"]),
    ({"data.drawn": 64, "data.calibration": DATA}, []),
    ({"output.deploy": "cpu"}, []),
    ({"output.deploy": "cpu", "output.weights": "int8"}, []),
    ({"output.precision": "fp16"}, []),
    ({"output.deploy": "cpu", "output.precision": "fp16"}, ["--deploy cpu has no effect with --precision fp16"]),
    ({"finetune.steps": 5}, []),
    ({"finetune.enabled": False, "finetune.steps": 5}, ["--finetune-steps has no effect with --no-finetune"]),
    ({"finetune.enabled": False, "finetune.lr": 0.1}, ["finetune.lr has no effect with --no-finetune"]),
    ({"goal.plan": Path("p.json"), "search.pool": SchemePool.fixed_m(8)}, ["--pool has no effect with --plan"]),
    ({"goal.plan": Path("p.json"), "search.strategy": "erk"}, ["search.strategy has no effect with --plan"]),
    ({"search.domino": DominoOptions(vote=0.5)}, ["search.domino has no effect with search.strategy = 'auto'"]),
    ({"search.domino": DominoOptions(vote=0.5), "search.strategy": "domino"}, []),
    ({"search.domino": DominoOptions(vote=0.5), "data.calibration": NONE}, []),
    ({"search.gradients": False, "goal.scheme": NMScheme(2, 4)}, ["search.gradients has no effect with --scheme"]),
    ({"search.pool": SchemePool.fixed_m(8)}, []),
]


@pytest.mark.parametrize(("given", "says"), IDLE)
def test_what_has_no_effect_is_named(given: dict[str, Any], says: list[str]) -> None:
    told = list(idle_options(overridden(CompressOptions(), given), finetunes=True))
    assert len(told) == len(says)
    assert all(line.startswith(start) for line, start in zip(told, says, strict=True))


def test_commands_that_never_finetune_say_nothing_of_it() -> None:
    options = overridden(CompressOptions(), {"finetune.enabled": False, "finetune.steps": 5})
    assert not list(idle_options(options, finetunes=False))


def test_commands_that_never_search_measure_no_losses() -> None:
    options = overridden(CompressOptions(), {"solver.masks": "obs", "solver.method": "magnitude"})
    (told,) = idle_options(options, searches=False)
    assert told.startswith("solver.masks has no effect: nothing is refitted")


def test_nothing_is_gone_on_from_where_nothing_is_kept(model: Path, tmp_path: Path) -> None:
    """From Python a run keeps nothing unless a folder is named."""
    words: dict[str, Any] = {"scheme": "2:4", "data": "none", "finetune": False, "resume": True}
    with pytest.warns(domino_onnx.DominoWarning, match=r"resume=True has no effect without checkpoint"):
        domino_onnx.compress(model, **words)
    with pytest.warns(domino_onnx.DominoWarning, match=r"resume=True has no effect without checkpoint"):
        domino_onnx.sweep(model, 0.5, data=rows(), resume=True)
    with pytest.warns(domino_onnx.DominoWarning) as told:
        domino_onnx.compress(model, **words, checkpoint=tmp_path / "kept")
    assert not [warning for warning in told if "no effect" in str(warning.message)]


def test_finetuning_without_samples_asks_for_nothing_that_was_given(model: Path, domino: Run) -> None:
    ran = domino("compress", model, "--scheme", "2:4", "--data", "none")
    assert ran.code == 0, ran.err
    said = " ".join(ran.err.split())
    assert ("--data none takes none" in said, "give --data" in said) == (True, False)


def rows() -> Any:
    return np.random.default_rng(1).standard_normal((64, 16)).astype(np.float32)


def test_masks_that_are_told_of_change_nothing(model: Path, domino: Run, tmp_path: Path) -> None:
    """Neither the measured losses nor the plan; where they do change them, nothing is told."""
    np.savez(tmp_path / "data.npz", x=rows())
    found = {}
    for solver, strategy in (("magnitude", "auto"), ("magnitude", "erk"), ("refit", "erk")):
        for masks in ("admm", "magnitude"):
            recipe = tmp_path / "recipe.toml"
            recipe.write_text(f'[solver]\nmethod = "{solver}"\nmasks = "{masks}"\n[search]\nstrategy = "{strategy}"\n')
            words = ("--sparsity", "0.5", "--data", tmp_path / "data.npz", "--no-finetune", "--force", "--json")
            ran = domino("compress", model, *words, "--recipe", recipe)
            assert ran.code == 0, ran.err
            said, written = json.loads(ran.out), model.with_name("model.sparse.onnx").read_bytes()
            losses = [each["loss"] for site in said["sites"] for each in site["candidates"]]
            told = any("solver.masks has no effect" in each for each in said["warnings"])
            found[masks] = losses, written, told
        (losses, written, _), (other_losses, other_written, told) = found["admm"], found["magnitude"]
        assert (
            (losses == other_losses and written == other_written)
            == told
            == ((solver, strategy) == ("magnitude", "erk"))
        )


def test_the_command_tells_it_and_goes_on(model: Path, domino: Run) -> None:
    ran = domino("compress", model, "--scheme", "2:4", "--data", "none", "--batch-axis", "x=0")
    assert ran.code == 0, ran.err
    assert "--batch-axis has no effect without samples (--data none)" in ran.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--batch-axis", "img=0"), "--batch-axis names 'img'; the model's inputs are 'x', its outputs 'y'"),
        (("--batch-axis", "x=2"), "--batch-axis x=2: 'x' has 2 axes, counted from 0"),
        (("--output-kind", "logits=scores"), "--output-kind names 'logits'; the model's outputs are 'y'"),
        (("--input-shape", "img:1,16"), "--input-shape names 'img'; the model's inputs are 'x'"),
    ],
)
def test_names_that_the_model_lacks_are_refused_without_samples(
    words: tuple[str, ...], says: str, model: Path, domino: Run
) -> None:
    ran = domino("compress", model, "--scheme", "2:4", "--data", "none", *words)
    assert (ran.code, ran.out) == (1, "")
    assert says in ran.err


def test_inspect_wants_data_for_a_batch_axis(model: Path, domino: Run) -> None:
    ran = domino("inspect", model, "--batch-axis", "x=0")
    assert ran.code == 2
    assert "give --data as well" in ran.err


def test_timing_refuses_shapes_of_no_input(model: Path, domino: Run) -> None:
    ran = domino("benchmark", model, "--input-shape", "img:1,16")
    assert (ran.code, ran.out) == (1, "")
    assert "--input-shape names 'img'; the model's inputs are 'x'" in ran.err


def test_models_of_other_inputs_are_not_compared(model: Path, domino: Run, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.zeros((4, 16), np.float32))
    other = onnx.parser.parse_model(TEXT.replace("float[n, 16] x", "float[n, 8] x"))
    other.graph.initializer.append(numpy_helper.from_array(np.zeros((8, 16), np.float32), "a"))
    onnx.save(other, tmp_path / "other.onnx")
    ran = domino("evaluate", model, tmp_path / "other.onnx", "--data", tmp_path / "data.npz")
    assert (ran.code, ran.out) == (1, "")
    assert "take other inputs, x (float32: ?,16) and x (float32: ?,8)" in ran.err


def test_timing_says_where_a_batch_is_smaller_than_asked_for(model: Path, domino: Run, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.zeros((3, 16), np.float32))
    words = ("--data", tmp_path / "data.npz", "--batch-size", "2", "--batch-size", "8", "--seconds", "0.01", "--json")
    ran = domino("benchmark", model, *words)
    assert [row["batch"] for row in json.loads(ran.out)["rows"]] == [2, 3]
    assert json.loads(ran.out)["warnings"] == [
        "a run has 3 samples in place of 8, as the model, --data or --input-shape says"
    ]


@pytest.mark.parametrize(
    ("x", "s", "y", "product", "batches"),
    [
        ("N, 16", "16, 40", "N, 40", "x, s", [1, 4]),  # s has more rows than any run has samples, and counts none
        ("16, 16", "16, 40", "16, 40", "x, s", [16, 16]),
        ("T, batch, 16", "16, 40", "T, batch, 40", "x, s", [1, 4]),
    ],
    ids=["shared", "fixed", "second axis"],
)
def test_timing_counts_samples_along_the_batch_axis(
    x: str, s: str, y: str, product: str, batches: list[int], domino: Run, tmp_path: Path
) -> None:
    text = f'<ir_version: 8, opset_import: ["" : 17]> m (float[{x}] x, float[{s}] s) => (float[{y}] y) {{'
    onnx.save(onnx.parser.parse_model(f"{text} y = MatMul ({product}) }}"), tmp_path / "two.onnx")
    words = ("--batch-size", "1", "--batch-size", "4", "--seconds", "0.01", "--json")
    ran = domino("benchmark", tmp_path / "two.onnx", *words)
    assert ran.code == 0, ran.err
    assert [row["batch"] for row in json.loads(ran.out)["rows"]] == batches


def test_shapes_of_samples_win(model: Path, domino: Run, tmp_path: Path) -> None:
    """Of a product of 16 by 16 in a run of one sample, which the data have."""
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(1).standard_normal((40, 16)).astype(np.float32))
    words = ("compress", model, "--sparsity", "0.5", "--no-finetune", "--force", "--json", "--input-shape", "x:1000,16")
    for data, macs, told in ((tmp_path / "data.npz", 256, 1), ("none", 256_000, 0)):
        ran = domino(*words, "--data", data)
        assert ran.code == 0, ran.err
        assert [site["macs"] for site in json.loads(ran.out)["sites"]] == [macs]
        assert sum("--input-shape has no effect" in each for each in json.loads(ran.out)["warnings"]) == told


@pytest.mark.parametrize("command", ["benchmark", "inspect"])
def test_shapes_beside_samples_are_told_once(command: str, model: Path, domino: Run, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.zeros((4, 16), np.float32))
    words = [model, "--data", tmp_path / "data.npz", "--input-shape", "x:9,16"]
    more = ["--batch-size", "1", "--batch-size", "2", "--seconds", "0.01"] if command == "benchmark" else []
    ran = domino(command, *words, *more)
    assert ran.code == (2 if command == "inspect" else 0)
    assert ran.err.count("--input-shape has no effect with samples") == 1
