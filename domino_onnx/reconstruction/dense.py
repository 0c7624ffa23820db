"""Statistics of the dense network, and what SparseGPT makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.reconstruction.moments import Moments
from domino_onnx.reconstruction.network import Network
from domino_onnx.reconstruction.problem import dense_problems
from domino_onnx.reconstruction.reached import ReachedSite
from domino_onnx.scheme import NMScheme, WeightKey
from domino_onnx.solve import one_blas_thread, sparsegpt

__all__ = ["dense_moments", "prune_like_sparsegpt"]


def dense_moments(
    network: Network, wanted: Callable[[ReachedSite], bool], progress: Callable[[int, int, str], None] | None = None
) -> dict[WeightKey, Moments]:
    """Second moments of some layers' inputs in the dense network, over all their uses."""
    moments: dict[WeightKey, Moments] = {}
    batches = network.begin(network.scratch())
    for done, start in enumerate(network.starts, start=1):
        for batch, live in enumerate(batches):
            batches[batch], made = network.pass_start(start, live)
            if wanted(start.reached):
                output = made[start.use.output]
                chosen = network.positions(start, output, batch, len(batches))
                key = start.reached.site.key
                if key not in moments:
                    moments[key] = Moments.empty(start.view.blocks, start.view.outputs, start.view.features)
                moments[key].add(*start.view.unfold(live[start.use.data], output, chosen))
        network.leave(start)
        if progress is not None:
            progress(done, len(network.starts), start.reached.site.name)
    return moments


@one_blas_thread
def prune_like_sparsegpt(
    network: Network,
    schemes: Mapping[WeightKey, NMScheme],
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[WeightKey, NDArray[Any]]:
    """Masks and updates of SparseGPT (Frantar and Alistarh 2023), all layers on the dense network's inputs.

    A baseline to compare with: biases stay, and nothing makes up for the layers before.

    Raises
    ------
    ModelError
        If ONNX Runtime can't run a part of the model.
    """
    sparse = {key for key, scheme in schemes.items() if not scheme.is_dense}
    gathered = dense_moments(network, lambda reached: reached.site.key in sparse, progress)
    values: dict[WeightKey, NDArray[Any]] = {}
    for reached in network.reached_sites:
        moments = gathered.get(reached.site.key)
        if moments is None:
            continue
        problems = dense_problems(reached, moments, centred=False)
        matrix = np.stack([sparsegpt(problem, schemes[reached.site.key]) for problem in problems])
        values.update(reached.stored(matrix, None))
    return values
