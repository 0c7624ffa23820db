"""A student, its teacher and pruned weights of the sample convolutional network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from domino_onnx.data import Split, load_data  # noqa: E402
from domino_onnx.finetuning import Distillation, open_distillation  # noqa: E402
from domino_onnx.graph import read_model, stored_tensors, take_inventory  # noqa: E402
from domino_onnx.scheme import NMScheme, SchemePool, WeightKey  # noqa: E402
from domino_onnx.solve import PrunedWeights  # noqa: E402


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@dataclasses.dataclass(frozen=True)
class Bench:
    """What finetuning needs."""

    distillation: Distillation
    weights: Mapping[WeightKey, np.ndarray[Any, Any]]


@pytest.fixture(scope="session")
def bench() -> Callable[..., Bench]:
    def build(model: Path, data: Path, *, scheme: NMScheme | None = None, seed: int = 0) -> Bench:
        chosen = scheme or NMScheme(1, 4)
        file = read_model(model)
        tensors = stored_tensors(file.proto)
        inventory = take_inventory(file, SchemePool.fixed_m(), {})
        weights = PrunedWeights(
            {site.key: chosen for site in inventory.sites},
            inventory.sites,
            lambda key: file.array(tensors[key]),
        )
        split = Split.of(load_data(data, file.proto), evaluation=None, judged=False, seed=seed)
        distillation = open_distillation(file, model, split, device="cpu", threads=1)
        return Bench(distillation, dict(weights))

    return build


@pytest.fixture(scope="session")
def few(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """96 of the calibration images."""
    path = tmp_path_factory.mktemp("data") / "few.npz"
    with np.load(samples / "digits_calibration.npz") as arrays:
        np.savez(path, image=arrays["image"][:96])
    return path
