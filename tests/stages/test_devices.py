"""`--device cuda` on machines where a part of the work can't be there: what is missing, and what works all the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from domino_onnx import finetuning, runtime  # noqa: E402
from domino_onnx.errors import DependencyError  # noqa: E402
from domino_onnx.finetuning import devices, torch_device  # noqa: E402
from domino_onnx.options import CompressOptions, FinetuneOptions, RunOptions  # noqa: E402
from domino_onnx.stages.devices import require_devices  # noqa: E402


def asked(device: Any = "cuda", *, enabled: bool = True) -> CompressOptions:
    return CompressOptions(run=RunOptions(device=device), finetune=FinetuneOptions(enabled=enabled))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """What ONNX Runtime and torch object to."""

    def make(running: str | None, training: str | None) -> None:
        monkeypatch.setattr(runtime, "cuda_objection", lambda: running)
        monkeypatch.setattr(finetuning, "torch_objection", lambda: training)

    return make


def test_other_devices_ask_nothing(machine: Callable[..., None]) -> None:
    machine("no provider", "no CUDA")
    require_devices(asked("auto"), trains=True)
    require_devices(asked("cpu"), trains=True)


def test_a_gpu_for_both_passes(machine: Callable[..., None]) -> None:
    machine(None, None)
    require_devices(asked(), trains=True)


def test_a_plain_onnxruntime_beside_torch_with_cuda(machine: Callable[..., None]) -> None:
    machine("no provider", None)
    with pytest.raises(DependencyError, match=r"no provider\. Torch can use the GPU: --device auto finetunes there"):
        require_devices(asked())


def test_a_plain_torch_beside_onnxruntime_with_cuda(machine: Callable[..., None]) -> None:
    machine(None, "no CUDA")
    with pytest.raises(DependencyError, match=r"no CUDA\. ONNX Runtime can use the GPU: --device auto searches"):
        require_devices(asked(), trains=True)
    require_devices(asked())
    require_devices(asked(enabled=False), trains=True)


def test_no_gpu_at_all(machine: Callable[..., None]) -> None:
    machine("no provider", "no CUDA")
    with pytest.raises(DependencyError, match=r"no provider; no CUDA\. Nothing can use a GPU here"):
        require_devices(asked())


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_the_command_line_says_so_before_any_work(domino: Any, samples: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.onnx"
    words = ["compress", samples / "digits_resnet.onnx", "--sparsity", "0.5", "-o", output, "--device", "cuda"]
    ran = domino(*words)
    assert ran.code == 1
    assert "--device cuda: " in ran.err
    assert "--device auto runs on the CPU" in ran.err
    assert not output.exists()


class Gpus:
    """A torch that sees so many GPUs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
        self.current: int | None = None
        monkeypatch.setattr(devices, "torch_objection", lambda: None)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "set_device", self._choose)
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")

    def _choose(self, place: int) -> None:
        self.current = place


def test_each_process_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = Gpus(monkeypatch, 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert torch_device("auto") == torch.device("cuda", 1)
    assert gpus.current == 1


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    Gpus(monkeypatch, 2)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(DependencyError, match=r"process 2 has no GPU of its own: .* Start 2 processes"):
        torch_device("auto")
    assert torch_device("cpu").type == "cpu"


@pytest.mark.skipif(torch.version.cuda is not None, reason="this torch is built with CUDA")
def test_a_torch_without_cuda_trains_on_the_cpu_and_says_so() -> None:
    assert torch_device("auto").type == "cpu"
    with pytest.raises(DependencyError, match="is built without CUDA"):
        torch_device("cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
def test_a_gpu_trains_as_the_cpu_does_and_repeats_itself(samples: Path, domino: Any, tmp_path: Path) -> None:
    """From the same weights to the same loss, within what float32 rounds; twice to the same bytes."""
    import json

    import onnx

    losses, files = [], []
    for number, device in enumerate(("cpu", "auto", "auto")):
        output = tmp_path / f"{number}.onnx"
        words = ["compress", samples / "digits_resnet.onnx", "--sparsity", "0.75", "-o", output, "--device", device]
        words += ["--data", samples / "digits_calibration.npz", "--finetune-steps", "40", "--json"]
        ran = domino(*words, recipe={"search.strategy": "uniform", "solver.method": "magnitude", "finetune.lr": 1e-3})
        assert ran.code == 0, ran.err
        losses.append(json.loads(ran.out)["finetuning"]["after"])
        files.append([onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(output).graph.initializer])
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert all(np.array_equal(left, right) for left, right in zip(files[1], files[2], strict=True))
