"""What foreign and hostile files, faults of the disk and second writers do to the program: tried, right, wrong.

usage: python benchmarks/reliability.py [PART ...] [--seconds 170] [--mutants 2000] [--more FOLDER ...]

Models come from what is installed (all .onnx files beside the interpreter's packages: onnx's backend tests, models in
wheels), from the folders that are named, and from the folder that DOMINO_ONNX_SHARED names. Rows are kept in
benchmarks/results/reliability.json; what is there isn't tried again. docs/reliability.md is written from the rows.
"""

from __future__ import annotations

import argparse
import os
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from hostile_cases import KINDS, compress, hard_cases, judged
from hostile_checks import differences, loads, pruned_weights
from hostile_faults import BLOWS, COMMANDS, faulted, opened_outside, raced
from hostile_mutants import mutant
from hostile_page import write_page
from hostile_runs import complaint, run
from rows import RESULTS, Results, machine

PARTS = ("cases", "models", "mutants", "faults", "races", "paths", "again")
LARGEST = 20_000_000
SMALL = 200_000
"""Bytes of a model that is tried, and of one that mutants are made of."""
AT_ONCE = 25
COMMANDS_ON_MUTANTS: tuple[tuple[str, ...], ...] = (
    ("inspect", "{in}"),
    ("verify", "{in}"),
    ("doctor", "{in}"),
    ("convert", "{in}", "--format", "packed", "-o", "{out}", "--quiet"),
    ("compress", "{in}", "--data", "none", "--no-finetune", "--threads", "1", "-o", "{out}", "--quiet"),
)
Case = Mapping[str, Any]
Outcome = tuple[str, str, str | None]
"""What was tried, how it ended, and what is wrong with that."""
Task = tuple[Case, Callable[[Path], Iterable[Outcome]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument(
        "--seconds", type=float, default=1e9, help="begin nothing new after so many; run again to go on"
    )
    parser.add_argument("--mutants", type=int, default=2000)
    parser.add_argument("--races", type=int, default=60)
    parser.add_argument("--more", type=Path, action="append", default=[], help="another folder with .onnx files")
    given = parser.parse_args()
    until = time.monotonic() + given.seconds
    shared = os.environ.get("DOMINO_ONNX_SHARED")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    results = Results(
        RESULTS / "reliability.json", {"machine": machine(), "python": sys.version.split()[0], **versions()}
    )
    with tempfile.TemporaryDirectory(prefix="reliability-") as folder:
        for case, work in tasks(given, Path(shared) if shared else None, Path(folder) / "made"):
            if results.has(case):
                continue
            if time.monotonic() > until:
                break
            with tempfile.TemporaryDirectory(dir=folder) as place:
                results.put(row(case, work(Path(place))))
    write_page(results.path)


def versions() -> dict[str, str]:
    import numpy as np
    import onnxruntime

    return {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__, "numpy": np.__version__}


def row(case: Case, outcomes: Iterable[Outcome]) -> dict[str, Any]:
    """What became of a case: how often each end was seen, and all that was wrong."""
    ends: dict[str, int] = {}
    wrong = []
    start = time.monotonic()
    for name, end, complaint_ in outcomes:
        ends[end] = ends.get(end, 0) + 1
        if complaint_ is not None:
            wrong.append(f"{name}: {complaint_}")
            print(f"wrong: {case} {name}: {complaint_}", flush=True)
    tried = sum(ends.values())
    print(f"{case}: {tried} tried, {len(wrong)} wrong", flush=True)
    return {
        "case": dict(case),
        "tried": tried,
        "ends": ends,
        "wrong": wrong,
        "seconds": round(time.monotonic() - start),
    }


def tasks(given: argparse.Namespace, shared: Path | None, made: Path) -> Iterator[Task]:
    """All that can be tried here, in the order in which it is."""
    wanted = given.parts or PARTS
    generators = None if shared is None else shared / "hardcases"
    if generators is not None and generators.is_dir():
        if "cases" in wanted:
            yield from case_tasks(generators, made)
        if "paths" in wanted:
            yield from path_tasks(generators, made)
    folders = {"packages": Path(sysconfig.get_paths()["purelib"]), **{str(path): path for path in given.more}}
    if shared is not None:
        folders |= {"corpus": shared / "corpus", "networks": shared / "models"}
    models = {name: found(folder) for name, folder in folders.items()}
    if "models" in wanted:
        yield from model_tasks(models)
    if "mutants" in wanted:
        yield from mutant_tasks(models, given.mutants)
    if "races" in wanted:
        for first in range(0, given.races, 10):
            yield (
                {"part": "races", "first": first},
                lambda place, first=first: races(place, first, min(10, given.races - first)),
            )
    if "faults" in wanted:
        for command in COMMANDS:
            for blow in BLOWS:
                for over in (False, True):
                    yield (
                        {"part": "faults", "command": command, "blow": blow, "over": over},
                        lambda place, c=command, b=blow, o=over: (
                            (point, b, wrong) for point, wrong in faulted(place / "faults", c, b, over=o)
                        ),
                    )
    if "again" in wanted:
        samples = found(Path(__file__).parents[1] / "sample_models")
        yield {"part": "again"}, lambda place: (again(model, place) for model in samples)


def found(folder: Path) -> list[Path]:
    paths = sorted(folder.rglob("*.onnx")) if folder.is_dir() else []
    return [path for path in paths if path.is_file() and path.stat().st_size < LARGEST]


def case_tasks(generators: Path, made: Path) -> Iterator[Task]:
    for kind in KINDS:
        cases = hard_cases(generators, made, kind)
        for cls in dict.fromkeys(case["cls"] for case in cases):
            chosen = [case for case in cases if case["cls"] == cls]
            yield {"part": "cases", "kind": kind, "class": cls}, lambda place, chosen=chosen: judge_all(chosen, place)
    broken = found(generators / "fuzz_found")
    if broken:
        yield (
            {"part": "cases", "kind": "fuzz_found", "class": "crashed other tools"},
            lambda place: (
                (path.name, "ended", complaint(compress(path, place / f"{path.stem}.out.onnx"))) for path in broken
            ),
        )


def judge_all(cases: Sequence[dict[str, Any]], place: Path) -> Iterator[Outcome]:
    for number, case in enumerate(cases):
        own = place / str(number)
        own.mkdir()
        yield (case["name"], *judged(case, own))


def path_tasks(generators: Path, made: Path) -> Iterator[Task]:
    cases = [case for case in hard_cases(generators, made, "attack") if case["cls"] == "external"]
    for first in range(0, len(cases), 10):
        yield (
            {"part": "paths", "first": first},
            lambda place, chosen=cases[first : first + 10]: (
                (case["name"], "looked at", opened_outside(case["file"], Path("secret.bin"), place / "log"))
                for case in chosen
            ),
        )


def model_tasks(models: Mapping[str, list[Path]]) -> Iterator[Task]:
    for source, paths in models.items():
        for first in range(0, len(paths), AT_ONCE):
            chosen = paths[first : first + AT_ONCE]
            yield (
                {"part": "models", "source": source, "first": first},
                lambda place, chosen=chosen: (
                    survived(path, place / f"{number}.onnx") for number, path in enumerate(chosen)
                ),
            )


def survived(path: Path, output: Path) -> Outcome:
    """A model is pruned and still loads, with all else byte for byte; or it is refused in words."""
    ran = compress(path, output)
    said = complaint(ran)
    if said is not None or ran.code:
        return path.name, "refused", said
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


def mutant_tasks(models: Mapping[str, list[Path]], count: int) -> Iterator[Task]:
    seeds = [path for paths in models.values() for path in paths if path.stat().st_size < SMALL]
    for first in range(0, count if seeds else 0, AT_ONCE):
        yield (
            {"part": "mutants", "seeds": len(seeds), "first": first},
            lambda place, first=first: mutants(place, first, seeds),
        )


def mutants(place: Path, first: int, seeds: Sequence[Path]) -> Iterator[Outcome]:
    """Each mutant through each command: an outcome a command."""
    for number in range(first, first + AT_ONCE):
        path = place / f"{number}.onnx"
        source = seeds[number * 7919 % len(seeds)]
        path.write_bytes(mutant(source.read_bytes(), str(number)))
        for command in COMMANDS_ON_MUTANTS:
            output = place / "written.onnx"
            ran = run(*(word.replace("{in}", str(path)).replace("{out}", str(output)) for word in command))
            yield f"{command[0]} of {number} ({source.name})", "done" if ran.code == 0 else "refused", complaint(ran)
            output.unlink(missing_ok=True)


def races(place: Path, first: int, count: int) -> Iterator[Outcome]:
    for turn in range(first, first + count):
        yield str(turn), "raced", raced(place / str(turn), turn)


def again(model: Path, place: Path) -> Outcome:
    """The same command gives the same bytes, and one on its own output changes no weight."""
    outputs = [place / f"{model.stem}.{number}.onnx" for number in range(3)]
    for source, output in ((model, outputs[0]), (model, outputs[1]), (outputs[0], outputs[2])):
        ran = compress(source, output, "--scheme", "2:4", limit=100)
        if ran.code:
            return model.name, "failed", ran.err[-150:]
    if outputs[0].read_bytes() != outputs[1].read_bytes():
        return model.name, "again", "other bytes the second time"
    kept = [
        {tensor.name: tensor.raw_data for tensor in onnx.load(path).graph.initializer}
        for path in (outputs[0], outputs[2])
    ]
    return model.name, "again", None if kept[0] == kept[1] else "its own output is pruned further"


if __name__ == "__main__":
    main()
