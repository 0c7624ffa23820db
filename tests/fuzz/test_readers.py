"""A fixed number of changed seeds for each reader; `campaign.py` goes on from there for as long as one likes."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from .mutating import mutated
from .readers import READERS, SEEDS, read

RUNS = 150
NEEDS = {"preprocessing": "yaml"}


@pytest.mark.parametrize("name", READERS)
def test_whatever_is_read_gives_a_value_or_an_error_for_its_user(name: str, tmp_path: Path) -> None:
    pytest.importorskip(NEEDS.get(name, "json"))
    seeds = [path.read_bytes() for path in sorted((SEEDS / name).iterdir())]
    for data in seeds:
        READERS[name](data, tmp_path)
    for number in range(RUNS):
        data = mutated(seeds, f"{name}.{number}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                read(name, data, tmp_path)
            except BaseException as error:
                error.add_note(f"run {number} of {name}: {data[:200]!r}")
                raise
