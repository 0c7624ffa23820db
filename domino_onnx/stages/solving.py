"""The stage that finds masks and weights for a plan: refitted on data where there are any, by magnitude else."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from domino_onnx.errors import ModelError
from domino_onnx.scheme import Plan, WeightKey
from domino_onnx.solve import PrunedWeights
from domino_onnx.stages.context import Run

if TYPE_CHECKING:
    from domino_onnx.reconstruction import Network

__all__ = ["Overlaid", "Solved", "Weights", "solve"]

Weights = Mapping[WeightKey, NDArray[np.generic]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Solved:
    """New values for a plan.

    Attributes
    ----------
    weights
        Of every site with a scheme that isn't dense, in the stored dtype and shape.
    biases
        New biases that go with them.
    solver
        What really found them.
    errors
        What each refitted site loses of its output's energy on the data, as a share.
    divergence
        How far the pruned network's outputs are from the dense one's on the data; None without a refit.
    """

    weights: Weights
    biases: Weights = dataclasses.field(default_factory=dict)
    solver: str = "magnitude"
    errors: Mapping[WeightKey, float] = dataclasses.field(default_factory=dict)
    divergence: float | None = None


def _masked_by_magnitude(run: Run, plan: Plan) -> Solved:
    """The weights of the plan's sites, masked by magnitude, each when it is asked for."""
    return Solved(weights=PrunedWeights(plan.schemes, run.inventory.sites, run.load))


def solve(run: Run, plan: Plan) -> Solved:
    """Masks and weights as the options ask for them; by magnitude with a warning where data can't be run."""
    plain = _masked_by_magnitude(run, plan)
    if run.data is None or run.options.solver == "magnitude" or not plain.weights:
        return plain

    consequence = "masks go by magnitude, and weights are not refitted"
    network = run.network(consequence)
    if network is None:
        return plain
    with run.stage("refit"):
        try:
            return _on_data(run, network, plan, plain)
        except ModelError as error:
            run.give_up_network(consequence, error)
    return plain


def _on_data(run: Run, network: Network, plan: Plan, plain: Solved) -> Solved:
    from domino_onnx.reconstruction import prune_like_sparsegpt, reconstruct

    if run.options.solver == "sparsegpt":
        updated = prune_like_sparsegpt(network, plan.schemes, run.progress)
        return Solved(weights=Overlaid(plain.weights, updated), solver="sparsegpt")
    found = reconstruct(network, plan.schemes, run.options.masks, run.progress)
    refitted = {key: value for key, value in found.values.items() if key in plain.weights}
    return Solved(
        weights=Overlaid(plain.weights, refitted),
        biases={key: value for key, value in found.values.items() if key not in plain.weights},
        solver="refit",
        errors=found.errors,
        divergence=found.divergence,
    )


class Overlaid(Mapping[WeightKey, NDArray[np.generic]]):
    """One mapping over another, without asking either for values before they are needed."""

    def __init__(self, below: Weights, above: Weights) -> None:
        self._below = below
        self._above = above

    def __getitem__(self, key: WeightKey) -> NDArray[np.generic]:
        return self._above[key] if key in self._above else self._below[key]

    def __iter__(self) -> Iterator[WeightKey]:
        yield from self._below
        yield from (key for key in self._above if key not in self._below)

    def __len__(self) -> int:
        return sum(1 for _ in self)
