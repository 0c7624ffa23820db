"""What there is to try, and what a trial is."""

from __future__ import annotations

import argparse
import dataclasses
import sysconfig
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["CHECKOUT", "SAMPLES", "Case", "Material", "Outcome", "Task", "found"]

LARGEST = 20_000_000
"""Bytes of a model that is tried."""
CHECKOUT = Path(__file__).parents[1]
SAMPLES = CHECKOUT / "sample_models"
Case = Mapping[str, Any]
Outcome = tuple[str, str, str | None]
"""What was tried, how it ended, and what is wrong with that."""
Task = tuple[Case, Callable[[Path], Iterable[Outcome]]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What there is to try: generators of hard cases, a folder for what they make, and models by their source.

    `fuzzing` is a Python that has atheris, and for how many seconds it is to run. `readers` are those that it has;
    none means all. `polygraphy` is a Python that has Polygraphy.
    """

    generators: Path | None
    made: Path
    models: Mapping[str, Sequence[Path]]
    mutants: int
    races: int
    fuzzing: tuple[Path, int]
    readers: Sequence[str]
    polygraphy: Path | None

    @classmethod
    def of(cls, given: argparse.Namespace, shared: Path | None, made: Path) -> Material:
        """What is installed, and in the folders that were named."""
        folders = {"packages": Path(sysconfig.get_paths()["purelib"]), **{str(path): path for path in given.more}}
        if shared is not None:
            folders |= {"corpus": shared / "corpus", "networks": shared / "models"}
        generators = None if shared is None or not (shared / "hardcases").is_dir() else shared / "hardcases"
        models = {name: found(folder) for name, folder in folders.items()}
        return cls(
            generators=generators,
            made=made,
            models=models,
            mutants=given.mutants,
            races=given.races,
            fuzzing=(given.atheris, given.fuzz),
            readers=given.reader,
            polygraphy=given.polygraphy,
        )


def found(folder: Path) -> list[Path]:
    paths = sorted(folder.rglob("*.onnx")) if folder.is_dir() else []
    return [path for path in paths if path.is_file() and path.stat().st_size < LARGEST]
