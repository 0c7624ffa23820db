"""Let atheris look for bytes that a reader breaks on.

usage: python -m tests.fuzz.campaign READER [--seconds 3600] [--found FOLDER] [--corpus FOLDER]

It needs `pip install atheris`. What it finds is kept in the folder `--found`; put it into seeds/READER once it is
mended. Inputs that reach new branches are kept in the folder `--corpus`; a later campaign goes on from them.
Readers read files, one for each input. With TMPDIR on a disk instead of in memory, a campaign waits up to a third of
its time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

PARSERS = ["numpy.lib.format", "numpy.lib._format_impl", "tomllib", "yaml", "zipfile"]
"""Packages in Python that the readers trust with bytes; atheris is to see their branches as well."""
with atheris.instrument_imports(include=["domino_onnx", *PARSERS]):
    from .readers import READERS, SEEDS, read

    with tempfile.TemporaryDirectory() as scratch:  # imports what is imported only when it is needed
        for seed in SEEDS.glob("*/*"):
            read(seed.parent.name, seed.read_bytes(), Path(scratch))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reader", choices=READERS)
    parser.add_argument("--seconds", type=int, default=3600)
    parser.add_argument("--found", type=Path, default=Path("found"))
    parser.add_argument("--corpus", type=Path)
    given = parser.parse_args()
    given.found.mkdir(exist_ok=True)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        grown = given.corpus or Path(folder) / "grown"
        grown.mkdir(parents=True, exist_ok=True)
        words = [sys.argv[0], f"-max_total_time={given.seconds}", "-timeout=30", "-rss_limit_mb=4096"]
        words += [f"-artifact_prefix={given.found}/{given.reader}-", "-max_len=65536", "-print_final_stats=1"]
        atheris.Setup(
            [*words, str(grown), str(SEEDS / given.reader)], lambda data: read(given.reader, data, Path(folder))
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
