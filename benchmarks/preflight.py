"""What a run is forecast to cost, against what it costs: seconds of each stage, and memory.

usage: DOMINO_ONNX_SHARED=FOLDER python benchmarks/preflight.py [MODEL...]

Each model is compressed in a process of its own, with few samples and few steps of finetuning, on one thread. The
machine may have other work, so that all clocks are the processor's: what a machine without other work would take.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
from rows import RESULTS, Results, machine

from domino_onnx.data import input_specs
from domino_onnx.graph import read_model
from domino_onnx.options import CompressOptions, DataOptions, FinetuneOptions, Goal, RunOptions
from domino_onnx.pipeline import compress
from domino_onnx.runtime import Session
from domino_onnx.synthesis import open_synthesis

SAMPLES = {
    "pretrainedResnet": 64,
    "resnet20_cifar10jpg": 64,
    "resemblyzer": 32,
    "silero_vad_op18_ifless": 24,
    "mobilenet_v1_0.25_224_float": 32,
    "ch_ppocr_mobile_v2.0_cls_infer": 32,
    "magika_standard_v3_3": 48,
    "efficientnet-lite0": 32,
    "squeezenet1.1": 32,
    "ch_PP-OCRv4_rec_infer": 16,
    "crepe-tiny": 32,
}
"""The quick ones first."""
STEPS, SPARSITY = 5, 0.5


@click.command(help=__doc__)
@click.argument("names", nargs=-1, type=click.Choice(list(SAMPLES)))
@click.option("--one", hidden=True, is_flag=True)
def main(names: tuple[str, ...], one: bool) -> None:
    if one:
        print(json.dumps(measured(names[0])))
        return
    results = Results(RESULTS / "preflight.json", {"machine": machine()})
    for name in names or SAMPLES:
        ran = subprocess.run([sys.executable, __file__, "--one", name], capture_output=True, text=True, check=False)
        said = (ran.stdout or ran.stderr).strip().splitlines()[-1:]
        row = json.loads(said[0]) if not ran.returncode else {"failed": said}
        results.put({"case": {"network": name}, **row})
    print(table([row for row in results.rows if "failed" not in row]))


def measured(name: str) -> dict[str, Any]:
    """What is forecast of a run, and what it takes."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data.npz"
        script = "import sys, preflight; preflight.draw(sys.argv[1], sys.argv[2])"
        subprocess.run([sys.executable, "-c", script, name, data], cwd=Path(__file__).parent, check=True)
        options = CompressOptions(
            goal=Goal(sparsity=SPARSITY),
            data=DataOptions(calibration=data),
            finetune=FinetuneOptions(steps=STEPS, lr=1e-4),
            run=RunOptions(threads=1),
        )
        time.perf_counter = time.process_time
        result = compress(model_of(name), Path(folder) / "out.onnx", options)
    forecast = result.forecast
    assert forecast is not None
    return {
        "samples": SAMPLES[name],
        "forecast": {stage.name: round(stage.seconds, 2) for stage in forecast.stages},
        "took": {stage: round(seconds, 2) for stage, seconds in result.seconds.items() if stage != "read"},
        "memory_forecast": forecast.memory,
        "memory": result.peak_rss_bytes,
        "peaks": dict(result.peaks),
    }


def draw(name: str, path: str) -> None:
    """Samples for a model, in a process that isn't measured."""
    model = model_of(name)
    specs, run = input_specs(read_model(model).proto), Session(model, threads=1).run
    data = open_synthesis(read_model(model), specs, seed=0, run=run, shapes={}).dataset(SAMPLES[name])
    taken = {key: samples[np.arange(data.count)] for key, samples in data.arrays.items()}
    np.savez(path, **taken, **data.constant)


def model_of(name: str) -> Path:
    return Path(os.environ["DOMINO_ONNX_SHARED"]) / "models" / f"{name}.onnx"


def table(rows: list[Mapping[str, Any]]) -> str:
    """A row a model, as Markdown: forecast and truth."""
    heads = ["", "samples", "search", "refit", "finetuning", "all", "memory, MB"]
    lines = ["| " + " | ".join(heads) + " |", "| --- |" + " --: |" * (len(heads) - 1)]
    for row in rows:
        cells = [pair(row["forecast"].get(stage, 0), row["took"].get(stage, 0)) for stage in STAGES]
        whole = sum(seconds for stage, seconds in row["took"].items() if stage != "estimate")
        cells.append(pair(sum(row["forecast"].values()), whole))
        cells.append(f"{row['memory_forecast'] / 1e6:.0f} / {row['memory'] / 1e6:.0f}")
        lines.append("| " + " | ".join([row["case"]["network"], str(row["samples"]), *cells]) + " |")
    return "\n".join(lines)


STAGES = ("search", "refit", "finetune")


def pair(forecast: float, took: float) -> str:
    """Both, with a stroke between them."""
    return f"{forecast:.1f} / {took:.1f}"


if __name__ == "__main__":
    main()
