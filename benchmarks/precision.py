"""How small and how good is a pruned file in half precision, with int8 weights, and with both?

usage: OMP_NUM_THREADS=1 python benchmarks/precision.py NETWORK... --shared FOLDER --cache CACHE [--sparsity S ...]

Each network is pruned and refitted once a budget, without finetuning; that file is converted in every way, dense and
packed, and scored in ONNX Runtime on images that nothing saw before. Rows go to benchmarks/results/precision.json.
"""

from __future__ import annotations

import gzip
import json
import tempfile
from importlib import metadata
from pathlib import Path

import click
from networks import NETWORKS, prepare, score
from rows import RESULTS, Results, machine

from domino_onnx.options import CompressOptions, DataOptions, FinetuneOptions, Goal, RunOptions
from domino_onnx.pipeline import compress, convert, verify
from domino_onnx.precision import Conversion

WAYS = (
    Conversion(),
    Conversion(precision="fp16"),
    Conversion(weights="int8"),
    Conversion(precision="fp16", weights="int8"),
)


@click.command()
@click.argument("names", nargs=-1, required=True, type=click.Choice(sorted(NETWORKS)))
@click.option("--shared", type=click.Path(path_type=Path), required=True, envvar="DOMINO_ONNX_SHARED")
@click.option("--cache", type=click.Path(path_type=Path), required=True, help="Where prepared data are kept.")
@click.option("--sparsity", "budgets", type=float, multiple=True, default=(0.75,), show_default=True)
def main(names: tuple[str, ...], shared: Path, cache: Path, budgets: tuple[float, ...]) -> None:
    packages = {name: metadata.version(name) for name in ("onnx", "onnxruntime")}
    results = Results(RESULTS / "precision.json", {"machine": machine(), "packages": packages})
    for name in names:
        prepared = prepare(name, shared, cache)
        for budget in budgets:
            options = CompressOptions(
                goal=Goal(sparsity=budget),
                data=DataOptions(calibration=prepared.data),
                finetune=FinetuneOptions(enabled=False),
                run=RunOptions(batch_size=prepared.network.batch_size, threads=1, device="cpu"),
            )
            with tempfile.TemporaryDirectory() as folder:
                pruned, written = Path(folder) / "pruned.onnx", Path(folder) / "written.onnx"
                compress(prepared.model, pruned, options)
                for way in WAYS:
                    sizes, zipped = {}, {}
                    for form in ("packed", "dense"):
                        convert(pruned, written, form, conversion=way, force=True)
                        data = written.read_bytes()
                        sizes[form], zipped[form] = len(data), len(gzip.compress(data, 9))
                    row = {
                        "case": {
                            "network": name,
                            "sparsity": budget,
                            "precision": way.precision,
                            "weights": way.weights,
                        },
                        "bytes": sizes,
                        "gzip": zipped,
                        "verified": verify(written).holds,
                        "score": score(prepared, written),
                    }
                    print(json.dumps(row), flush=True)
                    results.put(row)


if __name__ == "__main__":
    main()
