"""Models and documents that were changed at random: through the commands, and with atheris through the readers."""

from __future__ import annotations

import functools
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from hostile_material import CHECKOUT, SAMPLES, Material, Outcome, Task
from hostile_mutants import mutant
from hostile_runs import complaint, run

__all__ = ["fuzz_tasks", "mutant_tasks"]

SMALL = 200_000
"""Bytes of a model that mutants are made of."""
MUTANTS = 50
"""In a row of the results."""
SEEDS = CHECKOUT / "tests" / "fuzz" / "seeds"
OWN_SEEDS = (*sorted(SAMPLES.glob("*.onnx")), *sorted(SEEDS.rglob("*.onnx")))
_COMPRESS = ("compress", "{in}", "--scheme", "2:4", "--data", "none", "--no-finetune", "--threads", "1", "-o", "{out}")
COMMANDS_ON_MUTANTS: tuple[tuple[str, ...], ...] = (
    ("inspect", "{in}"),
    ("verify", "{in}"),
    ("doctor", "{in}"),
    ("convert", "{in}", "--format", "packed", "-o", "{out}", "--quiet"),
    (*_COMPRESS, "--quiet"),
)


def mutant_tasks(material: Material) -> Iterator[Task]:
    models = [path for paths in material.models.values() for path in paths]
    seeds = [path for path in (*models, *OWN_SEEDS) if path.stat().st_size < SMALL]
    for first in range(0, material.mutants, MUTANTS):
        yield {"part": "mutants", "seeds": len(seeds), "first": first}, functools.partial(mutants, first, seeds)


def mutants(first: int, seeds: Sequence[Path], place: Path) -> Iterator[Outcome]:
    """Each mutant through each command: an outcome a command."""
    for number in range(first, first + MUTANTS):
        path = place / f"{number}.onnx"
        source = seeds[number * 7919 % len(seeds)]
        path.write_bytes(mutant(source.read_bytes(), str(number)))
        for command in COMMANDS_ON_MUTANTS:
            output = place / "written.onnx"
            words = (word.replace("{in}", str(path)).replace("{out}", str(output)) for word in command)
            ran = run(*words, forks=True)
            yield f"{command[0]} of {number} ({source.name})", "done" if ran.code == 0 else "refused", complaint(ran)
            output.unlink(missing_ok=True)
        path.unlink()


def fuzz_tasks(material: Material) -> Iterator[Task]:
    python, seconds = material.fuzzing
    readers = material.readers or sorted(path.name for path in SEEDS.iterdir())
    for reader in readers if seconds else ():
        case = {"part": "fuzz", "reader": reader, "for": seconds}
        yield case, functools.partial(fuzzed, python, seconds, reader, material.made / "fuzz" / reader)


def fuzzed(python: Path, seconds: int, reader: str, corpus: Path, place: Path) -> Iterator[Outcome]:
    """A reader has what atheris comes up with: an outcome a run, of which the last ones may be wrong."""
    words = [str(python), "-m", "tests.fuzz.campaign", reader, "--seconds", str(seconds)]
    words += ["--found", str(place), "--corpus", str(corpus.absolute())]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    ran = subprocess.run(words, check=False, capture_output=True, text=True, cwd=CHECKOUT, env=environment)
    runs = re.search(r"stat::number_of_executed_units:\s*(\d+)", ran.stderr)
    if runs is None:
        raise RuntimeError(f"{reader}: atheris didn't run: {ran.stderr[-300:]}")
    for _ in range(int(runs[1])):
        yield reader, "read or refused", None
    for found in sorted(place.iterdir()):
        yield found.name, "broke", f"{found.read_bytes()[:60]!r}: {ran.stderr[-300:]}"
