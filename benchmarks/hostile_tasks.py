"""All that can be tried on one machine, in pieces of some seconds to a minute or two."""

from __future__ import annotations

import argparse
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from hostile_cases import NOTHING, compress, hard_cases, judged
from hostile_checks import differences, pruned_weights
from hostile_commands import COMMANDS
from hostile_faults import BLOWS, faulted, opened_outside, raced
from hostile_judges import judges_agree
from hostile_material import SAMPLES, Material, Outcome, Task, found
from hostile_random import fuzz_tasks, mutant_tasks
from hostile_runs import complaint, loads, run
from interrupting import fresh

__all__ = ["PARTS"]

AT_ONCE = 5
JUDGED_AT_ONCE = 25
FEW = 200
"""Samples of a run that is killed and resumed time and again."""
MOMENTS = 20
"""Of an undisturbed run, at which it is killed."""
SMALL_KINDS = ("weights", "structure", "attack")


def case_tasks(material: Material) -> Iterator[Task]:
    if material.generators is None:
        return
    for kind in SMALL_KINDS:
        cases = hard_cases(material.generators, material.made, kind)
        for cls in dict.fromkeys(case["cls"] for case in cases):
            chosen = [case for case in cases if case["cls"] == cls]
            for first in range(0, len(chosen), AT_ONCE):
                case = {"part": "cases", "kind": kind, "class": cls, "first": first}
                yield case, functools.partial(judge_all, chosen[first : first + AT_ONCE])
    broken = found(material.generators / "fuzz_found")
    if broken:
        yield {"part": "cases", "kind": "fuzz_found", "class": "crashed other tools"}, functools.partial(ended, broken)


def big_tasks(material: Material) -> Iterator[Task]:
    """Models of gigabytes, and some whose data lie in files as theirs do; one at a time."""
    if material.generators is not None:
        for number, case in enumerate(hard_cases(material.generators, material.made, "big")):
            size = sum(path.stat().st_size for path in case["file"].parent.iterdir())
            named = {"part": "cases", "kind": "big", "class": "gigabytes" if size > 1 << 30 else "small"}
            yield {**named, "first": number}, functools.partial(judge_all, [case])


def ended(paths: Sequence[Path], place: Path) -> Iterator[Outcome]:
    for path in paths:
        ran = compress(path, place / f"{path.stem}.out.onnx")
        yield path.name, "refused" if ran.code else "pruned", complaint(ran)


def judge_all(cases: Sequence[dict[str, Any]], place: Path) -> Iterator[Outcome]:
    for number, case in enumerate(cases):
        own = place / str(number)
        own.mkdir()
        yield (case["name"], *judged(case, own))


def path_tasks(material: Material) -> Iterator[Task]:
    if material.generators is None:
        return
    cases = [case for case in hard_cases(material.generators, material.made, "attack") if case["cls"] == "external"]
    for first in range(0, len(cases), AT_ONCE):
        yield {"part": "paths", "first": first}, functools.partial(looked_at, cases[first : first + AT_ONCE])


def looked_at(cases: Sequence[dict[str, Any]], place: Path) -> Iterator[Outcome]:
    for case in cases:
        yield case["name"], "looked at", opened_outside(case["file"], Path("secret.bin"), place / "log")


def model_tasks(material: Material) -> Iterator[Task]:
    for source, paths in material.models.items():
        for first in range(0, len(paths), AT_ONCE):
            case = {"part": "models", "source": source, "first": first}
            yield case, functools.partial(survivors, paths[first : first + AT_ONCE])


def survivors(paths: Sequence[Path], place: Path) -> Iterator[Outcome]:
    for number, path in enumerate(paths):
        yield survived(path, place / f"{number}.onnx")


def survived(path: Path, output: Path) -> Outcome:
    """A model is pruned and still loads, with all else byte for byte; or it is refused in words."""
    ran = compress(path, output)
    said = complaint(ran)
    if said is not None or ran.code:
        return path.name, "listed" if NOTHING in ran.err else "refused", said
    try:
        before, after = (onnx.load(each, load_external_data=False) for each in (path, output))
    except DecodeError as error:
        return path.name, "pruned", str(error)
    wrong = differences(before, after, path, output)
    if loads(path) and not loads(output):
        wrong.append("ONNX Runtime loads what was read, and not what was written")
    proof = run("verify", output)
    if proof.code:
        wrong.append(f"verify: {proof.err.strip()[-150:]}")
    end = "pruned" if pruned_weights(after) else "left dense"
    output.unlink()
    return path.name, end, "; ".join(wrong) or None


