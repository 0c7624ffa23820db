"""What foreign and hostile files, faults of the disk and second writers do to the program: tried, right, wrong.

usage: python benchmarks/reliability.py [PART ...] [--seconds 170] [--mutants 2000] [--more FOLDER ...]

Models come from the packages of the interpreter (onnx's backend tests, models in wheels), from the folders that are
named, and from the folder that DOMINO_ONNX_SHARED names. Rows are kept in benchmarks/results/reliability.json; what is
there isn't tried again. docs/reliability.md is written from the rows.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import onnx
from hostile_page import write_page
from hostile_tasks import PARTS, Case, Material, Outcome
from rows import RESULTS, Results, machine

ROWS = RESULTS / "reliability.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument(
        "--seconds", type=float, default=1e9, help="begin nothing new after so many; run again to go on"
    )
    parser.add_argument("--mutants", type=int, default=2000)
    parser.add_argument("--races", type=int, default=60)
    parser.add_argument("--more", type=Path, action="append", default=[], help="another folder with .onnx files")
    parser.add_argument("--work", type=Path, help="a folder in which generated files are kept between calls")
    given = parser.parse_args()
    until = time.monotonic() + given.seconds
    shared = os.environ.get("DOMINO_ONNX_SHARED")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    header = {"machine": machine(), "python": sys.version.split()[0], **versions()}
    with tempfile.TemporaryDirectory(prefix="reliability-") as folder:
        material = Material.of(given, Path(shared) if shared else None, given.work or Path(folder) / "made")
        for case, work in itertools.chain.from_iterable(PARTS[part](material) for part in given.parts or PARTS):
            if Results(ROWS, header).has(case):
                continue
            if time.monotonic() > until:
                break
            with tempfile.TemporaryDirectory(dir=folder) as place:
                done = row(case, work(Path(place)))
            Results(ROWS, header).put(done)  # read anew: another process may have added rows
    write_page(ROWS)


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


if __name__ == "__main__":
    main()
