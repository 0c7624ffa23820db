"""A model with calibration data, seen as the sites in the order in which data reach them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.data import Dataset
from domino_onnx.graph import LinearUse, OnnxFile
from domino_onnx.options import Device
from domino_onnx.outputs import Meanings, Survey
from domino_onnx.reconstruction.needs import drops_sessions, positions_wanted, working_memory
from domino_onnx.reconstruction.reached import ReachedSite, reached_sites
from domino_onnx.reconstruction.unfold import LinearView
from domino_onnx.runtime import Activations, Carried, Room, Scratch, SegmentRunner, give_back_memory
from domino_onnx.scheme import Inventory, NamedArrays

__all__ = ["Network", "SegmentStart"]

_COPIES = 3
"""How often a batch's activations are there at once: in ONNX Runtime, padded or moved to be unfolded, and read back."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SegmentStart:
    """One place on the way through the network: the use of a layer's weight that segment `segment` begins with."""

    segment: int
    reached: ReachedSite
    use: LinearUse
    view: LinearView


@dataclasses.dataclass(frozen=True, slots=True)
class _LargestBatch:
    """What running the largest batch tells, the first of several.

    Attributes
    ----------
    largest
        Bytes of all that is live and made at once, where that is most.
    positions
        That are gathered, by the segment of the start.
    """

    largest: int
    positions: Mapping[int, int]


class Network:
    """What reconstruction and sensitivity walk through.

    Parameters
    ----------
    meanings
        What the model's outputs mean, where that is decided already.
    room
        Where activations of all batches are kept. By default in memory.

    Attributes
    ----------
    starts
        In the graph's order.
    reached_sites, left_out, dense
        As `ReachedSites` has them.

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
        room: Room | None = None,
    ) -> None:
        reached = reached_sites(file, inventory)
        self.reached_sites, self.left_out, self.dense = reached.sites, reached.left_out, reached.dense
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
        self._runs = data.runs(batch_size)
        self._seed = seed
        self._meanings = meanings
        self._room = room or Room()
        self._drops = drops_sessions(sum(reached.site.params for reached in self.reached_sites))
        self._outputs = [output.name for output in file.proto.graph.output]

    def scratch(self) -> Scratch:
        """A place for activations that leaves enough memory to run one batch, and to solve the largest site."""
        solving = max((self._working(start) for start in self.starts), default=0)
        return self._room.scratch(solving + _COPIES * self._largest_batch.largest)

    def begin(self, scratch: Scratch) -> Carried:
        """Live activations of all batches ahead of the first start.

        Raises
        ------
        ScratchError
            If they don't fit in memory, and can't be kept on the disk; as `Carried` does later on.
        """
        carried = Carried(scratch, self.batches)
        for place in range(self.batches):
            carried[place] = self._begin(place)
        return carried

    def dense_outputs(self, scratch: Scratch, batches: Sequence[int]) -> Carried:
        """The dense network's outputs of these batches."""
        carried = Carried(scratch, len(batches))
        for place, batch in enumerate(batches):
            carried[place] = self._dense_outputs(batch)
        return carried

    @property
    def samples(self) -> int:
        """How many samples the data have."""
        return self._data.count

    @property
    def batches(self) -> int:
        """How many batches the data have."""
        return len(self._runs)

    def positions_of_all(self, start: SegmentStart) -> int:
        """About how many positions of all batches are gathered at a start: as many of each as of the largest."""
        return self.batches * self._largest_batch.positions[start.segment]

    @functools.cached_property
    def _largest_batch(self) -> _LargestBatch:
        place = max(range(self.batches), key=lambda place: self._data.extent(self._runs[place]), default=0)
        live, largest, positions = self._begin(place), 0, {}
        for start in self.starts:
            live, made = self.pass_start(start, live)
            largest = max(largest, sum(array.nbytes for array in made.values()))
            positions[start.segment] = len(self.positions(start, made[start.use.output], place, self.batches))
            self.leave(start)
        return _LargestBatch(largest, positions)

    def _working(self, start: SegmentStart) -> int:
        positions = self.positions_of_all(start) * len(start.reached.uses)
        return working_memory(*start.reached.shape, positions, clipped=start.use.clipped is not None)

    @functools.cached_property
    def meanings(self) -> Meanings:
        """What the model's outputs mean, decided from all samples."""
        if self._meanings is not None:
            return self._meanings
        labels = self._data.labels
        survey = Survey(self.batches, batch_axes=self._data.batching.outputs)
        for place, run in enumerate(self._runs):
            survey.add(self._dense_outputs(place), len(run), None if labels is None else labels[run])
        return survey.meanings()

    def _dense_outputs(self, place: int) -> Activations:
        live = self._begin(place)
        return self.finish(self.starts[0], live, {}) if self.starts else self.outputs(live)

    def _begin(self, place: int) -> Activations:
        batch = self._data.take(self._runs[place])
        return self._walk.release(0, self._walk.run(0, batch, {}, self.dense))

    def pass_start(
        self, start: SegmentStart, live: Activations, changed: NamedArrays | None = None
    ) -> tuple[Activations, Activations]:
        """Run from one start to the next: what is live then, and all that was made, the output of its node too."""
        made = self._walk.run(start.segment, live, changed or {}, self.dense)
        return self._walk.release(start.segment, made), made

    def leave(self, start: SegmentStart) -> None:
        """Free what is over with a start that all batches have passed."""
        if self._drops:
            self._walk.forget_before(start.segment + 1)
        give_back_memory()

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
        return self.some_of(count, -(-positions_wanted(start.view.features) // batches), start, batch)

    def some_of(self, count: int, take: int, start: SegmentStart, batch: int) -> NDArray[np.intp]:
        """`take` of `count` places at random, ascending, or all; the same ones whenever a batch comes to this start."""
        if take >= count:
            return np.arange(count)
        generator = np.random.default_rng([self._seed, start.segment, batch, count])
        return np.sort(generator.choice(count, take, replace=False))
