"""What training is said to keep, against the tensors that torch saves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from domino_onnx.forecast.layers import walk_through
from domino_onnx.options import CompressOptions, DataOptions
from domino_onnx.stages import Journal, open_laboratory, read

torch = pytest.importorskip("torch")

from domino_onnx.bridge import build  # noqa: E402  # needs torch

_SAMPLES = 4


def saved(path: Path, inputs: dict[str, np.ndarray]) -> int:
    """Bytes that torch saves between a forward pass and the way back, parameters aside."""
    module = build(onnx.load(path))
    stored = {tensor.untyped_storage().data_ptr() for tensor in module.state_dict().values()}
    for parameter in module.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    sizes: dict[int, int] = {}
    alive = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in stored:
            sizes[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        module({name: torch.from_numpy(array) for name, array in inputs.items()})
    return sum(sizes.values())


@pytest.mark.parametrize("name", ["digits_resnet", "digits_transformer"])
def test_about_as_much_is_kept_as_torch_saves(name: str, samples: Path) -> None:
    path = samples / f"{name}.onnx"
    options = CompressOptions(data=DataOptions(calibration=samples / "digits_calibration.npz"))
    source = read(path, options, Journal(), "prune")
    lab = open_laboratory(source, options, Journal())
    assert source.split is not None
    walk = walk_through(source.file, lab.aim.inventory, source.table)
    with np.load(samples / "digits_calibration.npz") as arrays:
        inputs = {"image": arrays["image"][:_SAMPLES]}
    assert _SAMPLES * walk.trained * 4 == pytest.approx(saved(path, inputs), rel=0.3)
