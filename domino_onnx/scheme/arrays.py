"""What arrays go by in the whole package: a name, or the weight that they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from domino_onnx.scheme.key import WeightKey

__all__ = ["NamedArrays", "WeightArrays"]

NamedArrays: TypeAlias = Mapping[str, NDArray[Any]]
"""Arrays by name: inputs, outputs, and what a checkpoint keeps."""
WeightArrays: TypeAlias = Mapping[WeightKey, NDArray[np.generic]]
"""Values of stored tensors, each in its stored dtype and shape."""
