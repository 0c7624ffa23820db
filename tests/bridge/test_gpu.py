"""What a GPU needs: torch's settings for a while, its errors in words, and operands on one device. No GPU is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest

torch = pytest.importorskip("torch")

from domino_onnx.bridge import build  # noqa: E402
from domino_onnx.bridge.gpu import full_memory_in_words, is_out_of_memory, same_arithmetic  # noqa: E402
from domino_onnx.errors import DeviceMemoryError  # noqa: E402

CUDA = torch.device("cuda")


def settings() -> dict[str, Any]:
    return {
        "convolutions": torch.backends.cudnn.allow_tf32,
        "products": torch.backends.cuda.matmul.allow_tf32,
        "cudnn": torch.backends.cudnn.deterministic,
        "race": torch.backends.cudnn.benchmark,
        "repeatable": torch.are_deterministic_algorithms_enabled(),
        "only warns": torch.is_deterministic_algorithms_warn_only_enabled(),
        "fills": torch.utils.deterministic.fill_uninitialized_memory,
    }


@pytest.mark.parametrize("tf32", [False, True])
def test_settings_hold_within_the_block_and_are_given_back(tf32: bool) -> None:
    before = settings()
    with same_arithmetic(CUDA, tf32=tf32):
        within = settings()
    assert (within["convolutions"], within["products"]) == (tf32, tf32)
    assert (within["cudnn"], within["race"], within["repeatable"], within["only warns"]) == (True, False, True, True)
    assert settings() == before


def test_settings_are_given_back_after_an_error() -> None:
    before = settings()
    with pytest.raises(ZeroDivisionError), same_arithmetic(CUDA):
        _ = 1 / 0
    assert settings() == before


def test_a_full_precision_block_stands_inside_one_of_less() -> None:
    with same_arithmetic(CUDA, tf32=True):
        with same_arithmetic(CUDA):
            assert not torch.backends.cudnn.allow_tf32
        assert torch.backends.cudnn.allow_tf32


def test_a_program_that_uses_the_newer_names_keeps_them() -> None:
    """Torch then refuses to read the older ones."""
    convolutions = getattr(torch.backends.cudnn, "conv", None)
    if convolutions is None:
        pytest.skip("this torch has the older names alone")
    before = convolutions.fp32_precision
    try:
        convolutions.fp32_precision = "ieee" if before != "ieee" else "tf32"
        kept = convolutions.fp32_precision
        with same_arithmetic(CUDA, tf32=True):
            assert convolutions.fp32_precision == "tf32"
        with same_arithmetic(CUDA):
            assert convolutions.fp32_precision == "ieee"
        assert convolutions.fp32_precision == kept
    finally:
        convolutions.fp32_precision = before


def test_the_cpu_keeps_its_settings() -> None:
    before = settings()
    with same_arithmetic(torch.device("cpu"), tf32=True):
        assert settings() == before


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_a_full_gpu_is_told_with_what_to_do(error: RuntimeError) -> None:
    told = pytest.raises(DeviceMemoryError, match=r"while finetuning .*--batch-size.*--device cpu")
    with told, full_memory_in_words("finetuning"):
        raise error


def test_other_errors_stay_as_they_are() -> None:
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))
    with pytest.raises(RuntimeError, match="shapes"), full_memory_in_words("finetuning"):
        raise RuntimeError("shapes")


def test_an_operator_that_fills_the_gpu_is_no_fault_of_the_model(
    monkeypatch: pytest.MonkeyPatch, samples: Path
) -> None:
    module = build(onnx.load(samples / "digits_resnet.onnx"))

    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.nn.functional, "relu", full)
    monkeypatch.setattr(torch, "relu", full)
    with pytest.raises(torch.OutOfMemoryError):
        module({"image": torch.zeros(2, 1, 8, 8)})


@pytest.mark.parametrize("name", ["digits_resnet", "digits_transformer"])
def test_a_network_on_another_device_stays_there(name: str, samples: Path) -> None:
    """Torch's device without storage refuses operands from the CPU, as a GPU does."""
    module = build(onnx.load(samples / f"{name}.onnx")).to("meta")
    outputs = module({"image": torch.zeros(2, 1, 8, 8, device="meta")})
    assert {output.device.type for output in outputs.values()} == {"meta"}
    assert all(output.shape[0] == 2 for output in outputs.values())
