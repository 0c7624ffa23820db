"""Does a killed run that is resumed end in the same bytes, and tell the same?

usage: OMP_NUM_THREADS=1 python benchmarks/interrupting.py MODEL --data DATA --eval-data DATA [--moments 20]

`compress --max-drop` runs once undisturbed. Then SIGKILL ends it at so many moments, evenly over its time, and as soon
as the output or the report is there. Each time the same command goes on with --resume. The output's bytes and the
report, but for times and memory, must be the same.
A last part compares the time of an undisturbed run that keeps nothing with one that keeps all from the start.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

_LOOK = 0.0005
"""Seconds between two looks for a file."""
OF_THE_ATTEMPT = ("seconds", "peak_rss_bytes_by_stage", "peak_rss_bytes", "forecast")


class Run:
    """A compress command in a folder of its own."""

    def __init__(self, folder: Path, given: argparse.Namespace, after: float) -> None:
        self.output, self.report = folder / "out.onnx", folder / "report.json"
        self.kept = folder / "out.onnx.partial"
        recipe = folder / "recipe.toml"
        recipe.write_text(f"run.checkpoint_after = {after}\nrun.checkpoint_every = 1\n")
        words = ["compress", given.model, "--max-drop", given.max_drop, "--data", given.data]
        words += ["--eval-data", given.eval_data, "--finetune-steps", given.steps, "--threads", 1, "--quiet"]
        words += ["--recipe", recipe, "-o", self.output, "--report", self.report]
        self.words = [sys.executable, "-m", "domino_onnx", *map(str, words)]

    def killed(self, after: float) -> bool:
        """Start it, and kill it after so many seconds; False if it ended before."""
        with subprocess.Popen(self.words, stderr=subprocess.DEVNULL) as process:
            try:
                process.wait(after)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                return True
        return False

    def killed_behind(self, placed: Path) -> bool:
        """Start it, and kill it as soon as this file is there; False if it ended before."""
        with subprocess.Popen(self.words, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None:
                if placed.exists():
                    process.send_signal(signal.SIGKILL)
                    return process.wait() < 0
                time.sleep(_LOOK)
        return False

    def finished(self, *more: str) -> float:
        """Run it to its end; seconds."""
        start = time.perf_counter()
        subprocess.run([*self.words, *more], check=True, stderr=subprocess.DEVNULL)
        return time.perf_counter() - start

    def outcome(self) -> tuple[bytes, dict[str, Any]]:
        """The output's bytes, and the report without what each attempt has of its own."""
        report = json.loads(self.report.read_text(encoding="utf-8"))
        report["recipe"]["run"].pop("checkpoint_after")
        for key in (*OF_THE_ATTEMPT, "output"):
            report.pop(key)
        return self.output.read_bytes(), report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--eval-data", type=Path, required=True)
    parser.add_argument("--max-drop", default="0.02")
    parser.add_argument("--steps", default="60", help="finetuning steps")
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=3, help="undisturbed runs without and with keeping")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wrong = interrupted(Path(folder), given)
        if given.pairs:
            print(json.dumps(cost(Path(folder), given)), flush=True)
    sys.exit(1 if wrong else 0)


def interrupted(folder: Path, given: argparse.Namespace) -> int:
    """How many of the resumed runs came to something else."""
    undisturbed = fresh(folder, given, 1e9)
    seconds = undisturbed.finished()
    wanted = undisturbed.outcome()
    print(json.dumps({"undisturbed_s": round(seconds, 1)}), flush=True)
    wrong = 0
    for moment in range(1, given.moments + 1):
        run, at = fresh(folder, given, 0), seconds * moment / (given.moments + 1)
        wrong += resumed(run, run.killed(at), {"killed_after_s": round(at, 1)}, wanted)
    for name in ("output", "report"):
        run = fresh(folder, given, 0)
        wrong += resumed(run, run.killed_behind(getattr(run, name)), {"killed_behind": name}, wanted)
    return wrong


def resumed(run: Run, killed: bool, moment: dict[str, Any], wanted: tuple[bytes, dict[str, Any]]) -> bool:
    """Whether a run that goes on comes to something else. One that had ended is done again."""
    kept = sorted(path.stem for path in run.kept.glob("*.npz"))
    took = run.finished("--resume", *([] if killed and kept else ["--force"]))
    content, report = run.outcome()
    row = {
        **moment,
        "killed": killed,
        "kept": kept,
        "resumed_s": round(took, 1),
        "same_bytes": content == wanted[0],
        "same_report": report == wanted[1],
        "left_behind": run.kept.exists(),
    }
    print(json.dumps(row), flush=True)
    return not (row["same_bytes"] and row["same_report"]) or run.kept.exists()


def cost(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """What keeping costs, in pairs of runs that take turns."""
    times: dict[float, list[float]] = {1e9: [], 0: []}
    for _ in range(given.pairs):
        for after, found in times.items():
            found.append(fresh(folder, given, after).finished())
    without, kept = (statistics.median(found) for found in times.values())
    return {"without_s": times[1e9], "kept_s": times[0], "cost": round(kept / without - 1, 4)}


def fresh(folder: Path, given: argparse.Namespace, after: float) -> Run:
    own = folder / "run"
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir()
    return Run(own, given, after)


if __name__ == "__main__":
    main()
