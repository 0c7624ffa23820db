"""A model with calibration data, seen as the sites in the order in which data reach them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.data import Dataset
from domino_onnx.graph import Bias, LinearUse, OnnxFile, linear_uses, stored_tensors
from domino_onnx.options import Device
from domino_onnx.outputs import Meanings, Survey
from domino_onnx.reconstruction.unfold import LinearView
from domino_onnx.runtime import Activations, SegmentRunner, affordable
from domino_onnx.scheme import Inventory, NamedArrays, Site, StoredNumbers, WeightKey

__all__ = ["Network", "ReachedSite", "SegmentStart"]

_POSITIONS_PER_FEATURE = 32
_MIN_POSITIONS = 16_384
_MAX_POSITIONS = 65_536


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ReachedSite:
    """A site that data reach: its weight as a matrix, and the intercept that a refit may set.

    `matrix` is (blocks, outputs, features) float64; `bias` (blocks, outputs) or None.
    """

    site: Site
    uses: tuple[LinearUse, ...]
    views: tuple[LinearView, ...]
    matrix: NDArray[np.float64]
    bias: NDArray[np.float64] | None

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
        values = {self.site.key: self.site.numbers.stored(self.views[0].from_matrix(matrix))}
        where = self.uses[0].bias
        if bias is not None and where is not None:
            values[where.key] = StoredNumbers(where.dtype).stored(bias).reshape(where.shape)
        return values


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SegmentStart:
    """One place on the way through the network: the use of a layer's weight that segment `segment` begins with."""

    segment: int
    reached: ReachedSite
    use: LinearUse
    view: LinearView


