"""2:4 semi-structured products against dense ones, for the layers of real networks: torch's kernels on a GPU.

A convolution is what it is as a matrix product: (outputs, inputs * kernel) times (inputs * kernel, positions). Beside
it the same convolution as cuDNN runs it, channels last. What is timed is kernels alone, from a CUDA graph.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Layer", "layer_rows", "layers"]

BATCH = 32
TOKENS = 128
TYPES = (torch.float16, torch.bfloat16)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """Weights that a network has `count` times: `positions` are those of a batch, `side` is that of an image."""

    network: str
    outputs: int
    inputs: int
    positions: int
    count: int
    kernel: int = 1
    side: int = 0

    @property
    def features(self) -> int:
        """What each output sums over."""
        return self.inputs * self.kernel**2


def layers() -> list[Layer]:
    """Those that hold nearly all products of ResNet-50, BERT-base, MiniLM-L6 and EfficientNet-Lite0."""
    return [*_resnet50(), *_bert("BERT-base", 768, 12), *_bert("MiniLM-L6", 384, 6), *_efficientnet_lite0()]


def _convolution(network: str, outputs: int, inputs: int, side: int, count: int, kernel: int = 1) -> Layer:
    return Layer(
        network=network,
        outputs=outputs,
        inputs=inputs,
        positions=BATCH * side**2,
        count=count,
        kernel=kernel,
        side=side,
    )


def _resnet50() -> Iterator[Layer]:
    for width, side, count in ((64, 56, 3), (128, 28, 4), (256, 14, 6), (512, 7, 3)):
        yield _convolution("ResNet-50", width, 4 * width, side, count - 1)
        yield _convolution("ResNet-50", width, width, side, count, 3)
        yield _convolution("ResNet-50", 4 * width, width, side, count)
    yield Layer(network="ResNet-50", outputs=1000, inputs=2048, positions=BATCH, count=1)


def _bert(network: str, width: int, count: int) -> Iterator[Layer]:
    for outputs, inputs, times in ((width, width, 4), (4 * width, width, 1), (width, 4 * width, 1)):
        yield Layer(network=network, outputs=outputs, inputs=inputs, positions=BATCH * TOKENS, count=times * count)


def _efficientnet_lite0() -> Iterator[Layer]:
    """Its pointwise convolutions; the depthwise ones sum over too few inputs to be sparse."""
    name = "EfficientNet-Lite0"
    yield _convolution(name, 16, 32, 112, 1)
    before, side = 16, 112
    for width, count, smaller in ((24, 2, 56), (40, 2, 28), (80, 3, 14), (112, 3, 14), (192, 4, 7), (320, 1, 7)):
        yield _convolution(name, 6 * before, before, side, 1)
        yield _convolution(name, width, 6 * before, smaller, 1)
        if count > 1:
            yield _convolution(name, 6 * width, width, smaller, count - 1)
            yield _convolution(name, width, 6 * width, smaller, count - 1)
        before, side = width, smaller
    yield _convolution(name, 1280, 320, 7, 1)
    yield Layer(network=name, outputs=1000, inputs=1280, positions=BATCH, count=1)


def layer_rows() -> Iterator[dict[str, Any]]:
    """A row for each layer and type, then the sums of each network."""
    if not torch.cuda.is_available():
        yield {"left_out": "there is no GPU", "layers": len(layers())}
        return
    for dtype in TYPES:
        rows = [_measured(layer, dtype) for layer in layers()]
        yield from rows
        yield from _sums(rows)
    torch._C._cuda_clearCublasWorkspaces()  # 32 MiB for each stream that a graph was captured on


def _measured(layer: Layer, dtype: torch.dtype) -> dict[str, Any]:
    generator = torch.Generator("cuda").manual_seed(0)
    weight = torch.randn(layer.outputs, layer.features, generator=generator, device="cuda") / layer.features**0.5
    weight = _two_of_four(weight).to(dtype)
    x = torch.randn(layer.positions, layer.features, generator=generator, device="cuda").to(dtype)
    row: dict[str, Any] = {**dataclasses.asdict(layer), "dtype": str(dtype).removeprefix("torch.")}
    row["dense_us"] = _microseconds(lambda: functional.linear(x, weight))
    wanted = functional.linear(x, weight)
    for name in ("cusparselt", "cutlass"):
        row |= _sparse(name, x, weight, wanted)
    if layer.side:
        image = torch.randn(BATCH, layer.inputs, layer.side, layer.side, device="cuda", dtype=dtype)
        image = image.to(memory_format=torch.channels_last)
        kernel = weight.reshape(layer.outputs, layer.kernel, layer.kernel, layer.inputs).permute(0, 3, 1, 2)
        row["cudnn_us"] = _microseconds(lambda: functional.conv2d(image, kernel, padding=layer.kernel // 2))
    return row


def _two_of_four(weight: Tensor) -> Tensor:
    fours = weight.reshape(-1, 4)
    places = fours.abs().topk(2, dim=1).indices
    return torch.zeros_like(fours).scatter_(1, places, fours.gather(1, places)).reshape(weight.shape)


def _sparse(name: str, x: Tensor, weight: Tensor, wanted: Tensor) -> dict[str, Any]:
    """Time of one library's kernels; why not, where they refuse the shape."""
    from torch.sparse import SparseSemiStructuredTensor, to_sparse_semi_structured

    SparseSemiStructuredTensor._FORCE_CUTLASS = name == "cutlass"
    try:
        sparse = to_sparse_semi_structured(weight)
        got = functional.linear(x, sparse)
        apart = float((got - wanted).abs().max() / wanted.abs().max())
        found = {f"{name}_us": _microseconds(lambda: functional.linear(x, sparse)), f"{name}_apart": apart}
        if name == "cusparselt":
            found |= _tuned(sparse, x)
        return found
    except Exception as error:  # noqa: BLE001  (a shape, a type or a library: their errors have no common type)
        return {f"{name}_refused": f"{type(error).__name__}: {str(error).splitlines()[0][:160]}"}


