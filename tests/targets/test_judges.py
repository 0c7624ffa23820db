"""NVIDIA's own tools on what is written for the target; parser and ahead-of-time builder need no GPU."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

Run = Callable[..., Any]
MODELS = ["digits_resnet.onnx", "digits_transformer.onnx"]


@pytest.fixture
def _builder() -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")


def pruned(domino: Run, samples: Path, tmp_path: Path, name: str, sparsity: float, *more: str) -> Path:
    output = tmp_path / "out.onnx"
    ran = domino("compress", samples / name, "--sparsity", str(sparsity), "--target", "tensorrt", *more, "-o", output)
    assert ran.code == 0, ran.err
    return output


@pytest.mark.usefixtures("_builder")
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("sparsity", [0.5, 0.875])
def test_tensorrt_rtx_parses_and_builds(name: str, sparsity: float, domino: Run, samples: Path, tmp_path: Path) -> None:
    build(pruned(domino, samples, tmp_path, name, sparsity))


@pytest.mark.usefixtures("_builder")
@pytest.mark.parametrize("name", MODELS)
def test_tensorrt_rtx_computes_in_half_precision(name: str, domino: Run, samples: Path, tmp_path: Path) -> None:
    products = [
        kind
        for layer, kind in build(pruned(domino, samples, tmp_path, name, 0.5, "--precision", "fp16"))
        if layer in ("CONVOLUTION", "MATRIX_MULTIPLY")
    ]
    assert set(products) == {"HALF"}


def build(path: Path) -> list[tuple[str, str]]:
    """Build an engine of a file with sparse weights; kind and output type of each layer that the parser made."""
    import tensorrt_rtx as trt

    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    assert parser.parse_from_file(str(path)), [parser.get_error(place).desc() for place in range(parser.num_errors)]
    config = builder.create_builder_config()
    config.set_flag(trt.BuilderFlag.SPARSE_WEIGHTS)
    profile = builder.create_optimization_profile()
    for place in range(network.num_inputs):
        tensor = network.get_input(place)
        if -1 in tuple(tensor.shape):
            shape = [max(length, 1) for length in tensor.shape]
            profile.set_shape(tensor.name, shape, shape, shape)
    config.add_optimization_profile(profile)
    assert builder.build_serialized_network(network, config) is not None
    layers = [network.get_layer(place) for place in range(network.num_layers)]
    return [(layer.type.name, layer.get_output(0).dtype.name) for layer in layers]


@pytest.mark.parametrize("name", MODELS)
def test_polygraphy_finds_the_same_weights_sparse(name: str, domino: Run, samples: Path, tmp_path: Path) -> None:
    pytest.importorskip("polygraphy", reason="Polygraphy is not installed")
    path = pruned(domino, samples, tmp_path, name, 0.7)
    program = [str(Path(sys.executable).with_name("polygraphy")), "inspect", "sparsity", str(path)]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    theirs = {
        name: not non for non, name in re.findall(r"Found (non-)?sparse tensor: (\S+)", done.stdout + done.stderr)
    }
    ours = json.loads(domino("doctor", path, "--json").out)["weights"]
    assert {weight["weight"]: weight["legal"] for weight in ours}.items() <= theirs.items()
    metadata = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    for claim in json.loads(metadata["domino_onnx.manifest"])["weights"]:
        assert theirs[claim["name"]], claim["name"]
