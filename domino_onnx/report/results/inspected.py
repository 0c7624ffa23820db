"""What is in a model, and what a runtime will make of its weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from domino_onnx.forecast import Forecast
from domino_onnx.graph import OnnxFile
from domino_onnx.report.text import printable
from domino_onnx.scheme import Inventory, Manifest, Skip
from domino_onnx.targets import BuildLog, Diagnosis

if TYPE_CHECKING:
    from domino_onnx.bridge import Readiness  # which needs torch; a report doesn't

__all__ = ["DoctorResult", "InspectResult", "OperatorShare", "Port"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """An input or an output of a model. `axes` are sizes and names, ``?`` for neither; None if any number fits."""

    name: str
    dtype: str
    axes: tuple[str, ...] | None

    def __str__(self) -> str:
        shape = "any shape" if self.axes is None else " x ".join(self.axes) or "one number"
        return printable(f"{self.name} ({self.dtype}: {shape})", 120)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OperatorShare:
    """What one kind of operator has of a model's files: bytes, their share, and the share in weights to prune."""

    op: str
    nbytes: int
    share: float
    prunable: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class InspectResult:
    """A model's inventory, the file it was taken of, and whether it can be finetuned where that was asked.

    Attributes
    ----------
    inputs, outputs
        As the model declares them.
    shares
        What the files are made of, the largest share first.
    is_deployed
        Whether the file was written for the CPU, so that operators of our own hold more weights than are listed.
    forecast, forecast_samples
        What a default run with so many samples would cost; None where shapes are unknown, or nothing can be pruned.
    """

    file: OnnxFile
    inventory: Inventory
    manifest: Manifest | None
    is_deployed: bool
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    shares: tuple[OperatorShare, ...]
    forecast: Forecast | None
    forecast_samples: int
    bridge: Readiness | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DoctorResult:
    """What a runtime will make of a model's weights.

    Attributes
    ----------
    skips
        Weights that can't be judged, with the reasons.
    log
        What the builder really did, where its log was given.
    """

    model: Path
    diagnoses: tuple[Diagnosis, ...]
    skips: tuple[Skip, ...]
    log: BuildLog | None

    @property
    def passes(self) -> bool:
        """Whether some weight can run with sparse kernels, and none that was pruned misses it for its groups."""
        states = [diagnosis.state for diagnosis in self.diagnoses]
        return "broken" not in states and "legal" in states
