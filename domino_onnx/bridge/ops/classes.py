"""Operators of ai.onnx.ml that classifiers of scikit-learn's converters have behind their scores."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from domino_onnx.bridge.registry import Family

__all__ = ["op"]

op = Family("ai.onnx.ml")


@op("ArrayFeatureExtractor")
def array_feature_extractor(x: Tensor, indices: Tensor) -> Tensor:
    """Take places of the last axis; of a vector as a row."""
    taken = x.index_select(-1, indices.reshape(-1).to(torch.int64))
    return taken[None] if x.dim() == 1 else taken


@op("ZipMap")
def zip_map(x: Tensor, *, classlabels_int64s: Sequence[int] = (), classlabels_strings: Sequence[str] = ()) -> Tensor:
    """The scores themselves, (samples, classes), in the order of the labels, in which ONNX Runtime hands out a map."""
    keys = [(label, b"") for label in classlabels_int64s] or [(0, label.encode()) for label in classlabels_strings]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return x.reshape(-1, len(keys)).index_select(1, torch.tensor(order, device=x.device))