def _tuned(sparse: Any, x: Tensor) -> dict[str, Any]:
    """With the algorithm that cuSPARSELt's own search finds."""
    try:
        found = torch._C._cusparselt.mm_search(sparse.packed, x.t(), None, None, None, False)  # type: ignore[attr-defined]
        sparse.alg_id_cusparselt = found[0] if isinstance(found, tuple) else found
        return {"tuned_us": _microseconds(lambda: functional.linear(x, sparse)), "algorithm": str(found)}
    except Exception as error:  # noqa: BLE001
        return {"tuned_refused": f"{type(error).__name__}: {str(error).splitlines()[0][:160]}"}


def _microseconds(work: Callable[[], Any], repeats: int = 10, rounds: int = 5) -> float:
    """Median of a call, in a graph of several where they can be captured."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    try:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(repeats):
                work()
        launch: Callable[[], Any] = graph.replay
    except RuntimeError:
        torch.cuda.synchronize()

        def launch() -> None:
            for _ in range(repeats):
                work()

    times = []
    for _ in range(rounds):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        launch()
        end.record()
        torch.cuda.synchronize()
        times.append(1000 * begin.elapsed_time(end) / repeats)
    return statistics.median(times)


def _sums(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Each network's microseconds: dense, sparse where a kernel takes the shape, and the fastest by layer."""
    for network in dict.fromkeys(row["network"] for row in rows):
        mine = [row for row in rows if row["network"] == network]
        dense = sum(row["count"] * row["dense_us"] for row in mine)
        sums: dict[str, Any] = {"network": network, "dtype": mine[0]["dtype"], "sum": "products", "dense_us": dense}
        libraries = ("cusparselt_us", "tuned_us", "cutlass_us")
        names = [name for name in libraries if any(name in row for row in mine)]
        for name in names:
            sums[name] = sum(row["count"] * row.get(name, row["dense_us"]) for row in mine)
        best = sum(row["count"] * min(row[name] for name in ("dense_us", *names) if name in row) for row in mine)
        cudnn = [row for row in mine if "cudnn_us" in row]
        yield {
            **sums,
            "best_us": best,
            "dense_over_best": dense / best,
            "taken": f"{sum('cusparselt_us' in row for row in mine)} of {len(mine)} shapes",
            "cudnn_us": sum(row["count"] * row["cudnn_us"] for row in cudnn) if cudnn else None,
        }
