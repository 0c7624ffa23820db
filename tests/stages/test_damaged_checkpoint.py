"""A checkpoint that was damaged or edited is refused in words, or gives what it was saved with; never anything else."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import random
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from domino_onnx.errors import CheckpointError
from domino_onnx.options import CompressOptions, DataOptions, Goal, RunOptions
from domino_onnx.stages import Checkpoint, Journal, claim_checkpoint, found_once, open_laboratory, read
from domino_onnx.stages.checkpoints.sealed import write_sealed
from domino_onnx.stages.choosing import Found
from domino_onnx.stages.laboratory import Laboratory

Run = Callable[..., Any]
Arrays = dict[str, Any]
MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
two (float[n, 16] x) => (float[n, 16] y) {
    h = Gemm (x, a, c)
    r = Relu (h)
    y = Gemm (r, b, d)
}
"""
SHAPES = {"a": (16, 32), "c": (32,), "b": (32, 16), "d": (16,)}
ODD = (None, "", "x", "2:4", -1, 0, 3, 10**18, 10**400, float("nan"), float("inf"), 0.25, True, [], [1], {}, {"a": 1})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with biases, and data to learn from and to judge by."""
    folder, generator = tmp_path_factory.mktemp("made"), np.random.default_rng(0)
    model = onnx.parser.parse_model(MODEL)
    for name, shape in SHAPES.items():
        model.graph.initializer.append(
            numpy_helper.from_array(generator.standard_normal(shape).astype(np.float32), name)
        )
    onnx.save(model, folder / "model.onnx")
    for name in ("data", "judge"):
        np.savez(folder / f"{name}.npz", x=generator.standard_normal((64, 16)).astype(np.float32))
    return folder


@pytest.fixture(scope="module")
def lab(folder: Path) -> Laboratory:
    """A run whose goal takes trials."""
    options = CompressOptions(
        goal=Goal(max_drop=0.3),
        data=DataOptions(calibration=folder / "data.npz", evaluation=folder / "judge.npz"),
        run=RunOptions(threads=1),
    )
    journal = Journal()
    return open_laboratory(read(folder / "model.onnx", options, journal, "prune", judged=True), options, journal)


def found_in(lab: Laboratory, folder: Path) -> Found:
    """What the run finds with this checkpoint, before it is interrupted."""
    with contextlib.suppress(KeyboardInterrupt), Checkpoint(folder, resume=True) as checkpoint:
        again = Laboratory(lab.source, lab.aim, lab.options, lab.journal, checkpoint=checkpoint)
        claim_checkpoint(again, "compress")
        found = found_once(again)
        raise KeyboardInterrupt
    return found


@pytest.fixture(scope="module")
def original(lab: Laboratory, folder: Path) -> Found:
    """What is found without any damage; saved on the way."""
    return found_in(lab, folder / "checkpoint")


@pytest.fixture
def saved(lab: Laboratory, original: Found, folder: Path) -> Iterator[Path]:
    """The file that was saved; a test may do to it what it likes."""
    assert original.solved.biases
    assert original.trials
    path = folder / "checkpoint" / "found.npz"
    content = path.read_bytes()
    yield path
    path.write_bytes(content)


def contents(path: Path) -> tuple[dict[str, Any], Arrays]:
    with np.load(path) as archive:
        return json.loads(archive["head"].tobytes()), {name: archive[name] for name in archive.files if name != "head"}


def put(path: Path, head: dict[str, Any], arrays: Arrays) -> None:
    with path.open("wb") as stream:
        write_sealed(stream, [*arrays.items(), ("head", np.frombuffer(json.dumps(head).encode(), np.uint8))])


def refused(lab: Laboratory, path: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        found_in(lab, path.parent)
    assert str(path) in str(error.value)
    assert "delete it" in str(error.value)
    return str(error.value)


def fill(array: Any, value: float) -> Any:
    filled = array.copy()
    filled[...] = value
    return filled


def first(array: Any, value: float) -> Any:
    changed = array.copy()
    changed.flat[0] = value
    return changed


DAMAGE: dict[str, Callable[[Arrays], object]] = {
    "a weight that isn't a number": lambda a: a.update({"array.weight.0": first(a["array.weight.0"], np.nan)}),
    "a weight that is infinite": lambda a: a.update({"array.weight.1": first(a["array.weight.1"], -np.inf)}),
    "a bias that isn't a number": lambda a: a.update({"array.bias.0": first(a["array.bias.0"], np.nan)}),
    "more weights than the scheme keeps": lambda a: a.update({"array.weight.0": fill(a["array.weight.0"], 1)}),
    "another shape": lambda a: a.update({"array.weight.0": a["array.weight.0"].T}),
    "another rank": lambda a: a.update({"array.bias.1": a["array.bias.1"][None]}),
    "another dtype": lambda a: a.update({"array.weight.0": a["array.weight.0"].astype(np.float64)}),
    "other bytes": lambda a: a.update({"array.weight.0": a["array.weight.0"].astype(">f4")}),
    "text": lambda a: a.update({"array.bias.0": a["array.bias.0"].astype(str)}),
    "a weight less": lambda a: a.pop("array.weight.1"),
    "a bias less": lambda a: a.pop("array.bias.0"),
    "an array more": lambda a: a.update({"array.weight.7": a["array.weight.0"]}),
    "arrays in each other's place": lambda a: a.update(
        {"array.weight.0": a["array.weight.1"], "array.weight.1": a["array.weight.0"]}
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_arrays_are_refused(damage: str, lab: Laboratory, saved: Path) -> None:
    head, arrays = contents(saved)
    DAMAGE[damage](arrays)
    put(saved, head, arrays)
    refused(lab, saved)


def replaced(old: str, new: str) -> Callable[[dict[str, Any]], object]:
    return lambda document: document.update(plan=document["plan"].replace(old, new))


EDITS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no plan": (lambda d: d.pop("plan"), "lacks the key 'plan'"),
    "a plan that is none": (lambda d: d.update(plan=3), "'plan' is 3"),
    "a plan of another file": (replaced('"source_sha256": "', '"source_sha256": "0'), "made for a model with SHA-256"),
    "a plan of another weight": (replaced('"weight": "a"', '"weight": "z"'), "is not a site"),
    "a plan that says less of a weight": (replaced('"weight": "a"', '"weight": "c"'), "is not a site"),
    "weights of nothing": (lambda d: d["solved"].update(weights=[]), "doesn't hold"),
    "weights twice": (lambda d: d["solved"]["weights"].__setitem__(1, d["solved"]["weights"][0]), "doesn't hold"),
    "a bias that the model lacks": (lambda d: d["solved"]["biases"][0].update(name="zz"), "has no tensor 'zz'"),
    "a bias that is a weight": (lambda d: d["solved"]["biases"][0].update(name="a"), "names a weight twice"),
    "an unknown solver": (lambda d: d["solved"].update(solver="magic"), "'solved.solver' is 'magic'"),
    "a trial without a plan": (lambda d: d["trials"][0].pop("plan"), "a trial in it has no plan"),
    "a trial with a plan of numbers": (lambda d: d["trials"][0].update(plan=[1]), "a trial in it has no plan"),
    "a trial with half a plan": (lambda d: d["trials"][0].update(plan="{"), "the plan of a trial in it"),
    "a trial of nothing": (lambda d: d["trials"].__setitem__(0, {}), "a trial in it has no plan"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_edited_documents_are_refused(edit: str, lab: Laboratory, saved: Path) -> None:
    head, arrays = contents(saved)
    change, says = EDITS[edit]
    change(head["document"])
    put(saved, head, arrays)
    assert says in refused(lab, saved)


def test_a_plan_that_misses_the_budget_is_refused(folder: Path, tmp_path: Path) -> None:
    options = CompressOptions(goal=Goal(sparsity=0.7), run=RunOptions(threads=1))
    lab = open_laboratory(read(folder / "model.onnx", options, Journal(), "prune"), options, Journal())
    plan = found_in(lab, tmp_path / "checkpoint").planned.plan
    path = tmp_path / "checkpoint" / "found.npz"
    head, arrays = contents(path)
    for scheme in set(plan.schemes.values()):
        head["document"]["plan"] = head["document"]["plan"].replace(f'"{scheme}"', '"15:16"')
    put(path, head, arrays)
    assert "doesn't reduce params by 0.7" in refused(lab, path)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of each value in a document."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


def mutate(draw: random.Random, document: dict[str, Any]) -> None:
    """Delete, replace, double or nudge a value anywhere."""
    *around, key = draw.choice(list(places(document)))
    holder: Any = document
    for step in around:
        holder = holder[step]
    value, way = holder[key], draw.randrange(5)
    if way == 0:
        del holder[key]
    elif way == 1 and isinstance(holder, list):
        holder.append(copy.deepcopy(value))
    elif way == 2 and isinstance(value, str):
        holder[key] = value.replace(draw.choice(["2:4", "1:4", ":16", "weight", '"a"']), draw.choice(["1:4", "x", "b"]))
    elif way == 3 and isinstance(value, int | float) and not isinstance(value, bool):
        holder[key] = value + draw.choice([1, -1, 0.001])
    else:
        holder[key] = draw.choice(ODD)


@pytest.mark.parametrize("seed", range(2))
def test_any_edit_is_refused_or_gives_the_weights_that_were_saved(
    seed: int, lab: Laboratory, saved: Path, original: Found
) -> None:
    head, arrays = contents(saved)
    draw, outcomes = random.Random(seed), {"refused": 0, "same": 0}
    for _ in range(60):
        edited = copy.deepcopy(head)
        mutate(draw, edited["document"] if draw.random() < 0.95 else edited)
        put(saved, edited, arrays)
        try:
            found = found_in(lab, saved.parent)
        except CheckpointError:
            outcomes["refused"] += 1
            continue
        outcomes["same"] += 1
        assert found.solved.weights.keys() == original.solved.weights.keys()
        for key, weight in original.solved.weights.items():
            np.testing.assert_array_equal(found.solved.weights[key], weight)
            scheme = found.planned.plan.schemes[key]
            groups = found.solved.weights[key].T.reshape(-1, scheme.m)  # rows of B, which is (inputs, outputs)
            assert (np.count_nonzero(groups, axis=1) <= scheme.n).all()
    assert min(outcomes.values()) > 0


def test_every_truncation_and_flipped_byte_is_refused(lab: Laboratory, saved: Path) -> None:
    content = saved.read_bytes()
    for place in range(0, len(content), len(content) // 20):
        flipped = content[:place] + bytes([content[place] ^ 0x5A]) + content[place + 1 :]
        for damaged in (content[:place], flipped):
            saved.write_bytes(damaged)
            with pytest.raises(CheckpointError, match=saved.name):
                found_in(lab, saved.parent)


def test_a_zip_bomb_is_not_unpacked(lab: Laboratory, saved: Path) -> None:
    head, _ = contents(saved)
    with zipfile.ZipFile(saved, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("head.npy", "w") as member:
            np.lib.format.write_array(member, np.frombuffer(json.dumps(head).encode(), np.uint8))
        with archive.open("array.weight.0.npy", "w") as member:
            np.lib.format.write_array_header_1_0(
                member, {"descr": "<f4", "fortran_order": False, "shape": (20 << 22, 1)}
            )
            for _ in range(20):
                member.write(bytes(1 << 24))
    content = saved.read_bytes()
    saved.write_bytes(content + b"\ndomino-onnx sha256 " + hashlib.sha256(content).hexdigest().encode())
    assert saved.stat().st_size < 1 << 20
    assert "not real data" in refused(lab, saved)


def test_the_command_says_what_is_wrong_and_writes_nothing(
    domino: Run, folder: Path, tmp_path: Path, interrupt: Callable[..., None]
) -> None:
    pytest.importorskip("torch")
    output, kept = tmp_path / "out.onnx", tmp_path / "out.onnx.partial"
    words = ["compress", folder / "model.onnx", "--sparsity", "0.6", "--data", folder / "data.npz", "--json"]
    words += ["--finetune-steps", "4", "--threads", "1", "-o", output]
    recipe = {"finetune.lr": 1e-3, "run.checkpoint_after": 0}
    ran = domino(*words, recipe=recipe)
    assert (ran.code, kept.exists()) == (0, False), ran.err
    whole = output.read_bytes()
    output.unlink()
    with interrupt("pipeline.pruning.write"):
        assert domino(*words, recipe=recipe).code == 130
    for name, array in (("found", "array.weight.0"), ("finetuning", "array.best.0")):
        path = kept / f"{name}.npz"
        content = path.read_bytes()
        head, arrays = contents(path)
        arrays[array] = first(arrays[array], np.nan)
        put(path, head, arrays)
        ran = domino(*words, "--resume", recipe=recipe)
        assert (ran.code, output.exists()) == (1, False)
        error = json.loads(ran.out)["error"]
        assert error["type"] == "CheckpointError"
        assert f"{path} can't be gone on from" in error["message"]
        path.write_bytes(content)
    assert domino(*words, "--resume", recipe=recipe).code == 0
    assert (output.read_bytes(), kept.exists()) == (whole, False)
