"""Layer after layer in graph order: each is pruned and refitted on what the pruned network before it gives it.

The dense and the pruned network walk side by side. At each site the dense one says what is wanted, the pruned one what
there is to make it from; where a residual connection joins the layer's output, what went wrong before is part of what
is wanted, so that errors are mended instead of handed on.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.data.split import refit_judges
from domino_onnx.outputs import OutputDivergence
from domino_onnx.reconstruction.dense import dense_statistics
from domino_onnx.reconstruction.moments import finite_positions
from domino_onnx.reconstruction.needs import MAX_SAMPLE
from domino_onnx.reconstruction.network import Network, SegmentStart
from domino_onnx.reconstruction.positions import no_statistics
from domino_onnx.reconstruction.problems import dense_problems
from domino_onnx.reconstruction.reached import ReachedSite
from domino_onnx.reconstruction.refit import Gathered, Sample, Solution, prune_dense, prune_wanted
from domino_onnx.runtime import Activations, Held, HeldArrays
from domino_onnx.scheme import NMScheme, WeightKey
from domino_onnx.solve import MaskRule, choose_mask, one_blas_thread

__all__ = ["Reconstruction", "Scarcity", "reconstruct"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scarcity:
    """A layer that the data are too few for: least squares has fewer positions than each output has weights.

    `wanted` is how many samples would give as many.
    """

    name: str
    positions: int
    features: int
    wanted: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reconstruction:
    """New values of every pruned layer that a position of the data reaches.

    Attributes
    ----------
    values
        Weights and biases in their stored dtypes and shapes. Those that don't fit in memory are read when asked for.
    errors
        What each site loses of its output's energy on the calibration data, as a share.
    divergence
        Of the pruned network's outputs from the dense one's on the calibration data (`OutputDivergence`).
    scarcity
        Of the layer that wants most samples; None where every layer has enough.
    unreached
        Layers to be pruned that no position reaches: a second stage, where the first one finds nothing.
    """

    values: HeldArrays[WeightKey]
    errors: Mapping[WeightKey, float]
    divergence: float | None
    scarcity: Scarcity | None = None
    unreached: tuple[WeightKey, ...] = ()


@one_blas_thread
def reconstruct(
    network: Network,
    schemes: Mapping[WeightKey, NMScheme],
    rule: MaskRule = "admm",
    progress: Callable[[int, int, str], None] | None = None,
) -> Reconstruction:
    """Prune and refit every layer under its scheme.

    Parameters
    ----------
    rule
        How the weights that stay are chosen.
    progress
        Called after each layer with how many are done, of how many, and the layer's name.

    Raises
    ------
    ModelError
        If ONNX Runtime can't run a part of the model.
    """
    walk = _SideBySide(network, schemes, rule)
    for done, start in enumerate(network.starts, start=1):
        walk.step(start)
        network.leave(start)
        if progress is not None:
            progress(done, len(network.starts), start.reached.site.name)
    return walk.result()


class _SideBySide:
    """The live activations of the dense and of the pruned network, batch by batch."""

    def __init__(self, network: Network, schemes: Mapping[WeightKey, NMScheme], rule: MaskRule) -> None:
        self._network = network
        self._schemes = schemes
        self._rule: MaskRule = rule
        self._scratch = network.scratch()
        self._values: dict[WeightKey, Held] = {}
        self._errors: dict[WeightKey, float] = {}
        self._scarcity: Scarcity | None = None
        self._unreached: list[WeightKey] = []
        self._solve_shared()
        self._dense = network.begin(self._scratch)
        self._pruned = self._dense.some(range(len(self._dense)))

    def step(self, start: SegmentStart) -> None:
        """Pass one site with both networks, and solve it in between."""
        reached = start.reached
        scheme = self._schemes.get(reached.site.key)
        if scheme is None or scheme.is_dense or reached.shared:
            for batch, live in enumerate(self._dense):
                self._dense[batch], _ = self._network.pass_start(start, live)
        else:
            gathered = self._gather(start)
            if gathered.fitted.count:
                self._count(reached, gathered.fitted.count, start.view.features)
                self._keep(reached, prune_wanted(reached, gathered, scheme, self._rule, start.use.clipped))
            else:
                self._unreached.append(reached.site.key)
        changed = HeldArrays({key.name: held for key, held in self._values.items()})
        for batch in range(len(self._pruned)):
            if changed:
                self._pruned[batch], _ = self._network.pass_start(start, self._pruned[batch], changed)
            else:
                self._pruned.share(batch, self._dense)

    def result(self) -> Reconstruction:
        """Everything that was solved, and how far the outputs are apart now."""
        dense, pruned = (map(self._network.outputs, side) for side in (self._dense, self._pruned))
        divergence = OutputDivergence(self._network.meanings)
        measured = divergence(dense, pruned) if divergence.usable else None
        values = HeldArrays(self._values)
        return Reconstruction(
            values=values,
            errors=self._errors,
            divergence=measured,
            scarcity=self._scarcity,
            unreached=tuple(self._unreached),
        )

    def _solve_shared(self) -> None:
        """A weight that several nodes read is refitted once, on the dense network's inputs at all of them."""
        shared = [
            reached
            for reached in self._network.reached_sites
            if reached.shared and reached.site.key in self._schemes and not self._schemes[reached.site.key].is_dense
        ]
        if not shared:
            return
        keys = {reached.site.key for reached in shared}
        gathered = dense_statistics(self._network, lambda reached: reached.site.key in keys)
        for reached in shared:
            statistics, scheme = gathered[reached.site.key], self._schemes[reached.site.key]
            if not statistics.count:
                self._unreached.append(reached.site.key)
                continue
            parts = dense_problems(reached, statistics)
            choose = functools.partial(choose_mask, rule=self._rule)
            self._keep(reached, prune_dense(reached, parts, statistics, scheme, choose))

    def _count(self, reached: ReachedSite, positions: int, features: int) -> None:
        wanted = math.ceil(self._network.samples * features / max(positions, 1))
        most = self._network.samples if self._scarcity is None else self._scarcity.wanted
        if positions < features and wanted > most:
            name = str(reached.site.key)
            self._scarcity = Scarcity(name=name, positions=positions, features=features, wanted=wanted)

    def _keep(self, reached: ReachedSite, solution: Solution) -> None:
        stored = reached.stored(solution.matrix, solution.bias)
        self._values.update({key: self._scratch.hold(value) for key, value in stored.items()})
        self._errors[reached.site.key] = solution.error

    def _gather(self, start: SegmentStart) -> Gathered:
        """Pass the site with the dense network, and gather what is wanted of the pruned one."""
        batches = len(self._dense)
        positions = self._network.positions_of_all(start)
        fitted, held_out = (no_statistics(*start.reached.shape, positions) for _ in range(2))
        sample = _Gathering(batches)
        judges = refit_judges(batches)
        # Of a bias that an Add behind the node adds, before the sum is clipped.
        behind: np.float32 | NDArray[np.float32] = np.float32(0)
        if start.reached.bias is not None and not start.reached.adds_inside:
            behind = start.reached.bias[:, None].astype(np.float32)
        for batch, (features, wanted, joined) in enumerate(self._positions(start)):
            (held_out if batch in judges else fitted).add(features, wanted)
            if start.use.clipped is not None and joined is not None:
                some = self._network.some_of(features.shape[1], sample.most, start, batch)
                sample.add(*finite_positions(features[:, some], wanted[:, some], joined[:, some] + behind))
        if not fitted.count:  # the few batches that reach it are all among those to judge by
            fitted, held_out = held_out, fitted
        return Gathered(fitted=fitted, held_out=held_out if held_out.count else None, sample=sample.result())

    def _positions(self, start: SegmentStart) -> Iterator[tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]]:
        """Features, wanted outputs and what is joined to them, batch by batch; joined is None if not yet known."""
        subtracts = start.reached.bias is None and start.use.op != "MatMul"
        matrix = start.reached.matrix() if subtracts else None
        for batch, (dense, pruned) in enumerate(zip(self._dense, self._pruned, strict=True)):
            self._dense[batch], made = self._network.pass_start(start, dense)
            output = made[start.use.output]
            chosen = self._network.positions(start, output, batch, len(self._dense))
            data = pruned[start.use.data]
            if data.shape != dense[start.use.data].shape:  # as many boxes as were found: not the same positions
                data = dense[start.use.data]
            features, wanted = start.view.unfold(data, output, chosen)
            if matrix is not None:
                wanted = wanted - _intercept(start, matrix, dense, output, chosen)
            yield features, *self._with_joined(start, dense, pruned, output.shape, wanted, chosen)

    def _with_joined(
        self,
        start: SegmentStart,
        dense: Activations,
        pruned: Activations,
        shape: tuple[int, ...],
        wanted: NDArray[Any],
        chosen: NDArray[np.intp],
    ) -> tuple[NDArray[Any], NDArray[Any] | None]:
        name = start.use.joined
        if name is None:
            return wanted, np.zeros_like(wanted)
        if name not in dense or name not in pruned or dense[name].shape != shape:
            return wanted, None
        joined = start.view.at(pruned[name], chosen)
        return wanted + (start.view.at(dense[name], chosen) - joined), joined


