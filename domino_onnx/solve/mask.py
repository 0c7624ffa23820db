"""Masks: which weights of each group are kept."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from domino_onnx.scheme import NMScheme, WeightLayout

__all__ = ["keep_largest", "magnitude_mask", "obeys"]


def keep_largest(groups: NDArray[np.floating], n: int) -> NDArray[np.bool_]:
    """True at the `n` largest entries of each row of `groups`, exactly `n` a row.

    Of equal entries the one further left is kept, always: the sort is stable. `groups` is (rows, m) and holds no NaN.
    """
    order = np.argsort(-groups, axis=1, kind="stable")
    kept = np.zeros(groups.shape, dtype=np.bool_)
    np.put_along_axis(kept, order[:, :n], True, axis=1)
    return kept


def magnitude_mask(weight: NDArray[np.generic], layout: WeightLayout, scheme: NMScheme) -> NDArray[np.bool_]:
    """Keep the N largest magnitudes of every M consecutive weights along the reduction axis.

    Parameters
    ----------
    weight
        Any float dtype, in the stored shape; compared in its own precision (bfloat16 through float32, which is exact).

    Returns
    -------
    Boolean mask in the stored shape, exactly N True in each group; ties keep the weight further left.
    """
    groups: NDArray[np.floating] = layout.to_groups(np.abs(comparable(weight)), scheme.m)
    return layout.from_rows(keep_largest(groups, scheme.n).reshape(layout.rows, layout.reduction))


def obeys(weight: NDArray[np.generic], layout: WeightLayout, scheme: NMScheme) -> bool:
    """Whether every group holds at most N non-zeros; -0.0 is zero."""
    return bool((np.count_nonzero(layout.to_groups(weight != 0, scheme.m), axis=1) <= scheme.n).all())


def comparable(weight: NDArray[np.generic]) -> NDArray[np.floating]:
    """`weight` in a type that numpy sorts: itself, or float32 for the half types."""
    if weight.dtype == np.float64:
        return weight.astype(np.float64, copy=False)
    return weight.astype(np.float32, copy=False)
