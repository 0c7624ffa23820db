"""The stage that permutes channels, so that N:M groups can keep more; the model's function stays what it was."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from domino_onnx.errors import DependencyError, DominoError, ModelError
from domino_onnx.graph import ChannelGroup, channel_groups, permuted_values, replaced
from domino_onnx.scheme import NMScheme, Site, WeightKey
from domino_onnx.solve import PermutationConsumer, find_permutation
from domino_onnx.stages.context import Run

__all__ = ["permute"]

_TOLERANCE = 1e-3
_Load = Callable[[WeightKey], NDArray[np.generic]]


def permute(run: Run) -> None:
    """Permute the channels of all groups that gain by it, and go on with that model if ONNX Runtime finds it equal.

    The saliency is w^2, and the scheme of each site the one of its pool that comes next to the budgets' reduction,
    since the plan isn't known yet.
    """
    if run.file.has_external_data:
        run.warn("channels are not permuted: the model's weights lie in an external data file")
        return
    with run.stage("permute"):
        values = _permuted(run)
        if not values:
            return
        try:
            worst = _difference(run, values)
        except (DependencyError, ModelError) as error:
            run.warn(f"channels are not permuted, since nothing can prove the result equal: {error}")
            return
        if worst > _TOLERANCE:
            run.warn(f"channels are not permuted: the outputs would differ by {worst:.2g} of their size")
            return
        run.change(values)


def _permuted(run: Run) -> dict[WeightKey, NDArray[np.generic]]:
    """New values of every tensor that a permutation moves, group after group."""
    sites = {site.key: site for site in run.inventory.sites}
    groups = channel_groups(run.file.proto)
    values: dict[WeightKey, NDArray[np.generic]] = {}

    def load(key: WeightKey) -> NDArray[np.generic]:
        return values[key] if key in values else run.load(key)

    for done, group in enumerate(groups, start=1):
        consumers = _consumers(run, group, sites, load)
        if consumers:
            permutation = find_permutation(consumers, group.size, seed=run.options.seed)
            values.update(permuted_values(load, [(group, permutation)]))  # of nothing, where nothing better was found
        run.progress(done, len(groups), f"{group.size} channels")
    return values


def _consumers(run: Run, group: ChannelGroup, sites: dict[WeightKey, Site], load: _Load) -> list[PermutationConsumer]:
    return [
        PermutationConsumer(
            saliency=sites[member.key].layout.to_rows(load(member.key).astype(np.float32) ** 2),
            scheme=_likely_scheme(run, sites[member.key]),
            places=member.places,
        )
        for member in group.consumers
        if member.key in sites
    ]


def _likely_scheme(run: Run, site: Site) -> NMScheme:
    wanted = 1 - max((budget.reduction for budget in run.options.budgets), default=0.5)
    sparse = [scheme for scheme in site.schemes if not scheme.is_dense]
    return min(sparse, key=lambda scheme: abs(float(scheme.density) - wanted))


def _difference(run: Run, values: dict[WeightKey, NDArray[np.generic]]) -> float:
    """The largest difference of an output element, relative to the output's largest element."""
    from domino_onnx.data import input_specs
    from domino_onnx.evaluate import random_inputs
    from domino_onnx.runtime import Session

    if run.data is not None:
        inputs = run.data.take(np.arange(run.data.batch_size(4)))
    else:
        inputs = random_inputs(input_specs(run.file.proto), run.shapes, run.options.seed)
    before = Session(run.file.path, threads=run.options.threads).run(inputs)
    after = Session(replaced(run.file.proto, values).SerializeToString(), threads=run.options.threads).run(inputs)
    worst = 0.0
    for name, expected in before.items():
        if not isinstance(expected, np.ndarray) or expected.dtype.kind != "f" or not expected.size:
            continue
        if after[name].shape != expected.shape:
            raise DominoError(f"output {name!r} changed its shape")
        scale = float(np.abs(expected).max()) or 1.0
        worst = max(worst, float(np.abs(after[name] - expected).max()) / scale)
    return worst
