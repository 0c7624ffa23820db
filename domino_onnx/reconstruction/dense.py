"""Statistics of the dense network, and what SparseGPT makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.reconstruction.moments import Moments
from domino_onnx.reconstruction.network import Layer, Network
from domino_onnx.reconstruction.problem import dense_problems
from domino_onnx.scheme import NMScheme, WeightKey
from domino_onnx.solve import one_blas_thread, sparsegpt

__all__ = ["dense_moments", "prune_like_sparsegpt"]


def dense_moments(
    network: Network, wanted: Callable[[Layer], bool], progress: Callable[[int, int, str], None] | None = None
) -> dict[WeightKey, Moments]:
    """Second moments of some layers' inputs in the dense network, over all their uses."""
    moments: dict[WeightKey, Moments] = {}
    batches = network.begin()
    for done, stop in enumerate(network.stops, start=1):
        for batch, live in enumerate(batches):
            batches[batch], made = network.pass_stop(stop, live)
            if wanted(stop.layer):
                output = made[stop.use.output]
                chosen = network.positions(stop, output, batch, len(batches))
                key = stop.layer.site.key
                if key not in moments:
                    moments[key] = Moments.empty(stop.view.blocks, stop.view.outputs, stop.view.features)
                moments[key].add(*stop.view.unfold(live[stop.use.data], output, chosen))
        if progress is not None:
            progress(done, len(network.stops), stop.layer.site.name)
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
    gathered = dense_moments(network, lambda layer: layer.site.key in sparse, progress)
    values: dict[WeightKey, NDArray[Any]] = {}
    for layer in network.layers:
        moments = gathered.get(layer.site.key)
        if moments is None:
            continue
        problems = dense_problems(layer, moments, centred=False)
        matrix = np.stack([sparsegpt(problem, schemes[layer.site.key]) for problem in problems])
        values.update(layer.stored(matrix, None))
    return values
