"""What happens when a GPU's memory is full: smaller parts of a batch, or an error that says what to do."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_pace import opened

from domino_onnx.errors import DominoError
from domino_onnx.finetuning import finetune
from domino_onnx.options import FinetuneOptions, RunOptions
from domino_onnx.runtime import Session, cuda_objection

__all__ = ["memory_rows"]

BATCH = 1024
SHARES = (1.0, 1 / 3, 1 / 12)
"""Of what a whole batch takes."""
LEFT = (900 << 20, 500 << 20)
"""Bytes that are left to another process."""


def memory_rows(model: Path, data: Path) -> Iterator[dict[str, Any]]:
    """A row for each way to run out of memory."""
    if not torch.cuda.is_available():
        yield {"left_out": "there is no GPU"}
        return
    whole = 0
    for share in SHARES:
        row = {"limit_MiB": round(whole * share / 2**20) if whole else None}
        yield {"case": "finetuning", **row, **_finetuned(model, data, int(whole * share))}
        whole = whole or torch.cuda.max_memory_reserved()
    yield {"case": "finetuning, hardly any memory", **_finetuned(model, data, 24 << 20)}
    yield {"case": "ONNX Runtime beside a hog", **_run_beside_a_hog(model, data)}
    for left in LEFT:
        yield {"case": f"the command line with {left >> 20} MiB", **_command_beside_a_hog(model, data, left)}


def _finetuned(model: Path, data: Path, limit: int) -> dict[str, Any]:
    """A few steps with torch held to `limit` bytes; 0 is no limit."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    total = torch.cuda.get_device_properties(0).total_memory
    try:
        student, weights = opened(model, data, "float32", "auto")
        torch.cuda.set_per_process_memory_fraction(min(limit / total, 1.0) if limit else 1.0)
        size = min(BATCH, len(student.train))
        done = finetune(student, weights, FinetuneOptions(steps=4, lr=1e-4), RunOptions(batch_size=size))
        losses = [round(step.loss, 6) for step in done.history]
        return {"batch": size, "at_once": student._portions._most or size, "losses": losses, "after": done.after}
    except DominoError as error:
        return {"error": f"{type(error).__name__}: {error}"}
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def _hog(left: int) -> torch.Tensor:
    """Takes all but so many bytes of the GPU."""
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info()
    return torch.empty(max(free - left, 1), dtype=torch.uint8, device="cuda")


def _run_beside_a_hog(model: Path, data: Path) -> dict[str, Any]:
    objection = cuda_objection()
    if objection is not None:
        return {"left_out": objection}
    with np.load(data) as archive:
        inputs = {name: archive[name] for name in archive.files if archive[name].ndim > 1}
    session = Session(model, device="cuda")
    large = {name: np.concatenate([array] * 16)[: 16 * BATCH] for name, array in inputs.items()}
    hog = _hog(128 << 20)
    try:
        session.run(large)
        return {"fits": {name: list(array.shape) for name, array in large.items()}}
    except DominoError as error:
        return {"error": f"{type(error).__name__}: {error}"}
    finally:
        del hog
        torch.cuda.empty_cache()


def _command_beside_a_hog(model: Path, data: Path, left: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        hog = _hog(left)
        words = [sys.executable, "-m", "domino_onnx", "compress", str(model), "--data", str(data), "--sparsity", "0.75"]
        words += ["-o", str(Path(folder) / "out.onnx"), "--device", "auto", "--batch-size", "4096", "--quiet"]
        words += ["--finetune-steps", "10"]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=100)
        written = (Path(folder) / "out.onnx").exists()
        del hog
    torch.cuda.empty_cache()
    said = done.stderr.strip()[-800:]
    return {"exit_code": done.returncode, "traceback": "Traceback" in done.stderr, "written": written, "said": said}
