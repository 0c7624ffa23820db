"""A GPU against the CPU of the same machine: the same schemes and losses? How fast? And what if its memory is full?

usage: [DOMINO_ONNX_SHARED=FOLDER] python benchmarks/gpu.py [NETWORK...] --out OUT --cache CACHE
       [--devices cpu,cuda] [--plain FOLDER] [--steps 200] [--seconds 330]

Prints a table a section, and writes OUT/gpu.json after each. NETWORK is digits, which is part of this repository, or
one of networks.py, whose files FOLDER holds. --plain names a folder of PYTHONPATH that
holds an ONNX Runtime with CUDA: runs marked `plain` leave it out, so that torch alone has the GPU. After --seconds no
new run is begun. Sections that need a GPU say that they were left out where there is none.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import torch
from accuracy import toml
from gpu_layers import layer_rows
from gpu_memory import memory_rows
from gpu_pace import pace_rows
from networks import Prepared, prepare, score
from rows import machine

SAMPLES = Path(__file__).parents[1] / "sample_models"
SHARED = ("resnet20_cifar10jpg", "efficientnet-lite0")
BUDGETS = {"digits": 0.75, "resnet20_cifar10jpg": 0.75, "efficientnet-lite0": 0.5}
STAGES = ("outputs", "search", "refit", "measure", "bridge", "finetune", "evaluate")
CASES = {
    "cpu": {"device": "cpu"},
    "cuda": {"device": "cuda"},
    "plain": {"device": "auto", "plain": True},
    "plain cuda": {"device": "cuda", "plain": True},
    "train cpu": {"device": "cpu"},
    "train cuda": {"device": "cuda"},
    "train again": {"device": "cuda"},
    "train tf32": {"device": "cuda", "precision": "tf32"},
    "train bfloat16": {"device": "cuda", "precision": "bfloat16"},
}
"""Those that begin with `train` neither search nor refit: all train from the same weights."""
COMPARED = {name: "train cpu" if name.startswith("train") else "cpu" for name in CASES} | {"train again": "train cuda"}
WITHOUT_SEARCH: dict[str, dict[str, Any]] = {"search": {"strategy": "uniform"}, "solver": {"method": "magnitude"}}
MOST = {"efficientnet-lite0": ("cpu", "cuda")}
"""Runs of a network that takes long; of others all."""

_LONG = ("schemes", "errors", "output")
_SECONDS = 150
"""Of one run."""

Row = dict[str, Any]


class Inputs:
    """A network's file, what it is calibrated on, and how a file is scored."""

    def __init__(self, name: str, cache: Path) -> None:
        self.name = name
        if name == "digits":
            self.model, self.data = SAMPLES / "digits_resnet.onnx", SAMPLES / "digits_calibration.npz"
            self.batch_size, self._prepared = 32, None
            return
        prepared: Prepared = prepare(name, Path(os.environ["DOMINO_ONNX_SHARED"]), cache)
        self.model, self.data, self.batch_size = prepared.model, prepared.data, prepared.network.batch_size
        self._prepared = prepared

    def score(self, path: Path) -> dict[str, float]:
        """Of a file, on ONNX Runtime's CPU; empty for the digits."""
        return {} if self._prepared is None else score(self._prepared, path, threads=os.cpu_count() or 1)