class Network:
    """What reconstruction and sensitivity walk through.

    Parameters
    ----------
    meanings
        What the model's outputs mean, where that is decided already.

    Attributes
    ----------
    starts
        In the graph's order.
    dense
        The file's values of all weights and biases that may change, by name.
    left_out
        Sites that data can't be gathered for, with the reason.

    Raises
    ------
    ModelError
        If ONNX Runtime can't run the model piece by piece.
    """

    def __init__(
        self,
        file: OnnxFile,
        inventory: Inventory,
        data: Dataset,
        *,
        batch_size: int = 32,
        device: Device = "cpu",
        threads: int = 0,
        seed: int = 0,
        meanings: Meanings | None = None,
    ) -> None:
        self.left_out: dict[WeightKey, str] = {}
        self.reached_sites: list[ReachedSite] = []
        self.dense: dict[str, NDArray[Any]] = {}
        tensors, uses = stored_tensors(file.proto), linear_uses(file, inventory)
        for site in inventory.sites:
            views = _views(site, uses.get(site.key, ()))
            if isinstance(views, str):
                self.left_out[site.key] = views
                continue
            bias = uses[site.key][0].bias if len(views) == 1 else None
            for key in (site.key, *(() if bias is None else (bias.key,))):
                self.dense[key.name] = file.array(tensors[key])
            self.reached_sites.append(_reached(site, uses[site.key], views, bias, self.dense))
        self.reached_sites.sort(key=lambda reached: reached.uses[0].index)
        places = sorted(
            (
                (use, view, reached)
                for reached in self.reached_sites
                for use, view in zip(reached.uses, reached.views, strict=True)
            ),
            key=lambda place: place[0].index,
        )
        self.starts = [
            SegmentStart(segment=number, reached=reached, use=use, view=view)
            for number, (use, view, reached) in enumerate(places, start=1)
        ]
        self._walk = SegmentRunner(
            file,
            [start.use.index for start in self.starts],
            self.dense,
            [start.use.output for start in self.starts],
            device=device,
            threads=threads,
        )
        self._data = data
        self._batch_size = batch_size
        self._seed = seed
        self._meanings = meanings
        self._outputs = [output.name for output in file.proto.graph.output]

    def begin(self) -> list[Activations]:
        """Live activations ahead of the first start: of as many batches, all over the data, as memory allows."""
        return [self._begin(place * self.batches // self.affordable) for place in range(self.affordable)]

    @property
    def samples(self) -> int:
        """How many samples the data have."""
        return self._data.count

    @property
    def batches(self) -> int:
        """How many batches the data have."""
        return self._data.batch_count(self._batch_size)

    @functools.cached_property
    def affordable(self) -> int:
        """How many batches can be carried through the dense and the pruned network at once.

        Two copies of what is live at the fullest start, of each batch, may take 40 % of the machine's memory.
        """
        live = self._begin(0)
        most = _size(live)
        for start in self.starts:
            live, _ = self.pass_start(start, live)
            most = max(most, _size(live))
        return affordable(self.batches, 2 * most)

    @functools.cached_property
    def meanings(self) -> Meanings:
        """What the model's outputs mean, decided from all samples."""
        if self._meanings is not None:
            return self._meanings
        step, labels = self._data.batch_size(self._batch_size), self._data.labels
        survey = Survey(self.batches)
        for place in range(self.batches):
            some = slice(place * step, min((place + 1) * step, self._data.count))
            outputs = self._dense_outputs(place)
            survey.add(outputs, some.stop - some.start, None if labels is None else labels[some])
        return survey.meanings()

    def _dense_outputs(self, place: int) -> Activations:
        live = self._begin(place)
        return self.finish(self.starts[0], live, {}) if self.starts else self.outputs(live)

    def _begin(self, place: int) -> Activations:
        batch = self._data.batch_at(place, self._batch_size)
        return self._walk.release(0, self._walk.run(0, batch, {}, self.dense))

    def pass_start(
        self, start: SegmentStart, live: Activations, changed: NamedArrays | None = None
    ) -> tuple[Activations, Activations]:
        """Run from one start to the next: what is live then, and all that was made, the output of its node too."""
        made = self._walk.run(start.segment, live, changed or {}, self.dense)
        return self._walk.release(start.segment, made), made

    def finish(self, start: SegmentStart, live: Activations, changed: NamedArrays) -> Activations:
        """Run from a start to the model's outputs."""
        for segment in range(start.segment, self._walk.count):
            live = self._walk.release(segment, self._walk.run(segment, live, changed, self.dense))
        return self.outputs(live)

    def outputs(self, live: Activations) -> Activations:
        """The model's outputs among what is live at the end."""
        return {name: live[name] for name in self._outputs if name in live}

    def positions(self, start: SegmentStart, output: NDArray[Any], batch: int, batches: int) -> NDArray[np.intp]:
        """Which positions of a batch to gather: all, or as many at random as the layer's features ask for."""
        count = start.view.positions(output)
        wanted = max(_MIN_POSITIONS, min(_POSITIONS_PER_FEATURE * start.view.features, _MAX_POSITIONS))
        return self.some_of(count, -(-wanted // batches), start, batch)

    def some_of(self, count: int, take: int, start: SegmentStart, batch: int) -> NDArray[np.intp]:
        """`take` of `count` places at random, ascending, or all; the same ones whenever a batch comes to this start."""
        if take >= count:
            return np.arange(count)
        generator = np.random.default_rng([self._seed, start.segment, batch, count])
        return np.sort(generator.choice(count, take, replace=False))


def _size(live: Activations) -> int:
    return sum(value.nbytes for value in live.values())


def _views(site: Site, uses: Sequence[LinearUse]) -> tuple[LinearView, ...] | str:
    """A site's uses as matrix products, or the reason why data can't be gathered for it."""
    if not uses:
        return "it is read inside a subgraph or a local function, or no input reaches it"
    if site.dtype == "bfloat16":
        return "its values are bfloat16, and ONNX Runtime hands out no such activations"
    try:
        views = tuple(LinearView(use) for use in uses)
    except ValueError as error:
        return f"its use as {error} can't be unfolded"
    if len({(view.blocks, view.outputs, view.features) for view in views}) > 1:
        return "the nodes that read it use it as different matrices"
    return views


def _reached(
    site: Site,
    uses: tuple[LinearUse, ...],
    views: tuple[LinearView, ...],
    bias: Bias | None,
    dense: NamedArrays,
) -> ReachedSite:
    view = views[0]
    vector = None if bias is None else dense[bias.key.name].astype(np.float64).reshape(view.blocks, view.outputs)
    matrix = view.to_matrix(site.numbers.floats(dense[site.key.name])).astype(np.float64)
    return ReachedSite(site=site, uses=uses, views=views, matrix=matrix, bias=vector)
