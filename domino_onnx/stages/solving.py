"""The stage that finds masks and weights for a plan: refitted where data reach a weight, by magnitude elsewhere."""

from __future__ import annotations

import dataclasses
import math
from collections import ChainMap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from domino_onnx.errors import DependencyError, ModelError
from domino_onnx.plurals import quantity, some_of
from domino_onnx.scheme import Plan, WeightArrays, WeightKey
from domino_onnx.solve import PrunedWeights
from domino_onnx.stages.laboratory import Laboratory

if TYPE_CHECKING:
    from domino_onnx.reconstruction import Network, Scarcity

__all__ = ["Solved", "Solver", "WeightArrays", "overlaid", "solve"]

Solver: TypeAlias = Literal["refit", "sparsegpt", "magnitude", "file"]
"""What really found masks and weights; ``"file"`` if a file had them."""


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

    weights: WeightArrays
    biases: WeightArrays = dataclasses.field(default_factory=dict)
    solver: Solver = "magnitude"
    errors: Mapping[WeightKey, float] = dataclasses.field(default_factory=dict)
    divergence: float | None = None

    @property
    def learned(self) -> bool:
        """Whether these weights were fitted to the data of this run."""
        return self.solver in ("refit", "sparsegpt")


def solve(lab: Laboratory, plan: Plan) -> Solved:
    """Masks and weights as the options ask for them; by magnitude, with a warning, where data can't be run."""
    plain = Solved(weights=PrunedWeights(plan.schemes, lab.aim.inventory.sites, lab.source.load))
    method = lab.options.solver.method
    if lab.source.split is None or method == "magnitude" or not plain.weights:
        return plain
    try:
        network = lab.network()
        unreached = plain.weights.keys() - {reached.site.key for reached in network.reached_sites}
        if len(unreached) == len(plain.weights):
            raise ModelError("data reach none of the weights to be pruned")
        with lab.journal.stage("refit"):
            return lab.run(lambda network: _on_data(lab, network, plan, plain))
    except (DependencyError, ModelError) as error:
        lab.journal.warn("masks go by magnitude, and weights are not refitted", error)
    return plain


def _on_data(lab: Laboratory, network: Network, plan: Plan, plain: Solved) -> Solved:
    from domino_onnx.reconstruction import prune_like_sparsegpt, reconstruct

    if lab.options.solver.method == "sparsegpt":
        updated = prune_like_sparsegpt(network, plan.schemes, lab.journal.progress)
        return Solved(weights=overlaid(plain.weights, updated), solver="sparsegpt")
    found = reconstruct(network, plan.schemes, lab.options.solver.masks, lab.journal.progress)
    if found.unreached:
        lab.journal.warn(f"the data reach no position of {some_of(found.unreached)}: those masks go by magnitude")
    if found.scarcity is not None:
        lab.journal.warn(_too_few(network.samples, found.scarcity))
    return Solved(
        weights=overlaid(plain.weights, found.values.only(plain.weights)),
        biases={key: found.values[key] for key in found.values if key not in plain.weights},
        solver="refit",
        errors=found.errors,
        divergence=found.divergence,
    )


def _too_few(samples: int, scarcity: Scarcity) -> str:
    wanted = math.ceil(scarcity.wanted / 10) * 10
    return (
        f"too few samples to refit {scarcity.name!r}: {samples:,} give {quantity(scarcity.positions, 'position')} for "
        f"{quantity(scarcity.features, 'weight')} of each output. About {wanted:,} samples would do"
    )


def overlaid(below: WeightArrays, above: WeightArrays) -> WeightArrays:
    """One mapping over another. Neither is asked for a value before it is needed."""
    return ChainMap(
        cast("dict[WeightKey, NDArray[np.generic]]", above), cast("dict[WeightKey, NDArray[np.generic]]", below)
    )
