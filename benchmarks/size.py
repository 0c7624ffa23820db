"""How large are pruned files in each form, and what does a packed one cost to load?

usage: DOMINO_ONNX_SHARED=FOLDER OMP_NUM_THREADS=1 python benchmarks/size.py [MODEL ...]

Each model is pruned by magnitude to one sparsity after the other, then written dense and packed, with values as they
are, in half precision and as int8. The packed file's outputs are compared with the dense one's bit for bit on random
inputs. Writes results/size.json and docs/size.md; without names, all models of FOLDER/models.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import tempfile
import textwrap
import time
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from rows import RESULTS, Results, machine

from domino_onnx.data import input_specs
from domino_onnx.errors import DominoError
from domino_onnx.evaluate import random_inputs
from domino_onnx.options import NO_DATA, CompressOptions, DataOptions, FinetuneOptions, Goal, RunOptions, SearchOptions
from domino_onnx.percentage import percent
from domino_onnx.pipeline import compress, convert
from domino_onnx.precision import Conversion
from domino_onnx.storage import Form

SPARSITIES = (0.5, 0.75, 0.875)
FORMS: tuple[Form, ...] = ("dense", "packed")
CONVERSIONS = {"fp16": Conversion(precision="fp16"), "int8": Conversion(weights="int8")}
LOADS = 9
PAGE = Path(__file__).parents[1] / "docs" / "size.md"
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="names without .onnx")
    folder = Path(os.environ.get("DOMINO_ONNX_SHARED", "")) / "models"
    parser.add_argument("--page", action="store_true", help="only write the page again")
    given = parser.parse_args()
    chosen = given.models or sorted(path.stem for path in folder.glob("*.onnx"))
    packages = {name: metadata.version(name) for name in ("onnx", "onnxruntime")}
    results = Results(RESULTS / "size.json", {"machine": machine(), "packages": packages})
    for name in chosen:
        for sparsity in () if given.page else SPARSITIES:
            row = measured(folder / f"{name}.onnx", sparsity)
            print(json.dumps(row), flush=True)
            results.put(row)
    PAGE.write_text(page(results.rows, packages), encoding="utf-8")


def measured(model: Path, sparsity: float) -> Row:
    """One model at one sparsity; why not, if it can't be had."""
    case = {"model": model.stem, "sparsity": sparsity}
    options = CompressOptions(
        goal=Goal(sparsity=sparsity),
        data=DataOptions(calibration=NO_DATA),
        search=SearchOptions(strategy="uniform"),
        finetune=FinetuneOptions(enabled=False),
        run=RunOptions(threads=1),
    )
    with tempfile.TemporaryDirectory() as folder:
        files = {form: Path(folder) / f"{form}.onnx" for form in FORMS}
        try:
            compress(model, files["dense"], options)
        except DominoError as error:
            return {"case": case, "failed": str(error)}
        start = time.perf_counter()
        packed_weights = convert(files["dense"], files["packed"], "packed").weight_forms
        seconds = time.perf_counter() - start
        dense, packed = load_seconds(files["dense"], files["packed"])
        lowered = {
            name: written(files["dense"], conversion, Path(folder) / name) for name, conversion in CONVERSIONS.items()
        }
        return {
            "case": case,
            **sizes(files),
            "kinds": {kind: sum(each.kind == kind for each in packed_weights) for kind in ("positions", "bitmask")},
            "convert_seconds": round(seconds, 3),
            "load_seconds": {"dense": round(dense, 4), "packed": round(packed, 4)},
            "identical": identical(files),
            "lowered": lowered,
        }


def written(pruned: Path, conversion: Conversion, folder: Path) -> dict[str, Any]:
    """The sizes of a pruned file with its values in another precision; why not, if it can't be written so."""
    folder.mkdir()
    files = {form: folder / f"{form}.onnx" for form in FORMS}
    try:
        for form, path in files.items():
            convert(pruned, path, form, conversion=conversion)
    except DominoError as error:
        return {"failed": str(error)}
    return {**sizes(files), "identical": identical(files)}


def sizes(files: dict[str, Path]) -> dict[str, dict[str, int]]:
    return {
        "bytes": {form: path.stat().st_size for form, path in files.items()},
        "gzip": {form: len(gzip.compress(path.read_bytes(), 9)) for form, path in files.items()},
    }


def load_seconds(*files: Path) -> list[float]:
    """What ONNX Runtime takes to make a session of each file: the median, the files in turns."""
    seconds: dict[Path, list[float]] = {file: [] for file in files}
    for _ in range(LOADS):
        for file in files:
            start = time.perf_counter()
            session(file)
            seconds[file].append(time.perf_counter() - start)
    return [statistics.median(times) for times in seconds.values()]


