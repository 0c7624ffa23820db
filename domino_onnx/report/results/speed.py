"""How fast models run: what was deployed, and what was timed side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from domino_onnx.runtime import Profile

__all__ = ["BenchmarkResult", "BenchmarkRow", "DeployPrecision", "DeployResult", "DeployedLayer"]

DeployPrecision = Literal["auto", "float32", "int8"]
"""What deployed layers may compute in: float32, exact up to rounding, or int8 as well, where that is faster; auto takes
int8 where the outputs stay close, too."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DeployedLayer:
    """A product with a stored weight: seconds of each kind by itself, the kind that was chosen, and why.

    Kinds are `dense`, `float32`, `int8`, and `quantized` for the integers and grids that the file itself has.

    Attributes
    ----------
    skips
        Whether it has zeros to skip. Others are deployed for what their neighbours gain.
    """

    name: str
    op: str
    shape: tuple[int, ...]
    zeros: float
    skips: bool
    seconds: Mapping[str, float]
    chosen: str
    reason: str

    @property
    def times(self) -> tuple[float | None, float | None, float | None]:
        """Seconds dense, in float32 and in 8 bits, those of the file or others; None for what there isn't."""
        in_bytes = self.seconds.get("quantized", self.seconds.get("int8"))
        return self.seconds.get("dense"), self.seconds.get("float32"), in_bytes


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DeployResult:
    """A file that was written for the CPU.

    Attributes
    ----------
    threads
        With which all was timed; 0 for as many as ONNX Runtime takes.
    kept
        Name, operator and reason of products that stay with ONNX Runtime.
    dense, deployed
        Seconds of a run of the model that was read, and of the one that was written, run in turns: of the processor
        with one thread, else of the wall clock.
    error
        The largest difference of its outputs from those of the model that was read, run without optimisation on
        those inputs, as a share of an output's largest value; None where no output holds a finite float.
    error_of_read
        The same of the model that was read, run with optimisation; None where it holds no activation in 8 bits.
    divergence, judges
        How far the outputs of both are apart (`OutputDivergence`), and on how many samples: nothing was calibrated on
        these. None where no layer has 8 bits, or nothing judged them.
    activations, attentions
        How many became one operator each: activations that no layer took, and attention with its softmax.
    bits
        What became of 8 bits, in words.
    """

    model: Path
    output: Path
    threads: int
    precision: DeployPrecision
    layers: tuple[DeployedLayer, ...]
    kept: tuple[tuple[str, str, str], ...]
    dense: float
    deployed: float
    error: float | None
    error_of_read: float | None
    divergence: float | None
    judges: int
    activations: int
    attentions: int
    bits: str
    nbytes: int
    warnings: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkRow:
    """A model with a number of threads and a batch: seconds of a run (median and quartiles), and of the first load.

    `profile` tells of its operators and its memory, where that was asked for.
    """

    model: Path
    threads: int
    batch: int
    median: float
    low: float
    high: float
    rounds: int
    load: float
    speedup: float
    profile: Profile | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkResult:
    """Models side by side; `speedup` of each row is over the first model with the same threads and batch."""

    rows: tuple[BenchmarkRow, ...]
    warnings: tuple[str, ...]
