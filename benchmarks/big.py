"""How long does `compress` take on a model that doesn't fit into memory, without data or with a few samples?

usage: OMP_NUM_THREADS=1 python benchmarks/big.py FOLDER [--gigabytes G] [--goal ...] [--samples 8] [--memory 4GB]

A transformer's matrices of random normal numbers are written to FOLDER, with the weights in an external file. It is
copied by `cp` and fsync, then compressed in a child process. While that runs, its memory is read every 20 ms: pages of
mapped files are the kernel's to take back, so they are counted apart. Random groups of each weight are checked with
code of this file's own: no more than N of M are kept, and without data what is kept is as it was. Writes
results/big.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper
from rows import RESULTS, Results, machine

WIDTH, INNER, WORDS = 4096, 11008, 32000
GROUPS = 256
GOALS = {"scheme 2:4": ("--scheme", "2:4"), "sparsity 0.875": ("--sparsity", "0.875")}
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gigabytes", type=float, default=6.0)
    parser.add_argument("--goal", choices=GOALS, action="append")
    parser.add_argument("--samples", type=int, default=0, help="drawn from a normal distribution; 0: none")
    parser.add_argument("--memory", default="", help="as `compress` takes it; by default half of what is free")
    given = parser.parse_args()
    packages = {name: metadata.version(name) for name in ("onnx", "onnxruntime", "numpy")}
    results = Results(RESULTS / "big.json", {"machine": machine(), "packages": packages})
    model, output = given.folder / "big.onnx", given.folder / "big.sparse.onnx"
    make(model, given.gigabytes)
    data = draw(given.folder / "big.npz", given.samples) if given.samples else "none"
    try:
        copying = copied(model.with_suffix(".data"), given.folder / "copy.data")
        for goal in given.goal or GOALS:
            row = {
                "case": {"gigabytes": given.gigabytes, "goal": goal, "samples": given.samples, "memory": given.memory},
                "copy_seconds": round(copying, 2),
            }
            row |= compressed(
                model, output, (*GOALS[goal], *(("--memory", given.memory) if given.memory else ())), data
            )
            groups = checked(model, output, refitted=bool(given.samples))
            row |= {"copy_speed": round(copying / row["seconds"], 3), "groups_checked": groups}
            print(json.dumps(row), flush=True)
            results.put(row)
    finally:
        for path in given.folder.glob("big.*"):
            path.unlink()


def make(path: Path, gigabytes: float) -> None:
    """Layers of a decoder's matrices, and its head, up to `gigabytes`; values of one layer are drawn once a matrix."""
    matrices = [(WIDTH, WIDTH)] * 4 + [(WIDTH, INNER)] + [(INNER, WIDTH)]
    layer = 4 * sum(rows * columns for rows, columns in matrices)
    layers = max(round((gigabytes * 1e9 - 4 * WIDTH * WORDS) / layer), 1)
    nodes, tensors, name, generator = [], [], "x", np.random.default_rng(0)
    with path.with_suffix(".data").open("wb") as stream:
        for number, (rows, columns) in enumerate(matrices * layers + [(WIDTH, WORDS)]):
            tensor = TensorProto(name=f"w{number}", data_type=TensorProto.FLOAT, dims=(rows, columns))
            tensor.data_location = TensorProto.EXTERNAL
            entries = {
                "location": path.with_suffix(".data").name,
                "offset": stream.tell(),
                "length": 4 * rows * columns,
            }
            for key, value in entries.items():
                tensor.external_data.add(key=key, value=str(value))
            for _ in range(rows // 64):
                stream.write(generator.standard_normal((64, columns), np.float32) / np.float32(rows**0.5))
            tensors.append(tensor)
            nodes.append(helper.make_node("MatMul", [name, tensor.name], [f"y{number}"], name=f"matmul{number}"))
            name = f"y{number}"
        stream.flush()
        os.fsync(stream.fileno())
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, WIDTH])]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8, WORDS])]
    graph = helper.make_graph(nodes, "big", inputs, outputs, tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def draw(path: Path, samples: int) -> str:
    """The name of a file with so many samples of 8 positions."""
    np.savez(path, x=np.random.default_rng(1).standard_normal((samples, 8, WIDTH)).astype(np.float32))
    return str(path)


def copied(source: Path, target: Path) -> float:
    """Seconds that `cp` and fsync take."""
    start = time.perf_counter()
    subprocess.run(["cp", "--reflink=never", source, target], check=True)
    descriptor = os.open(target, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    seconds = time.perf_counter() - start
    target.unlink()
    return seconds


def compressed(model: Path, output: Path, goal: tuple[str, ...], data: str) -> Row:
    """Seconds of a run in a child process, and its memory."""
    command = [sys.executable, "-m", "domino_onnx", "compress", model, "--data", data, "--no-finetune", *goal]
    command += ["--threads", "1", "--force", "--json", "-q", "-o", output]
    start, used = time.perf_counter(), processor_seconds()
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True) as child:
        peak = Memory()
        while child.poll() is None:
            peak = peak.most(Memory.of(child.pid))
            time.sleep(0.02)
        report = json.loads(child.stdout.read()) if child.stdout is not None else {}
    seconds = time.perf_counter() - start
    if child.returncode:
        raise SystemExit(f"compress ended with {child.returncode}")
    used = processor_seconds() - used
    return {
        "seconds": round(seconds, 2),
        "processor_seconds": round(used, 2),
        "stages": report["seconds"],
        **dataclasses.asdict(peak),
    }


def processor_seconds() -> float:
    """Of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@dataclasses.dataclass(frozen=True, slots=True)
class Memory:
    """Megabytes of a process: of its own, and of files that it has mapped."""

    own_megabytes: int = 0
    resident_megabytes: int = 0

    @classmethod
    def of(cls, process: int) -> Memory:
        """As /proc says; zeros for one that has ended."""
        try:
            status = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace")
        except OSError:
            return cls()
        found = {name: int(size) // 1000 for name, size in re.findall(r"(RssAnon|VmHWM):\s*(\d+) kB", status)}
        return cls(found.get("RssAnon", 0), found.get("VmHWM", 0))

    def most(self, other: Memory) -> Memory:
        """The larger ones of two."""
        return Memory(
            max(self.own_megabytes, other.own_megabytes), max(self.resident_megabytes, other.resident_megabytes)
        )


def checked(model: Path, output: Path, *, refitted: bool) -> int:
    """How many groups were looked at; an error names the first that is wrong."""
    manifest = next(
        json.loads(entry.value)
        for entry in onnx.load(output, load_external_data=False).metadata_props
        if entry.key == "domino_onnx.manifest"
    )
    schemes = {weight["name"]: (weight["n"], weight["m"], weight["axis"]) for weight in manifest["weights"]}
    generator, count = np.random.default_rng(1), 0
    for (name, before), (_, after) in zip(stored(model), stored(output), strict=True):
        n, m, axis = schemes.get(name, (1, 1, 0))
        old, new = (np.moveaxis(array, axis, -1) for array in (before, after))
        rows = generator.integers(0, old.shape[0], GROUPS)
        starts = generator.integers(0, old.shape[1] // m, GROUPS) * m
        for row, start in zip(rows, starts, strict=True):
            dense, sparse = old[row, start : start + m], new[row, start : start + m]
            kept = sparse != 0
            largest = np.sort(np.abs(dense))[-n:]
            changed = (sparse[kept] != dense[kept]).any() or not np.isin(np.abs(dense[kept]), largest).all()
            if kept.sum() > n or not np.isfinite(sparse).all() or (changed and not refitted):
                raise SystemExit(f"{name}: the group at row {row}, {start} is wrong: {dense} became {sparse}")
            count += 1
    return count


def stored(model: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """The external matrices of a model, mapped into memory."""
    for tensor in onnx.load(model, load_external_data=False).graph.initializer:
        place = {entry.key: entry.value for entry in tensor.external_data}
        yield (
            tensor.name,
            np.memmap(
                model.parent / place["location"], np.float32, "r", int(place.get("offset", 0)), tuple(tensor.dims)
            ),
        )


if __name__ == "__main__":
    main()
