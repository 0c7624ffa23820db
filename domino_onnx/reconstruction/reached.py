"""Which weights do data reach, and as which matrices?"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from domino_onnx.graph import LinearUse, OnnxFile, linear_uses, stored_tensors
from domino_onnx.reconstruction.needs import outputs_at_once
from domino_onnx.reconstruction.unfold import LinearView
from domino_onnx.scheme import Inventory, NamedArrays, Site, StoredNumbers, WeightKey

__all__ = ["ReachedSite", "ReachedSites", "reached_sites"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ReachedSite:
    """A site that data reach: its weight as a matrix, and the intercept that a refit may set.

    Attributes
    ----------
    load
        Gives the stored weight.
    bias
        (blocks, outputs) float64, or None.
    """

    site: Site
    uses: tuple[LinearUse, ...]
    views: tuple[LinearView, ...]
    load: Callable[[], NDArray[Any]]
    bias: NDArray[np.float64] | None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Blocks, outputs and features of the matrix."""
        view = self.views[0]
        return view.blocks, view.outputs, view.features

    def rows(self) -> NDArray[np.floating]:
        """The dense weight, (blocks, outputs, features), in the dtype of its floats; read anew each time."""
        return self.views[0].to_matrix(self.site.numbers.floats(self.load()))

    def matrix(self) -> NDArray[np.float64]:
        """`rows` in float64, made anew each time: all of them wouldn't fit in memory."""
        return self.rows().astype(np.float64)

    @property
    def shared(self) -> bool:
        """Whether several nodes read the weight."""
        return len(self.uses) > 1

    @property
    def adds_inside(self) -> bool:
        """Whether the node itself adds the bias, so that its output has it already."""
        return self.uses[0].bias is not None and self.uses[0].bias.inside

    def stored(self, matrix: NDArray[np.floating], bias: NDArray[np.floating] | None) -> dict[WeightKey, NDArray[Any]]:
        """New values as they are stored, the bias with them where there is one."""
        values: dict[WeightKey, NDArray[Any]]
        values = {self.site.key: self._stored_weight(matrix)}
        where = self.uses[0].bias
        if bias is not None and where is not None:
            values[where.key] = StoredNumbers(where.dtype).stored(bias).reshape(where.shape)
        return values

    def _stored_weight(self, matrix: NDArray[np.floating]) -> NDArray[np.generic]:
        """In parts, where values are converted one by one: copies of the widest weight in float64 are large."""
        numbers, view = self.site.numbers, self.views[0]
        if numbers.scale is not None:
            return numbers.stored(view.from_matrix(matrix))
        rows, step = np.empty(matrix.shape, numbers.dtype), outputs_at_once(matrix.shape[2])
        for start in range(0, matrix.shape[1], step):
            rows[:, start : start + step] = numbers.stored(matrix[:, start : start + step])
        return view.from_matrix(rows)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ReachedSites:
    """The sites of an inventory, as far as data reach them.

    Attributes
    ----------
    sites
        In the graph's order.
    left_out
        Sites that data can't be gathered for, with the reason.
    dense
        The file's values of all weights and biases that may change, by name; each is read when it is asked for.
    """

    sites: tuple[ReachedSite, ...]
    left_out: Mapping[WeightKey, str]
    dense: NamedArrays


def reached_sites(file: OnnxFile, inventory: Inventory) -> ReachedSites:
    """Find the uses of each site, and what a refit may set with it."""
    sites: list[ReachedSite] = []
    left_out: dict[WeightKey, str] = {}
    changeable: dict[str, TensorProto] = {}
    tensors, uses = stored_tensors(file.proto), linear_uses(file, inventory)
    for site in inventory.sites:
        views = _views(site, uses.get(site.key, ()))
        if isinstance(views, str):
            left_out[site.key] = views
            continue
        bias = uses[site.key][0].bias if len(views) == 1 else None
        for key in (site.key, *(() if bias is None else (bias.key,))):
            changeable[key.name] = tensors[key]
        load = functools.partial(file.array, tensors[site.key])
        vector = None if bias is None else _as_vector(file.array(tensors[bias.key]), views[0])
        sites.append(ReachedSite(site=site, uses=uses[site.key], views=views, load=load, bias=vector))
    sites.sort(key=lambda reached: reached.uses[0].index)
    return ReachedSites(sites=tuple(sites), left_out=left_out, dense=_Stored(file, changeable))


def _views(site: Site, uses: Sequence[LinearUse]) -> tuple[LinearView, ...] | str:
    """A site's uses as matrix products, or the reason why data can't be gathered for it."""
    if not uses:
        return "it is read inside a subgraph or a local function, or no input reaches it"
    if site.dtype == "bfloat16":
        return "its values are bfloat16, and ONNX Runtime hands out no bfloat16 activations"
    try:
        views = tuple(LinearView(use) for use in uses)
    except ValueError as error:
        return f"its use as {error} can't be unfolded"
    if len({(view.blocks, view.outputs, view.features) for view in views}) > 1:
        return "the nodes that read it use it as different matrices"
    return views


def _as_vector(bias: NDArray[Any], view: LinearView) -> NDArray[np.float64]:
    return bias.astype(np.float64).reshape(view.blocks, view.outputs)


class _Stored(Mapping[str, NDArray[Any]]):
    """Tensors of a file, each read when it is asked for."""

    def __init__(self, file: OnnxFile, tensors: Mapping[str, TensorProto]) -> None:
        self._file = file
        self._tensors = tensors

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._file.array(self._tensors[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)
