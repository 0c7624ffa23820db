"""Accuracy of real networks at a budget: strategy by strategy, seed by seed, each file checked by independent code.

usage: DOMINO_ONNX_SHARED=FOLDER python benchmarks/accuracy.py MODEL --sparsity 0.875
       [--strategy domino --strategy uniform] [--seeds 3] [--recover-steps 1000] [--count 10000] [--threads 1]
       [-o results.json]

FOLDER holds models/, data/ and harness/score.py, which knows each network's preprocessing; without it nothing can be
measured here. Prints a line a run and writes all of them as JSON.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx

from domino_onnx import Budget, CompressOptions, compress

CALIBRATION = {
    "resnet20_cifar10jpg": ("cifar10_train10k", ["cifar10_test_half"]),
    "pretrainedResnet": ("cifar10_train10k", ["cifar10_test_half"]),
    "efficientnet-lite0": ("imagenet_calibration500", ["imagenet_sample_short256", "imagenette_ilsvrcval"]),
    "squeezenet1.1": ("imagenet_calibration500", ["imagenet_sample_short256", "imagenette_ilsvrcval"]),
    "mobilenet_v1_0.25_224_float": ("imagenet_calibration500", ["imagenet_sample_short256", "imagenette_ilsvrcval"]),
}


def shared_folder() -> Path:
    folder = Path(os.environ.get("DOMINO_ONNX_SHARED", ""))
    if not (folder / "harness" / "score.py").is_file():
        raise click.ClickException("DOMINO_ONNX_SHARED doesn't name a folder with models/, data/ and harness/")
    return folder


def run_harness(shared: Path, *arguments: str) -> str:
    command = [sys.executable, str(shared / "harness" / "score.py"), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def calibration_file(shared: Path, name: str, count: int, folder: Path) -> Path:
    path = folder / f"{name}.npz"
    run_harness(shared, "--calibration", name, "--set", CALIBRATION[name][0], "--count", str(count), str(path))
    return path


def scores(shared: Path, model: Path, name: str) -> dict[str, float]:
    """Top-1 by data set, as the harness prints them."""
    lines = run_harness(shared, str(model), "--as", name).splitlines()
    return {words[1]: float(words[3]) for words in map(str.split, lines)}


def check(source: Path, written: Path, sites: list[dict[str, Any]]) -> dict[str, Any]:
    """Count again, from the raw files alone: schemes kept, zeros, and what else differs from the source."""
    dense, sparse = onnx.load(source), onnx.load(written)
    onnx.checker.check_model(sparse, full_check=True)
    planned = {site["weight"]: site for site in sites}
    tensors = {tensor.name: tensor for tensor in sparse.graph.initializer}
    broken = [name for name, site in planned.items() if not _obeys(tensors[name], site)]
    weights = {node.input[1] for node in sparse.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")} & set(tensors)
    values = [onnx.numpy_helper.to_array(tensors[name]) for name in sorted(weights)]
    for model in (dense, sparse):
        for tensor in model.graph.initializer:
            if tensor.name in planned:
                tensor.raw_data = b""
        for holder in (model, *model.graph.node):
            kept = [p for p in holder.metadata_props if not p.key.startswith("domino_onnx.")]
            del holder.metadata_props[:]
            holder.metadata_props.extend(kept)
    return {
        "broken_weights": broken,
        "zeros": sum(int((v == 0).sum()) for v in values) / sum(v.size for v in values),
        "rest_identical": dense.SerializeToString() == sparse.SerializeToString(),
    }


def _obeys(tensor: onnx.TensorProto, site: dict[str, Any]) -> bool:
    """Every N:M group of a Conv (along I) or a Gemm with transB (along K), counted one by one."""
    array = onnx.numpy_helper.to_array(tensor)
    rows = np.moveaxis(array, 1, -1).reshape(-1, array.shape[1])
    n, m = site["n"], site["m"]
    return all(np.count_nonzero(rows[:, start : start + m], axis=1).max() <= n for start in range(0, rows.shape[1], m))


@click.command()
@click.argument("name", type=click.Choice(sorted(CALIBRATION)))
@click.option("--sparsity", type=float, default=0.875)
@click.option("--strategy", "strategies", multiple=True, default=["domino", "uniform"])
@click.option("--seeds", type=int, default=1)
@click.option("--recover-steps", type=int, default=1000)
@click.option("--batch-size", type=int, default=32)
@click.option("--count", type=int, default=10_000, help="Calibration samples.")
@click.option("--threads", type=int, default=1)
@click.option("--search-gradients/--no-search-gradients", default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path))
def main(
    name: str,
    sparsity: float,
    strategies: tuple[str, ...],
    seeds: int,
    recover_steps: int,
    batch_size: int,
    count: int,
    threads: int,
    search_gradients: bool,
    output: Path | None,
) -> None:
    import torch

    from domino_onnx.report.document import compress_document, dump

    torch.set_num_threads(threads)
    shared = shared_folder()
    model = shared / "models" / f"{name}.onnx"
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        data = calibration_file(shared, name, count, Path(folder))
        dense = scores(shared, model, name)
        print(f"{name} dense {dense}", flush=True)
        for strategy in strategies:
            for seed in range(seeds):
                written = Path(folder) / "out.onnx"
                options = CompressOptions(
                    budgets=(Budget(measure="params", reduction=sparsity),),
                    strategy=strategy,  # type: ignore[arg-type]
                    data=data,
                    recover_steps=recover_steps,
                    batch_size=batch_size,
                    threads=threads,
                    seed=seed,
                    search_with_data=search_gradients,
                    force=True,
                )
                document = compress_document(compress(model, written, options))
                top1 = scores(shared, written, name)
                checked = check(model, written, document["sites"])
                schemes = [f"{site['n']}:{site['m']}" for site in document["sites"]]
                run = {"strategy": strategy, "seed": seed, "top1": top1, "check": checked, "schemes": schemes}
                run |= {
                    key: document[key] for key in ("sparsity", "flops_reduction", "recovery", "seconds", "warnings")
                }
                runs.append(run)
                print(f"{strategy} seed {seed}: {top1} {checked} {document['seconds']}", flush=True)
    result = {
        "model": name,
        "dense_top1": dense,
        "sparsity_asked": sparsity,
        "recover_steps": recover_steps,
        "batch_size": batch_size,
        "calibration": {"set": CALIBRATION[name][0], "samples": count, "labels": False},
        "threads": threads,
        "machine": platform.processor() or platform.machine(),
        "runs": runs,
    }
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(dump(result) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
