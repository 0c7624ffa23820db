"""Samples a second of a training step on a GPU: by precision, by the order of channels, by torch's own settings."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from domino_onnx.bridge.gpu import same_arithmetic
from domino_onnx.data import Split, load_data
from domino_onnx.finetuning import Distillation, open_distillation
from domino_onnx.finetuning.trainer import Trainer
from domino_onnx.graph import read_model, stored_tensors, take_inventory
from domino_onnx.options import FinetuneOptions
from domino_onnx.scheme import NMScheme, SchemePool
from domino_onnx.solve import PrunedWeights

__all__ = ["opened", "pace_rows"]

BATCHES = (32, 256)
PRECISIONS = ("float32", "tf32", "bfloat16")


def opened(model: Path, data: Path, precision: str, device: str, *, mix: bool = False) -> tuple[Distillation, Any]:
    """A student, and its pruned weights."""
    file = read_model(model)
    tensors = stored_tensors(file.proto)
    inventory = take_inventory(file, SchemePool.fixed_m(), {})
    schemes = {site.key: NMScheme(2, 4) for site in inventory.sites}
    weights = PrunedWeights(schemes, inventory.sites, lambda key: file.array(tensors[key]))
    split = Split.of(load_data(data, file.proto), evaluation=None, seed=0)
    options: Any = {"precision": precision}
    return open_distillation(file, model, split, FinetuneOptions(mix=mix, **options), device=device), dict(weights)  # type: ignore[arg-type]


def pace_rows(networks: list[tuple[str, Path, Path]], *, quick: bool = False) -> Iterator[dict[str, Any]]:
    """A row for each network, batch size and way of computing; on the CPU where there is no GPU."""
    devices = ["cuda", "cpu"] if torch.cuda.is_available() else ["cpu"]
    for name, model, data in networks:
        for device in devices:
            for precision in PRECISIONS if device == "cuda" or not quick else PRECISIONS[:1]:
                if device == "cpu" and (precision == "tf32" or name.startswith("efficient")):
                    continue
                student, weights = opened(model, data, precision, "auto" if device == "cuda" else "cpu")
                for batch in (8,) if quick else BATCHES:
                    if batch > len(student.train):
                        continue
                    row = {"network": name, "device": device, "precision": precision, "batch": batch}
                    yield {**row, **_pace(student, weights, batch, 2 if quick else 8, tf32=precision == "tf32")}
                    if device == "cuda" and precision != "bfloat16":
                        yield {**row, "settings": "torch's", **_pace(student, weights, batch, 8, tf32=None)}
                if device == "cuda":
                    student.module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
                    student._channels_last = False
                    batch = min(BATCHES[-1], len(student.train))
                    row = {"network": name, "device": device, "precision": precision, "batch": batch}
                    yield {**row, "channels": "first", **_pace(student, weights, batch, 8, tf32=precision == "tf32")}


def _pace(student: Distillation, weights: Any, batch: int, steps: int, *, tf32: bool | None) -> dict[str, Any]:
    """Samples a second in the second half of the steps; the peak of torch's memory."""
    settings = contextlib.nullcontext() if tf32 is None else same_arithmetic(student.device, tf32=tf32)
    on_gpu = student.device.type == "cuda"
    with settings:
        trainer = Trainer(student, weights, {}, {}, batch_size=batch)
        batches = student.shuffled(batch, 0)
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        loss = 0.0
        for step in range(steps + max(steps // 2, 1)):
            if step == max(steps // 2, 1):
                start = time.perf_counter()
            loss = trainer.step(1e-4, next(batches))
        if on_gpu:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
    peak = {"peak_MiB": torch.cuda.max_memory_allocated() / 2**20} if on_gpu else {}
    return {"samples_per_s": batch * steps / seconds, "ms_per_step": 1e3 * seconds / steps, "loss": loss, **peak}
