"""Statistics of the dense network, and what SparseGPT makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.reconstruction.network import Network
from domino_onnx.reconstruction.positions import Statistics, no_statistics
from domino_onnx.reconstruction.problems import dense_problems
from domino_onnx.reconstruction.reached import ReachedSite
from domino_onnx.scheme import NMScheme, WeightKey
from domino_onnx.solve import one_blas_thread, sparsegpt

__all__ = ["dense_statistics", "prune_like_sparsegpt"]


def dense_statistics(
    network: Network, wanted: Callable[[ReachedSite], bool], progress: Callable[[int, int, str], None] | None = None
) -> dict[WeightKey, Statistics]:
    """What is gathered of some layers' inputs in the dense network, over all their uses."""
    gathered: dict[WeightKey, Statistics] = {}
    batches = network.begin(network.scratch())
    for done, start in enumerate(network.starts, start=1):
        for batch, live in enumerate(batches):
            batches[batch], made = network.pass_start(start, live)
            if wanted(start.reached):
                output = made[start.use.output]
                chosen = network.positions(start, output, batch, len(batches))
                key, uses = start.reached.site.key, len(start.reached.uses)
                if key not in gathered:
                    gathered[key] = no_statistics(*start.reached.shape, len(chosen) * len(batches) * uses)
                gathered[key].add(*start.view.unfold(live[start.use.data], output, chosen))
        network.leave(start)
        if progress is not None:
            progress(done, len(network.starts), start.reached.site.name)
    return gathered


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
    gathered = dense_statistics(network, lambda reached: reached.site.key in sparse, progress)
    values: dict[WeightKey, NDArray[Any]] = {}
    for reached in network.reached_sites:
        statistics = gathered.get(reached.site.key)
        if statistics is None or not statistics.count:
            continue
        matrix = np.empty(reached.shape)
        for part in dense_problems(reached, statistics, centred=False):
            matrix[part.block, part.outputs] = sparsegpt(part.problem, schemes[reached.site.key])
        values.update(reached.stored(matrix, None))
    return values
