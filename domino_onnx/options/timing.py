"""How `benchmark` times models: no group of a recipe, since nothing is made."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from msgspec import Meta

from domino_onnx.codec import check_fields
from domino_onnx.errors import OptionError
from domino_onnx.options.threads import ThreadCount

__all__ = ["TimingOptions"]

_Samples = Annotated[int, Meta(ge=1)]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TimingOptions:
    """How models are timed side by side.

    Raises
    ------
    OptionError
        For a value that a field doesn't take.
    """

    threads: Annotated[
        tuple[ThreadCount, ...],
        Meta(min_length=1, description="Threads of ONNX Runtime; 0 lets it choose. Give it again for more rows."),
    ] = (1,)
    batch_sizes: Annotated[
        tuple[_Samples, ...],
        Meta(min_length=1, description="Samples in a run. Give it again for more rows."),
    ] = (1,)
    seconds: Annotated[
        float, Meta(gt=0, description="How long all models together are timed, for each row of the table.")
    ] = 5.0
    profile: Annotated[
        bool,
        Meta(description="Also tell what each operator takes and how much memory, in a process by itself."),
    ] = False

    def __post_init__(self) -> None:
        check_fields(self, OptionError)