def judge_tasks(material: Material) -> Iterator[Task]:
    """Files of all kinds, a few at a time."""
    folders: dict[str, Sequence[Path]] = {}
    if material.generators is not None:
        folders["judges"] = found(material.generators / "judge")
        for kind in ("weights", "structure"):
            cases = hard_cases(material.generators, material.made, kind)
            folders[kind] = [path for case in cases if (path := case["file"]).is_file()]
    for source, paths in (folders | dict(material.models)).items():
        for first in range(0, len(paths), JUDGED_AT_ONCE):
            case = {"part": "judges", "source": source, "first": first, "polygraphy": material.polygraphy is not None}
            chosen = paths[first : first + JUDGED_AT_ONCE]
            yield case, functools.partial(judges_agree, chosen, polygraphy=material.polygraphy)


def race_tasks(material: Material) -> Iterator[Task]:
    for first in range(0, material.races, AT_ONCE):
        yield (
            {"part": "races", "first": first},
            functools.partial(races, range(first, min(first + AT_ONCE, material.races))),
        )


def races(turns: Iterable[int], place: Path) -> Iterator[Outcome]:
    for turn in turns:
        yield str(turn), "raced", raced(place / str(turn), turn)


def fault_tasks(material: Material) -> Iterator[Task]:  # noqa: ARG001  (a model of its own)
    for over, blow, command in itertools.product((True, False), BLOWS, COMMANDS):
        case = {"part": "faults", "command": command, "blow": blow, "over": over}
        yield case, functools.partial(faulted, name=command, blow=blow, over=over)


def sample_tasks(material: Material) -> Iterator[Task]:  # noqa: ARG001  (the networks in the checkout)
    yield {"part": "again"}, lambda place: (again(model, place) for model in found(SAMPLES))
    for first in range(0, MOMENTS, 5):
        yield {"part": "resumed", "first": first}, functools.partial(resumed, range(first + 1, first + 6))


def resumed(moments: Iterable[int], place: Path) -> Iterator[Outcome]:
    """Killed at so many of the moments of an undisturbed run, and resumed."""
    data, judge = (_first(SAMPLES / f"digits_{name}.npz", place) for name in ("calibration", "evaluation"))
    model = SAMPLES / "digits_transformer.onnx"
    given = argparse.Namespace(model=model, data=data, eval_data=judge, max_drop="0.05", steps=8)
    undisturbed = fresh(place, given, 1e9)
    seconds = undisturbed.finished()
    wanted = undisturbed.outcome()
    for moment in moments:
        attempt = fresh(place, given, 0)
        killed = attempt.killed(seconds * moment / (MOMENTS + 1))
        attempt.finished("--resume", *([] if killed else ["--force"]))
        content, report = attempt.outcome()
        wrong = [what for what, same in (("bytes", content == wanted[0]), ("report", report == wanted[1])) if not same]
        wrong += ["something is left behind"] if attempt.kept.exists() else []
        yield str(moment), "resumed" if killed else "ended before", ", ".join(wrong) or None


def _first(samples: Path, place: Path) -> Path:
    """A copy of the first samples."""
    copy = place / samples.name
    with np.load(samples) as arrays:
        np.savez(copy, **{name: arrays[name][:FEW] for name in arrays.files})
    return copy


def again(model: Path, place: Path) -> Outcome:
    """The same command gives the same bytes, and one on its own output changes no weight."""
    outputs = [place / f"{model.stem}.{number}.onnx" for number in range(3)]
    for source, output in ((model, outputs[0]), (model, outputs[1]), (outputs[0], outputs[2])):
        ran = compress(source, output, limit=100)
        if ran.code:
            return model.name, "failed", ran.err[-150:]
    if outputs[0].read_bytes() != outputs[1].read_bytes():
        return model.name, "again", "other bytes the second time"
    kept = [
        {tensor.name: tensor.raw_data for tensor in onnx.load(path).graph.initializer}
        for path in (outputs[0], outputs[2])
    ]
    return model.name, "again", None if kept[0] == kept[1] else "its own output is pruned further"


PARTS: Mapping[str, Callable[[Material], Iterator[Task]]] = {
    "big": big_tasks,
    "cases": case_tasks,
    "paths": path_tasks,
    "models": model_tasks,
    "judges": judge_tasks,
    "races": race_tasks,
    "faults": fault_tasks,
    "samples": sample_tasks,
    "mutants": mutant_tasks,
    "fuzz": fuzz_tasks,
}