def _intercept(
    start: SegmentStart,
    matrix: NDArray[np.float64],
    dense: Activations,
    output: NDArray[Any],
    chosen: NDArray[np.intp],
) -> NDArray[np.float32]:
    """(blocks, 1 or positions, outputs): what a node adds that no refit may change, read off the dense network.

    A Conv adds the same everywhere, so that a few positions tell it; a Gemm's C may have a row for each.
    """
    same = start.use.op != "Gemm"
    features, outputs = start.view.unfold(dense[start.use.data], output, chosen[:64] if same else chosen)
    if same:
        features, outputs = finite_positions(features, outputs)
    added = outputs - features.astype(np.float64) @ matrix.swapaxes(1, 2)
    constant: NDArray[np.float64] = added.mean(axis=1, keepdims=True) if same else added
    return constant.astype(np.float32)


class _Gathering:
    """Positions of a clipped layer from all batches, put together as they come."""

    def __init__(self, batches: int) -> None:
        self.most = -(-MAX_SAMPLE // batches)
        self._batches = batches
        self._parts: tuple[NDArray[np.float32], ...] = ()
        self._count = 0

    def add(self, *parts: NDArray[Any]) -> None:
        """Features, wanted and joined of some positions of a batch, `most` at most."""
        if not self._parts:
            room = self.most * self._batches
            self._parts = tuple(np.empty((len(part), room, part.shape[2]), np.float32) for part in parts)
        stop = self._count + parts[0].shape[1]
        for whole, part in zip(self._parts, parts, strict=True):
            whole[:, self._count : stop] = part
        self._count = stop

    def result(self) -> Sample | None:
        """All of them; None if there were none."""
        if not self._count:
            return None
        features, wanted, joined = (whole[:, : self._count] for whole in self._parts)
        return Sample(features=features, wanted=wanted, joined=joined)
