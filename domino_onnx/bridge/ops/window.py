"""Where the windows of convolutions and poolings lie: strides, dilations, padding in its several forms."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

__all__ = ["Window", "pad_spatial"]

Ints = tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A sliding window, one entry a spatial axis; `begin` and `end` are the padding."""

    kernel: Ints
    strides: Ints
    dilations: Ints
    begin: Ints
    end: Ints

    @classmethod
    def resolve(
        cls,
        sizes: Sequence[int],
        kernel: Sequence[int],
        *,
        strides: Ints | None = None,
        dilations: Ints | None = None,
        pads: Ints | None = None,
        auto_pad: str = "NOTSET",
    ) -> Window:
        """Fill in defaults and the padding for an input of the spatial `sizes`."""
        rank = len(kernel)
        strides = tuple(strides or (1,) * rank)
        dilations = tuple(dilations or (1,) * rank)
        begin, end = (0,) * rank, (0,) * rank
        if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            totals = [
                max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
                for size, k, s, d in zip(sizes, kernel, strides, dilations, strict=True)
            ]
            less, more = tuple(total // 2 for total in totals), tuple(total - total // 2 for total in totals)
            begin, end = (less, more) if auto_pad == "SAME_UPPER" else (more, less)
        elif auto_pad == "NOTSET" and pads:
            begin, end = tuple(pads[:rank]), tuple(pads[rank:])
        return cls(kernel=tuple(kernel), strides=strides, dilations=dilations, begin=begin, end=end)

    @property
    def reach(self) -> Ints:
        """How many elements a window spans, holes included."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    def ceil_excess(self, sizes: Sequence[int]) -> Ints:
        """How far, rounding the number of windows up, the last window reaches beyond the padded input.

        A window that would start in the padding at the end is left out.
        """
        excess = []
        for size, s, reach, begin, end in zip(sizes, self.strides, self.reach, self.begin, self.end, strict=True):
            count = -(-(size + begin + end - reach) // s) + 1
            if (count - 1) * s >= size + begin:
                count -= 1
            excess.append(max((count - 1) * s + reach - (size + begin + end), 0))
        return tuple(excess)


def pad_spatial(x: Tensor, begin: Sequence[int], end: Sequence[int], value: float = 0.0) -> Tensor:
    """Pad (or crop, by negative amounts) the last axes of `x`; nothing is copied where nothing is padded."""
    if not any(begin) and not any(end):
        return x
    amounts = [n for pair in zip(reversed(begin), reversed(end), strict=True) for n in pair]
    return F.pad(x, amounts, value=value)