def session(file: Path) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def identical(files: dict[str, Path]) -> bool | None:
    """Whether both forms give the same bits on the same random inputs; None where those can't be run."""
    inputs = random_inputs(input_specs(onnx.load(files["dense"])), {}, 0)
    try:
        wanted = session(files["dense"]).run(None, inputs)
    except Exception:  # noqa: BLE001  # ONNX Runtime refuses some inputs without a meaning
        return None
    outputs = session(files["packed"]).run(None, inputs)
    return all(
        np.array_equal(ours, theirs, equal_nan=ours.dtype.kind == "f")
        for ours, theirs in zip(outputs, wanted, strict=True)
    )


def page(rows: Iterable[Row], packages: dict[str, str]) -> str:
    """docs/size.md."""
    done = sorted((row for row in rows if "bytes" in row), key=lambda row: tuple(row["case"].values()))
    lowered = [conversion for row in done for conversion in row["lowered"].values() if "bytes" in conversion]
    compared = [each["identical"] for each in (*done, *lowered) if each["identical"] is not None]
    refused = sorted({row["case"]["model"] for row in done if "failed" in row["lowered"]["int8"]})
    out = [f"{row['case']['model']} at {percent(row['case']['sparsity'])}" for row in rows if "failed" in row]
    parts = [
        "# How small files get",
        "The tables give the sizes of whole files in each [form](format.md), in kB of 1,000 bytes, as float32. The "
        "models were pruned without data, to the same scheme everywhere as far as the budget allows. "
        "[Results](results.md) say what pruned weights are worth. Zeros are counted over all Conv, ConvTranspose, Gemm "
        "and MatMul weights.",
        table(HEAD, map(line, done)),
        "These are the same files in half precision (`--precision fp16`) and with int8 weights (`--weights int8`), in "
        "kB. [What that costs in accuracy](decisions/precision.md).",
        table(LOWERED_HEAD, map(lowered_line, done)),
        "int8 needs opset 13, the first with a scale for each channel. These files are older, and `compress` says how "
        f"to convert them first: {', '.join(refused) or 'none'}.",
        f"Packed files gave the dense files' outputs bit for bit in {sum(compared)} of {len(compared)} cases, on "
        f"random inputs. Load is what ONNX Runtime {packages['onnxruntime']} takes to make a session, in ms. It is the "
        f"median of {LOADS}, with both files in turns, one thread, on {machine()}, with other work on it. A packed "
        "model runs as fast as the dense one once it is loaded. A gzip of the dense file is about as small as the "
        "packed file. But a packed file can be loaded without unpacking.",
        f"These can't be reached, because too many weights can't be pruned: {', '.join(out) or 'none'}.",
    ]
    filled = (part if "|" in part else textwrap.fill(part, 140, break_on_hyphens=False) for part in parts)
    return "\n\n".join(filled) + "\n"


HEAD = (
    *("model", "zeros", "dense", "packed", "dense / packed"),
    *("dense, gzip", "packed, gzip", "load dense", "load packed"),
)


LOWERED_HEAD = (
    *("model", "zeros", "float32 dense", "fp16 dense", "fp16 packed", "fp16 packed, gzip"),
    *("int8 dense", "int8 packed", "int8 dense, gzip", "int8 packed, gzip", "float32 dense / int8 packed"),
)


def table(head: tuple[str, ...], lines: Iterable[str]) -> str:
    return "\n".join([*map(cells, (head, ["---", *["--:"] * (len(head) - 1)])), *lines])


def cells(texts: Iterable[str]) -> str:
    return f"| {' | '.join(texts)} |"


def line(row: Row) -> str:
    sizes, zipped, load = row["bytes"], row["gzip"], row["load_seconds"]
    texts = [
        row["case"]["model"],
        percent(row["case"]["sparsity"]),
        kilobytes(sizes["dense"]),
        kilobytes(sizes["packed"]),
        f"{sizes['dense'] / sizes['packed']:.2f}",
        *(kilobytes(zipped[form]) for form in FORMS),
        *(f"{load[form] * 1000:.0f}" for form in FORMS),
    ]
    return cells(texts)


def lowered_line(row: Row) -> str:
    dense, half, integer = row["bytes"]["dense"], row["lowered"]["fp16"], row["lowered"]["int8"]
    texts = [row["case"]["model"], percent(row["case"]["sparsity"]), kilobytes(dense)]
    if "bytes" in half:
        texts += [*(kilobytes(half["bytes"][form]) for form in FORMS), kilobytes(half["gzip"]["packed"])]
    else:
        texts += [""] * (len(FORMS) + 1)
    if "bytes" in integer:
        texts += [kilobytes(integer[kind][form]) for kind in ("bytes", "gzip") for form in FORMS]
        texts += [f"{dense / integer['bytes']['packed']:.2f}"]
    return cells(texts + [""] * (len(LOWERED_HEAD) - len(texts)))


def kilobytes(size: int) -> str:
    return f"{size / 1000:,.0f}"


if __name__ == "__main__":
    main()
