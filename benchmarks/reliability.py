"""What foreign and hostile files, faults of the disk and second writers do to the program: tried, right, wrong.

usage: python benchmarks/reliability.py [PART ...] [--workers 2] [--seconds 170] [--mutants 20000] [--more FOLDER ...]

Models come from the packages of the interpreter (onnx's backend tests, models in wheels), from the folders that are
named, and from the folder that DOMINO_ONNX_SHARED names. Rows are kept in benchmarks/results/reliability.json, or in
the file of --rows; what is there isn't tried again. docs/reliability.md is written from all files reliability*.json
there. Workers share the work, and the outcomes don't depend on how many there are.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import gc
import itertools
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
from hostile_material import Case, Material, Outcome, Task
from hostile_page import write_page
from hostile_runs import import_all
from hostile_tasks import PARTS
from rows import RESULTS, Results, machine

ROWS = RESULTS / "reliability.json"
_WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument(
        "--seconds", type=float, default=1e9, help="begin nothing new after so many; run again to go on"
    )
    parser.add_argument("--workers", type=int, default=1, help="so many processes at once")
    parser.add_argument("--mutants", type=int, default=20000)
    parser.add_argument("--races", type=int, default=60)
    parser.add_argument("--fuzz", type=int, default=0, metavar="SECONDS", help="atheris has each reader so long")
    parser.add_argument("--reader", action="append", default=[], help="one that atheris has; all by default")
    parser.add_argument("--atheris", type=Path, default=Path(sys.executable), help="a Python that has atheris")
    parser.add_argument("--polygraphy", type=Path, help="a Python that has Polygraphy, which judges as well")
    parser.add_argument("--more", type=Path, action="append", default=[], help="another folder with .onnx files")
    parser.add_argument("--work", type=Path, help="a folder in which generated files are kept between calls")
    parser.add_argument("--rows", type=Path, default=ROWS, help="the file for the rows")
    given = parser.parse_args()
    until = time.monotonic() + given.seconds
    shared = os.environ.get("DOMINO_ONNX_SHARED")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    header = {"machine": machine(), "python": sys.version.split()[0], **versions()}
    import_all()
    gc.freeze()  # what forked processes needn't look at
    with tempfile.TemporaryDirectory(prefix="reliability-") as folder:
        material = Material.of(given, Path(shared) if shared else None, given.work or Path(folder) / "made")
        done = Results(given.rows, header)
        tasks = itertools.chain.from_iterable(PARTS[part](material) for part in given.parts or PARTS)
        wanted = [task for task in tasks if not done.has(task[0])]
        for each in worked(wanted, Path(folder), given.workers, until):
            done.put(each)
    write_page(sorted(RESULTS.glob("reliability*.json")))


def worked(tasks: Sequence[Task], folder: Path, workers: int, until: float) -> Iterator[dict[str, Any]]:
    """The rows of these tasks, as they come to their ends; none is begun after the time `until`."""
    _tasks.extend(tasks)
    fork = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(workers, fork) as pool:
        waiting = iter(range(len(tasks)))
        running = {pool.submit(_one, number, folder) for number in itertools.islice(waiting, workers)}
        while running:
            ended, running = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
            if time.monotonic() < until:
                running |= {pool.submit(_one, number, folder) for number in itertools.islice(waiting, len(ended))}
            for each in ended:
                yield each.result()


_tasks: list[Task] = []
"""What forked workers find, each by its number."""


def _one(number: int, folder: Path) -> dict[str, Any]:
    case, work = _tasks[number]
    with tempfile.TemporaryDirectory(dir=folder) as place:
        return row(case, work(Path(place)))


def versions() -> dict[str, str]:
    import numpy as np
    import onnxruntime

    return {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__, "numpy": np.__version__}


def row(case: Case, outcomes: Iterable[Outcome]) -> dict[str, Any]:
    """What became of a case: how often each end was seen, and all that was wrong."""
    ends: dict[str, int] = {}
    wrong = []
    start, before = time.monotonic(), _processor()
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
        "processor": round(_processor() - before),
    }


def _processor() -> float:
    """Seconds of a processor that this process and its children have had."""
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, _WHO))


if __name__ == "__main__":
    main()
