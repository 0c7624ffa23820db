"""Schemes and convolutions for hypothesis to draw."""

from __future__ import annotations

import dataclasses

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

__all__ = ["Drawn", "drawn", "schemes", "some"]

schemes = st.integers(1, 6).flatmap(lambda power: st.tuples(st.integers(1, 2**power), st.just(2**power)))
some = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A convolution of one to three axes; `inputs` and `outputs` are those of one of its groups."""

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    pads: list[int]
    space: list[int]
    groups: int
    inputs: int
    outputs: int

    @property
    def axes(self) -> int:
        """Number of spatial axes."""
        return len(self.kernel)


def drawn(
    data: st.DataObject,
    m: int,
    *,
    most: int,
    most_padding: int,
    space: tuple[int, int, int],
    outputs: int,
) -> Drawn:
    """Draw one whose inputs are groups of m and whose kernel fits into its padded input.

    `most` limits kernel, strides and dilations; `space` the sides of inputs with one, two and three axes.
    """
    axes = data.draw(st.integers(1, 3))
    sizes = st.lists(st.integers(1, most), min_size=axes, max_size=axes)
    kernel, strides, dilations = data.draw(sizes), data.draw(sizes), data.draw(sizes)
    pads = data.draw(st.lists(st.integers(0, most_padding), min_size=2 * axes, max_size=2 * axes))
    least = [
        max(1, (size - 1) * step + 1 - before - after)
        for size, step, before, after in zip(kernel, dilations, pads[:axes], pads[axes:], strict=True)
    ]
    return Drawn(
        kernel=kernel,
        strides=strides,
        dilations=dilations,
        pads=pads,
        space=[data.draw(st.integers(side, max(side, space[axes - 1]))) for side in least],
        groups=data.draw(st.integers(1, 3)),
        inputs=m * data.draw(st.integers(1, 2)),
        outputs=data.draw(st.integers(1, outputs)),
    )
