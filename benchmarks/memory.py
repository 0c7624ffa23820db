"""Peak memory and seconds of `compress`, by network, number of samples and --memory; whether the bytes are the same.

usage: DOMINO_ONNX_SHARED=FOLDER python benchmarks/memory.py NETWORK... --cache CACHE
       [--samples 256] [--memory 1GB --memory 8GB] [--sparsity 0.5] [--finetune]
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from accuracy import commit, execute, shared_folder
from networks import NETWORKS, prepare
from rows import RESULTS, Results, machine


@click.command(help=__doc__)
@click.argument("names", nargs=-1, type=click.Choice(list(NETWORKS)))
@click.option("--cache", type=click.Path(path_type=Path), default=Path("cache"))
@click.option("--samples", "counts", type=int, multiple=True, default=(256,))
@click.option("--memory", "limits", multiple=True, default=("1GB", "8GB"))
@click.option("--sparsity", type=float, default=0.5)
@click.option("--finetune", is_flag=True)
@click.option("--threads", type=int, default=1)
def main(
    names: tuple[str, ...],
    cache: Path,
    counts: tuple[int, ...],
    limits: tuple[str, ...],
    sparsity: float,
    finetune: bool,
    threads: int,
) -> None:
    results = Results(RESULTS / "memory.json", {"machine": machine()})
    for name in names:
        prepared = prepare(name, shared_folder(), cache)
        with tempfile.TemporaryDirectory() as folder:
            for count in counts:
                data = _repeated(prepared.data, count, Path(folder))
                for limit in limits:
                    output = Path(folder) / "out.onnx"
                    words = ["compress", str(prepared.model), "--data", str(data), "--sparsity", str(sparsity)]
                    words += ["--memory", limit, "--threads", str(threads), "--force", "-o", str(output)]
                    words += [] if finetune else ["--no-finetune"]
                    started = time.monotonic()
                    done = execute([*words, "--json", "--quiet"], threads)
                    row = {
                        "case": {"network": name, "samples": count, "memory": limit, "finetuned": finetune},
                        "commit": commit(),
                        "seconds": round(time.monotonic() - started, 1),
                    }
                    if done.returncode:
                        row |= {"failed": done.stderr.strip()[-300:]}
                    else:
                        document = json.loads(done.stdout)
                        row |= {
                            "peak_rss_bytes": document["peak_rss_bytes"],
                            "sha256": hashlib.sha256(output.read_bytes()).hexdigest(),
                        }
                    results.put(row)
                    print(json.dumps(row), file=sys.stderr, flush=True)


def _repeated(calibration: Path, count: int, folder: Path) -> Path:
    """So many samples as a folder of .npy files, which are memory-mapped; beyond those that there are they repeat."""
    made = folder / f"samples{count}"
    made.mkdir()
    with np.load(calibration) as arrays:
        for name in arrays.files:
            array = arrays[name]
            whole = np.lib.format.open_memmap(made / f"{name}.npy", "w+", array.dtype, shape=(count, *array.shape[1:]))
            for start in range(0, count, len(array)):
                whole[start : start + len(array)] = array[: count - start]
    return made


if __name__ == "__main__":
    main()
