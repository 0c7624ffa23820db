"""How many samples run at once on a device whose memory may be too small for a batch."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from domino_onnx.bridge.gpu import is_out_of_memory
from domino_onnx.errors import LESS_MEMORY, DeviceMemoryError
from domino_onnx.plurals import quantity

__all__ = ["Portions"]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class Portions:
    """So many samples as fit at once: half as many from then on, each time that memory runs out.

    Gradients of the parts of a batch add up to those of the batch, so training goes on as it would have.

    Parameters
    ----------
    unit
        The fewest samples that the model runs on.
    """

    def __init__(self, unit: int) -> None:
        self._unit = unit
        self._most: int | None = None

    def fitted(self, work: Callable[[int], _T], size: int, undo: Callable[[], None] | None = None) -> _T:
        """What `work` gives when it runs so many samples at once as fit, up to `size`.

        Parameters
        ----------
        undo
            Called after a try that failed, before the next one.

        Raises
        ------
        DeviceMemoryError
            If not even the fewest fit.
        """
        while True:
            most = size if self._most is None else min(size, self._most)
            try:
                return work(most)
            except DeviceMemoryError:
                if most <= self._unit:
                    raise
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if most <= self._unit:
                    raise DeviceMemoryError(
                        f"the GPU's memory is full, even with {quantity(most, 'sample')} at once. {LESS_MEMORY}"
                    ) from None
            self._most = max(most // 2, self._unit)
            _log.warning("the GPU's memory is full with %d samples at once: going on with %d", most, self._most)
            if undo is not None:
                undo()
            torch.cuda.empty_cache()
