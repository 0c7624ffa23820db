"""How much faster does a pruned file run on the CPU, and than what?

usage: DOMINO_ONNX_SHARED=FOLDER OMP_NUM_THREADS=1
       python benchmarks/cpu.py [MODEL ...] [--cache CACHE] [--threads 2] [--rows results/cpu_avx512.json]

Each model is pruned by magnitude to one sparsity after the other, and deployed. Four files are timed in turns: ONNX
Runtime's dense float32, its own int8 (static with QDQ, or dynamic for transformers), ours in float32, and ours with
int8 products. What weights by magnitude are worth is another matter (docs/results.md): this is about time alone.
One thread goes by the processor's time, more by the wall clock: let nothing else run then. Each number of threads has
rows of its own. Besides the models of FOLDER there are `resnet50`, `minilm` and `yolov8n`, with random weights
(shapes.py). Writes results/cpu.json, and its table in docs/cpu.md. Each kind of machine has a file and a table of its
own (`--rows`).
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import json
import os
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import domino_onnx_kernels
import numpy as np
import onnx
import shapes
from rows import RESULTS, Results, machine, put_between

from domino_onnx.data import input_specs
from domino_onnx.deployment import clock_for, measure
from domino_onnx.errors import DominoError
from domino_onnx.evaluate import random_inputs
from domino_onnx.options import CompressOptions, DataOptions, FinetuneOptions, Goal, RunOptions, SearchOptions
from domino_onnx.pipeline import compress, deploy
from domino_onnx.runtime import Session

SPARSITIES = (0.5, 0.75, 0.875)
SHAPES: Mapping[str, dict[str, tuple[int, ...]]] = {
    "ch_PP-OCRv4_rec_infer": {"x": (1, 3, 48, 320)},
    "ch_ppocr_mobile_v2.0_cls_infer": {"x": (1, 3, 48, 192)},
    "magika_standard_v3_3": {"bytes": (1, 2048)},
    "resemblyzer": {"mels": (1, 160, 40)},
}
TRANSFORMERS = ("minilm", "magika_standard_v3_3", "resemblyzer")
SECONDS = 4.0
SAMPLES = 4
"""To calibrate on: int8 needs some, whatever they are, to be timed."""
PAGE = Path(__file__).parents[1] / "docs" / "cpu.md"
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="names without .onnx, resnet50, minilm, yolov8n")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--sparsity", type=float, nargs="*", default=SPARSITIES)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", type=Path, default=RESULTS / "cpu.json", help="a file for each kind of machine")
    parser.add_argument("--page", action="store_true", help="only write the page's table again")
    given = parser.parse_args()
    packages = {name: metadata.version(name) for name in ("onnx", "onnxruntime")}
    results = Results(given.rows, {"machine": machine(), "packages": packages, "sets": instruction_sets()})
    for name in given.models:
        for sparsity in () if given.page else given.sparsity:
            row = measured(name, sparsity, given.cache, given.threads)
            print(json.dumps(row), flush=True)
            results.put(row)
    put_table(given.rows.name, results.rows)


def instruction_sets() -> list[str]:
    """Those of this processor that the kernels know; the last one is used."""
    names = ctypes.CDLL(domino_onnx_kernels.library_path()).domino_onnx_instruction_sets
    names.restype = ctypes.c_char_p
    return list(names().decode().split(","))


def source(name: str, cache: Path) -> Path:
    """The dense model."""
    if name in shapes.__all__:
        made: Path = getattr(shapes, name)(cache / f"{name}.onnx")
        return made
    return Path(os.environ["DOMINO_ONNX_SHARED"]) / "models" / f"{name}.onnx"


def measured(name: str, sparsity: float, cache: Path, threads: int) -> Row:
    """One model at one sparsity; why not, if it can't be had."""
    case = {"model": name, "sparsity": sparsity, "threads": threads}
    run, input_shapes = RunOptions(threads=threads), SHAPES.get(name, {})
    with tempfile.TemporaryDirectory() as folder:
        dense = source(name, cache)
        pruned = Path(folder) / "pruned.onnx"
        prune = CompressOptions(
            goal=Goal(sparsity=sparsity),
            data=DataOptions(calibration=Path("none")),
            search=SearchOptions(strategy="uniform"),
            finetune=FinetuneOptions(enabled=False),
            run=run,
        )
        files = {"dense": dense}
        try:
            compress(dense, pruned, prune)
            inputs = inputs_of(dense, input_shapes)
            more = [inputs_of(dense, input_shapes, seed) for seed in range(SAMPLES)]
            np.savez(
                Path(folder) / "data.npz", **{name: np.concatenate([each[name] for each in more]) for name in inputs}
            )
            for precision in ("float32", "int8"):
                given = DataOptions(calibration=Path(folder) / "data.npz", input_shapes=input_shapes)
                options = CompressOptions(data=given, run=run)
                files[precision] = Path(folder) / f"{precision}.onnx"
                made = deploy(pruned, files[precision], options, precision=precision)
                if precision == "float32":
                    error = made.error
        except DominoError as refused:
            return {"case": case, "failed": str(refused)}
        theirs = quantized(dense, Path(folder), inputs, dynamic=name in TRANSFORMERS)
        files |= {} if theirs is None else {"onnxruntime_int8": theirs}
        sessions = {kind: Session(path, device="cpu", threads=threads, timed=True) for kind, path in files.items()}
        taken = measure(
            [functools.partial(each.run, inputs) for each in sessions.values()], SECONDS, clock_for(threads)
        )
        operators = [node.op_type for node in onnx.load(files["int8"]).graph.node if node.domain == "domino_onnx"]
    seconds = {kind: each.low for kind, each in zip(sessions, taken, strict=True)}
    return {
        "case": case,
        "seconds": seconds,
        "error": error,
        "operators": len(operators),
        "int8_operators": sum(each.endswith("Int8") for each in operators),
    }


