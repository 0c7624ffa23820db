"""What a run is forecast to cost, against what it costs: seconds of each stage, and memory.

usage: DOMINO_ONNX_SHARED=FOLDER python benchmarks/preflight.py [MODEL...]

Each model is compressed in a process of its own, with few samples and few steps of finetuning, on one thread. The
machine may have other work, so that all clocks are the processor's: what a machine without other work would take. They
count the processes that a run starts, one of which runs the model. Rows go to benchmarks/results/preflight.json, their
table to docs/steps.md.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
from rows import RESULTS, Results, machine, put_between

from domino_onnx.data import input_specs
from domino_onnx.graph import read_model
from domino_onnx.options import CompressOptions, DataOptions, FinetuneOptions, Goal, RunOptions
from domino_onnx.pipeline import compress
from domino_onnx.runtime import Session
from domino_onnx.runtime.child import Child
from domino_onnx.synthesis import open_synthesis

PAGE = Path(__file__).parents[1] / "docs" / "steps.md"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What a model is compressed with.

    Attributes
    ----------
    samples
        That are given.
    drawn
        Images that join them: as many as the program draws by itself, or none, where so many would take too long here.
    """

    samples: int
    drawn: int = 0
    sparsity: float = 0.5


CASES = {
    "pretrainedResnet": Case(samples=64, drawn=512),
    "resnet20_cifar10jpg": Case(samples=128),
    "resemblyzer": Case(samples=32, sparsity=0.04),
    "silero_vad_op18_ifless": Case(samples=24),
    "mobilenet_v1_0.25_224_float": Case(samples=32, drawn=222),
    "ch_ppocr_mobile_v2.0_cls_infer": Case(samples=32),
    "magika_standard_v3_3": Case(samples=48),
    "efficientnet-lite0": Case(samples=32),
    "squeezenet1.1": Case(samples=32),
    "ch_PP-OCRv4_rec_infer": Case(samples=16),
    "crepe-tiny": Case(samples=32),
}
"""The quick ones first."""
STEPS = 5


@click.command(help=__doc__)
@click.argument("names", nargs=-1, type=click.Choice(list(CASES)))
@click.option("--one", hidden=True, is_flag=True)
def main(names: tuple[str, ...], one: bool) -> None:
    if one:
        print(json.dumps(measured(names[0])))
        return
    results = Results(RESULTS / "preflight.json", {"machine": machine()})
    for name in names or CASES:
        ran = subprocess.run([sys.executable, __file__, "--one", name], capture_output=True, text=True, check=False)
        said = (ran.stdout or ran.stderr).strip().splitlines()[-1:]
        row = json.loads(said[0]) if not ran.returncode else {"failed": said}
        results.put({"case": {"network": name}, **row})
    order = list(CASES)
    rows = sorted(results.rows, key=lambda row: order.index(row["case"]["network"]))
    put_between(PAGE, "benchmarks/preflight.py", table([row for row in rows if "failed" not in row]))


def measured(name: str) -> dict[str, Any]:
    """What is forecast of a run, and what it takes."""
    case = CASES[name]
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data.npz"
        script = "import sys, preflight; preflight.draw(sys.argv[1], sys.argv[2])"
        subprocess.run([sys.executable, "-c", script, name, data], cwd=Path(__file__).parent, check=True)
        options = CompressOptions(
            goal=Goal(sparsity=case.sparsity),
            data=DataOptions(calibration=data, drawn=case.drawn),
            finetune=FinetuneOptions(steps=STEPS, lr=1e-4),
            run=RunOptions(threads=1),
        )
        ended = processor_seconds()
        time.perf_counter = lambda: processor_seconds() - ended
        started = time.monotonic()
        result = compress(model_of(name), Path(folder) / "out.onnx", options)
    forecast = result.forecast
    assert forecast is not None
    return {
        **dataclasses.asdict(case),
        "forecast": {stage.name: round(stage.seconds, 2) for stage in forecast.stages},
        "took": {stage: round(seconds, 2) for stage, seconds in result.seconds.items() if stage != "read"},
        "elapsed": round(time.monotonic() - started, 2),
        "memory_forecast": forecast.memory,
        "memory": result.peak_rss_bytes,
        "peaks": dict(result.peaks),
    }


def processor_seconds() -> float:
    """Of this process, and of those that it has started to run models in, whether they have ended or not."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    living = sum(_seconds_of(process) for process in Child.living())
    return time.process_time() + ended.ru_utime + ended.ru_stime + living


def _seconds_of(process: int) -> float:
    """Of another process, by the clock that `clock_getcpuclockid` names; 0 where it has just ended."""
    try:
        return time.clock_gettime(~process << 3 | 2)
    except OSError:
        return 0.0


def draw(name: str, path: str) -> None:
    """Samples for a model, in a process that isn't measured."""
    model = model_of(name)
    specs, run = input_specs(read_model(model).proto), Session(model, threads=1).run
    data = open_synthesis(read_model(model), specs, seed=0, run=run, shapes={}).dataset(CASES[name].samples)
    taken = {key: samples[np.arange(data.count)] for key, samples in data.arrays.items()}
    np.savez(path, **taken, **data.constant)


def model_of(name: str) -> Path:
    return Path(os.environ["DOMINO_ONNX_SHARED"]) / "models" / f"{name}.onnx"


def table(rows: list[Mapping[str, Any]]) -> list[str]:
    """A row a model, as Markdown: forecast and truth."""
    heads = ["network", "samples", "zeros", *WORDS.values(), "all", "memory, MB"]
    lines = ["| " + " | ".join(heads) + " |", "| --- |" + " --: |" * (len(heads) - 1)]
    for row in rows:
        samples = f"{row['samples']} + {row['drawn']} drawn" if row["drawn"] else str(row["samples"])
        cells = [pair(row["forecast"].get(stage, 0), row["took"].get(stage, 0)) for stage in WORDS]
        whole = sum(seconds for stage, seconds in row["took"].items() if stage != "estimate")
        cells.append(pair(sum(row["forecast"].values()), whole))
        cells.append(f"{row['memory_forecast'] / 1e6:.0f} / {row['memory'] / 1e6:.0f}")
        lines.append(
            "| " + " | ".join([row["case"]["network"], samples, f"{100 * row['sparsity']:g} %", *cells]) + " |"
        )
    return lines


WORDS = {"draw": "drawing", "search": "search", "refit": "refit", "finetune": "finetuning"}
"""Of the stages that have a column."""


def pair(forecast: float, took: float) -> str:
    """Both, with a stroke between them; nothing where there was nothing."""
    return f"{forecast:.1f} / {took:.1f}" if forecast or took else ""


if __name__ == "__main__":
    main()