def run(inputs: Inputs, name: str, folder: Path, steps: int, without: Path | None, fields: Row) -> Row:
    """One run of `compress` in a process of its own: seconds by stage, schemes, losses, score."""
    case = CASES[name]
    output, path = folder / f"{inputs.name}.{name.replace(' ', '-')}.onnx", folder / "recipe.toml"
    finetune = {"steps": steps, **({"precision": case["precision"]} if "precision" in case else {})}
    groups: dict[str, Row] = {
        "goal": {"sparsity": BUDGETS[inputs.name]},
        "data": {"calibration": str(inputs.data)},
        "finetune": finetune,
        "run": {"device": case["device"], "batch_size": inputs.batch_size},
    }
    for more in (fields, WITHOUT_SEARCH if name.startswith("train") else {}):
        groups = {group: {**groups.get(group, {}), **more.get(group, {})} for group in (*groups, *more)}
    path.write_text(toml(groups), encoding="utf-8")
    words = ["compress", str(inputs.model), "-o", str(output), "--recipe", str(path), "--force", "--json", "--quiet"]
    environment = dict(os.environ)
    if case.get("plain") and without is not None:
        places = environment.get("PYTHONPATH", "").split(os.pathsep)
        environment["PYTHONPATH"] = os.pathsep.join(place for place in places if Path(place) != without)
    start = time.perf_counter()
    row: Row = {"network": inputs.name, "run": name}
    program = [sys.executable, "-m", "domino_onnx", *words]
    try:
        done = subprocess.run(program, capture_output=True, text=True, check=False, env=environment, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        return {**row, "failed": f"took longer than {_SECONDS} s"}
    row["wall"] = round(time.perf_counter() - start, 2)
    if done.returncode:
        return {**row, "failed": done.stderr.strip()[-1500:]}
    document = json.loads(done.stdout)
    trained = document["finetuning"] or {}
    return {
        **row,
        "seconds": {stage: document["seconds"].get(stage) for stage in STAGES},
        "provider": document["parity"]["provider"],
        "divergence": document["divergence"],
        "before": trained.get("before"),
        "after": trained.get("after"),
        "lr": trained.get("lr"),
        "score": inputs.score(output),
        "schemes": {site["weight"]: f"{site['n']}:{site['m']}" for site in document["sites"]},
        "errors": {site["weight"]: site.get("error") for site in document["sites"]},
        "warnings": document["warnings"],
        "stderr": done.stderr.strip()[-1500:],
        "output": str(output),
    }


def beside(row: Row, first: Row) -> Row:
    """How a run differs from the first one of its network: schemes, losses, refit errors, weights."""
    if "failed" in row or "failed" in first or row is first:
        return {}
    same = [row["schemes"].get(key) == scheme for key, scheme in first["schemes"].items()]
    pairs = [(row["errors"].get(key), error) for key, error in first["errors"].items()]
    apart = [abs(got - want) / want for got, want in pairs if got is not None and want]
    left, right = (
        {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(each["output"]).graph.initializer}
        for each in (row, first)
    )
    floats = [name for name, array in right.items() if array.dtype.kind == "f" and array.ndim > 1]
    masks = sum(int(((left[name] != 0) != (right[name] != 0)).sum()) for name in floats)
    return {
        "to": first["run"],
        "same_schemes": f"{sum(same)} of {len(same)}",
        "mask_bits_apart": masks / sum(right[name].size for name in floats),
        "refit_errors_apart": round(float(np.median(apart)), 6) if apart else None,
        "loss_before_apart": relative(row["before"], first["before"]),
        "loss_after_apart": relative(row["after"], first["after"]),
        "same_bytes": all(left[name].tobytes() == array.tobytes() for name, array in right.items()),
    }


def relative(got: float | None, want: float | None) -> float | None:
    return None if got is None or not want else round(abs(got - want) / abs(want), 6)


def compress_rows(
    found: list[Inputs], cases: list[str], without: Path | None, ask: Callable[[Inputs, str], Row]
) -> Iterator[Row]:
    """Every run of every network, compared with the one on the CPU; a repeated run with the one that it repeats."""
    for inputs in found:
        done: dict[str, Row] = {}
        for name in cases:
            if name not in MOST.get(inputs.name, cases) or (name.startswith("plain") and without is None):
                continue
            row = done[name] = ask(inputs, name)
            yield {**row, "beside": beside(row, done.get(COMPARED[name], row))}


def table(section: str, rows: list[Row]) -> None:
    """Print what fits on a line of each row."""
    print(f"\n## {section}", flush=True)
    for row in rows:
        shown = {key: value for key, value in row.items() if key not in _LONG and value not in (None, "", [], {})}
        print("  " + "  ".join(f"{key}={_short(value)}" for key, value in shown.items()))


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + " ".join(f"{key}={_short(each)}" for key, each in value.items() if each is not None) + "}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def about() -> Row:
    """Versions and devices, and why ONNX Runtime or torch have no GPU."""
    import onnxruntime

    from domino_onnx.finetuning import torch_objection
    from domino_onnx.runtime import cuda_objection

    has = torch.cuda.is_available()
    return {
        "machine": machine(),
        "gpu": torch.cuda.get_device_name() if has else None,
        "capability": torch.cuda.get_device_capability() if has else None,
        "torch": torch.__version__,
        "cudnn": torch.backends.cudnn.version() if has else None,
        "onnxruntime": onnxruntime.__version__,
        "onnxruntime_objects": cuda_objection(),
        "torch_objects": torch_objection(),
    }


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(BUDGETS)))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the results.")
@click.option("--cache", type=click.Path(path_type=Path), required=True, help="Where prepared data are kept.")
@click.option("--runs", default=",".join(CASES), show_default=True, help="Runs of `compress`.")
@click.option(
    "--sections", default="layers,memory,pace,compress", show_default=True, help="What is measured, in order."
)
@click.option("--plain", type=click.Path(path_type=Path), help="Folder with ONNX Runtime for CUDA.")
@click.option("--steps", type=int, default=200, show_default=True, help="Of finetuning.")
@click.option("--seconds", type=int, default=330, show_default=True, help="After these nothing new is begun.")
@click.option("--quick", is_flag=True, help="No search and no refit, to try the script.")
def main(
    names: tuple[str, ...],
    out: Path,
    cache: Path,
    runs: str,
    sections: str,
    plain: Path | None,
    steps: int,
    seconds: int,
    quick: bool,
) -> None:
    start = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    cache.mkdir(parents=True, exist_ok=True)
    chosen = names or (SHARED if "DOMINO_ONNX_SHARED" in os.environ else ("digits",))
    found = [Inputs(name, cache) for name in chosen]
    document: Row = {"about": about(), "quick": quick}
    table("machine", [document["about"]])
    fields: Row = {**WITHOUT_SEARCH, "finetune": {"lr": 1e-4}} if quick else {}

    def ask(inputs: Inputs, name: str) -> Row:
        if time.monotonic() - start > seconds:
            return {"network": inputs.name, "run": name, "failed": "left out: no time"}
        return run(inputs, name, cache, steps, plain, fields)

    made: dict[str, Callable[[], Iterator[Row]]] = {
        "layers": layer_rows,
        "memory": lambda: memory_rows(found[0].model, found[0].data),
        "pace": lambda: pace_rows([(each.name, each.model, each.data) for each in found], quick=quick),
        "compress": lambda: compress_rows(found, runs.split(","), plain, ask),
    }
    for section in sections.split(","):
        rows: list[Row] = document.setdefault(section, [])
        try:
            for row in made[section]():
                rows.append(row)
                if time.monotonic() - start > seconds:
                    break
        except Exception:  # noqa: BLE001  (time on a GPU is dear: what else can be measured is)
            rows.append({"failed": traceback.format_exc()[-2000:]})
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        rows.append({"section_seconds": round(time.monotonic() - start, 1)})
        table(section, rows)
        (out / "gpu.json").write_text(json.dumps(document, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
