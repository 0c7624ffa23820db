"""Networks with data, and what ONNX Runtime makes of a model whose weights have been replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from domino_onnx.data import Dataset
from domino_onnx.graph import OnnxFile, read_model, stored_tensors, take_inventory
from domino_onnx.outputs import OutputDivergence
from domino_onnx.reconstruction import Network
from domino_onnx.scheme import Inventory, NMScheme, SchemePool, WeightKey
from domino_onnx.solve import magnitude_mask

Array = np.ndarray[Any, np.dtype[Any]]
Weights = Mapping[WeightKey, Array]


class Setup:
    """A model with its inventory, data and network, and ways to look at it from outside."""

    def __init__(self, file: OnnxFile, data: Mapping[str, Array], pool: SchemePool, run: Any, batch: int) -> None:
        self.file = file
        self.inventory: Inventory = take_inventory(file, pool, {})
        self.data = Dataset(arrays=data, constant={}, labels=None)
        self.network = Network(file, self.inventory, self.data, batch_size=batch, threads=1)
        self._run = run

    def load(self, key: WeightKey) -> Array:
        return self.file.array(stored_tensors(self.file.proto)[key])

    def everywhere(self, scheme: NMScheme) -> dict[WeightKey, NMScheme]:
        return {site.key: scheme for site in self.inventory.sites if scheme in site.schemes}

    def by_magnitude(self, schemes: Mapping[WeightKey, NMScheme]) -> dict[WeightKey, Array]:
        layouts = {site.key: site.layout for site in self.inventory.sites}
        return {
            key: np.where(magnitude_mask(self.load(key), layouts[key], scheme), self.load(key), 0)
            for key, scheme in schemes.items()
        }

    def outputs(self, values: Weights) -> dict[str, Array]:
        """What ONNX Runtime gives on all data, the whole model at once, with these values in it."""
        model = ModelProto()
        model.CopyFrom(self.file.proto)
        stored = stored_tensors(model)
        for key, value in values.items():
            assert value.shape == tuple(stored[key].dims)
            assert value.dtype == onnx.helper.tensor_dtype_to_np_dtype(stored[key].data_type)
            stored[key].CopyFrom(numpy_helper.from_array(value, stored[key].name))
        names = [output.name for output in model.graph.output]
        return dict(zip(names, self._run(model, self.data.arrays), strict=True))

    def divergence(self, values: Weights) -> float:
        return OutputDivergence(self.network.meanings)([self.outputs({})], [self.outputs(values)])


@pytest.fixture
def setup(save: Callable[..., Path], run_ort: Callable[..., list[Array]]) -> Callable[..., Setup]:
    """`setup(model, data)`: a model (or its path) with arrays by input name."""

    def make(
        model: ModelProto | Path,
        data: Mapping[str, Array],
        *,
        pool: SchemePool | None = None,
        batch: int = 32,
        check: bool = True,
    ) -> Setup:
        path = model if isinstance(model, Path) else save(model, check=check)
        return Setup(read_model(path), data, pool or SchemePool.fixed_m(4), run_ort, batch)

    return make


@pytest.fixture
def parsed() -> Callable[..., ModelProto]:
    """`parsed(graph, w=(8, 4))`: a model from text, with random initializers of these shapes."""

    def parse(graph: str, *, opset: int = 17, dtype: Any = np.float32, **shapes: tuple[int, ...]) -> ModelProto:
        model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> {graph}')
        rng = np.random.default_rng(0)
        for name, shape in shapes.items():
            scale = 1 / np.sqrt(shape[0]) if len(shape) == 2 else 1 / np.sqrt(np.prod(shape[1:]))
            values = (rng.standard_normal(shape) * scale).astype(dtype)
            model.graph.initializer.append(numpy_helper.from_array(values, name))
        return model

    return parse