def inputs_of(model: Path, shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> dict[str, Any]:
    """Random inputs; integers among them are ones, so that masks let everything through."""
    inputs = random_inputs(input_specs(onnx.load(model)), dict(shapes), seed)
    return {name: np.ones_like(value) if value.dtype.kind == "i" else value for name, value in inputs.items()}


def quantized(model: Path, folder: Path, inputs: Mapping[str, Any], *, dynamic: bool) -> Path | None:
    """ONNX Runtime's own int8 of the dense model; None if it can't make one."""
    from onnxruntime import quantization as q

    class Reader(q.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = [dict(inputs)]

        def get_next(self) -> dict[str, Any] | None:
            return self.left.pop() if self.left else None

    output = folder / "theirs.onnx"
    try:
        if dynamic:
            q.quantize_dynamic(model, output, per_channel=True, weight_type=q.QuantType.QInt8)
        else:
            q.quantize_static(
                model,
                output,
                Reader(),
                per_channel=True,
                weight_type=q.QuantType.QInt8,
                activation_type=q.QuantType.QUInt8,
            )
        Session(output, device="cpu", threads=1).run(inputs)
    except Exception as error:  # noqa: BLE001 - it raises anything
        print(f"no int8 of ONNX Runtime: {error}", flush=True)
        return None
    return output


def put_table(file: str, rows: list[Row]) -> None:
    """Put the rows of this results file into docs/cpu.md."""
    names = ("model", "zeros", "threads", "ORT float32", "ORT int8", "ours, float32", "ours, int8 too")
    ordered = sorted(rows, key=lambda row: (row["case"]["model"].lower(), *list(row["case"].values())[1:]))
    lines = [
        f"| {' | '.join(names)} | over float32 | over int8 |",
        "| --- | --: | --: | --: | --: | --: | --: | --: | --: |",
        *map(line, ordered),
    ]
    put_between(PAGE, f"benchmarks/cpu.py {file}", lines)


def line(row: Row) -> str:
    case = row["case"]
    first = f"| {case['model']} | {case['sparsity']:.1%} | {case['threads']} |"
    if "failed" in row:
        return f"{first} out of reach | | | | | |"
    seconds = row["seconds"]
    best = min(seconds["float32"], seconds["int8"])
    times = [
        seconds[kind] * 1e3 if kind in seconds else None for kind in ("dense", "onnxruntime_int8", "float32", "int8")
    ]
    shown = " | ".join("" if each is None else f"{each:.2f}" for each in times)
    over = f"{seconds['onnxruntime_int8'] / best:.2f}" if "onnxruntime_int8" in seconds else ""
    return f"{first} {shown} | **{seconds['dense'] / best:.2f}** | {over} |"


if __name__ == "__main__":
    main()
