"""Losses of every scheme of every site, against the model that ONNX Runtime runs with the refitted weight in place."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper

from domino_onnx.errors import ModelError
from domino_onnx.reconstruction import SensitivityOptions, measure_sensitivity, reconstruct
from domino_onnx.reconstruction.sensitivity import _interpolated
from domino_onnx.scheme import NMScheme, SchemePool, WeightKey
from domino_onnx.search import SiteLosses

Array = np.ndarray[Any, np.dtype[Any]]
Setup = Callable[..., Any]
Parsed = Callable[..., ModelProto]
POOL = SchemePool.fixed_m(8)
CHAIN = """g (float[n, 16] x) => (float[n, 5] y)
    { a = Gemm (x, w, b) r = Relu (a) d = Gemm (r, v, c) e = Tanh (d) y = Gemm (e, u) }"""
SHAPES = {"w": (16, 32), "b": (32,), "v": (32, 16), "c": (16,), "u": (16, 5)}


def inputs(samples: int = 256, width: int = 16) -> dict[str, Array]:
    rng = np.random.default_rng(1)
    mixing = rng.standard_normal((width // 2, width))
    x = rng.standard_normal((samples, width // 2)) @ mixing + 0.2 * rng.standard_normal((samples, width))
    return {"x": x.astype(np.float32)}


def never_falling(made: Any, table: Any) -> None:
    assert table.losses.keys() == {site.key for site in made.inventory.sites}
    for site in made.inventory.sites:
        losses = table.losses[site.key]
        assert len(losses) == len(site.schemes)
        assert losses[0] == 0
        assert all(before <= after for before, after in itertools.pairwise(losses))
        assert np.isfinite(losses).all()


@pytest.mark.parametrize("points", [0, 1, 2, 3])
def test_losses_never_fall(points: int, setup: Setup, parsed: Parsed) -> None:
    made = setup(parsed(CHAIN, **SHAPES), inputs(), pool=POOL)
    table = measure_sensitivity(made.network, made.inventory, made.load, SensitivityOptions(points=points))
    never_falling(made, table)
    assert all(losses[-1] > 0 for losses in table.losses.values())


@pytest.mark.parametrize("name", ["digits_resnet", "digits_transformer"])
def test_samples(name: str, samples: Path, setup: Setup) -> None:
    with np.load(samples / "digits_calibration.npz") as data:
        made = setup(samples / f"{name}.onnx", {"image": data["image"][:96]}, pool=POOL)
    done: list[int] = []
    table = measure_sensitivity(
        made.network, made.inventory, made.load, SensitivityOptions(rule="obs"), lambda at, *_: done.append(at)
    )
    never_falling(made, table)
    assert done == list(range(1, len(made.network.starts) + 1))


def test_what_is_interpolated_passes_through_what_is_measured(setup: Setup, parsed: Parsed) -> None:
    """Measured where fewer points are as well, both tables say the same; between, about the same."""
    made = setup(parsed(CHAIN, **SHAPES), inputs(), pool=POOL)
    few, every = (
        measure_sensitivity(made.network, made.inventory, made.load, SensitivityOptions(points=points, passes=1000))
        for points in (2, 0)
    )
    for site in made.inventory.sites:
        interpolated, measured = np.array(few.losses[site.key][1:]), np.array(every.losses[site.key][1:])
        assert interpolated[-1] == pytest.approx(measured[-1], rel=1e-6)  # the sparsest is always measured
        assert np.isclose(interpolated, measured, rtol=1e-6).sum() >= 2
        assert (np.abs(np.log(interpolated / measured)) < np.log(4)).all()


@pytest.mark.parametrize("measured", [(0.5, 0.1), (0.1, np.inf), (0.0, 0.0), (0.2, 0.2)])
def test_whatever_is_measured_losses_never_fall(measured: tuple[float, float]) -> None:
    """Noise may make a sparser scheme look better; a broken network is as bad as can be, but finite."""
    schemes = [NMScheme(8, 8), *(scheme for scheme in POOL.schemes if not scheme.is_dense)]
    energies = dict(zip(schemes[1:], (0.01, 0.1, 0.3), strict=True))
    losses = _interpolated(schemes, energies, {schemes[2]: measured[0], schemes[3]: measured[1]})
    assert losses[0] == 0
    assert all(before <= after for before, after in itertools.pairwise(losses))
    assert np.isfinite(losses).all()
    assert losses[2] == pytest.approx(max(measured[0], losses[1]), abs=1e-8)


def test_a_loss_is_that_of_the_model_with_the_site_pruned_alone(setup: Setup, parsed: Parsed) -> None:
    """Few batches, so that all are judged; pruned by another route, its weight is about as good."""
    made = setup(parsed(CHAIN, **SHAPES), inputs(96), pool=POOL)
    options = SensitivityOptions(points=0, passes=1000, admm_steps=30)
    table = measure_sensitivity(made.network, made.inventory, made.load, options)
    for site in made.inventory.sites:
        for scheme, loss in list(zip(site.schemes, table.losses[site.key], strict=True))[2:]:
            found = reconstruct(made.network, {site.key: scheme})
            assert loss == pytest.approx(made.divergence(found.values), rel=1.5, abs=1e-6)


def test_a_shared_weight_is_measured_in_all_places(setup: Setup, parsed: Parsed) -> None:
    graph = """g (float[n, 16] x) => (float[n, 5] y)
        { a = Gemm (x, w, b) r = Relu (a) d = Gemm (r, w, c) y = Gemm (d, u) }"""
    made = setup(parsed(graph, w=(16, 16), b=(16,), c=(16,), u=(16, 5)), inputs(96), pool=POOL)
    options = SensitivityOptions(points=0, passes=1000, admm_steps=30)
    table = measure_sensitivity(made.network, made.inventory, made.load, options)
    never_falling(made, table)
    sparsest = NMScheme(1, 8)
    found = reconstruct(made.network, {WeightKey("w"): sparsest})
    assert table.losses[WeightKey("w")][-1] == pytest.approx(made.divergence(found.values), rel=1e-2)


def test_a_site_without_statistics_gets_an_estimate(setup: Setup, parsed: Parsed) -> None:
    model = parsed("g (float[n, 16] x) => (float[n, 16] y) { a = Gemm (x, w, b) }", w=(16, 16), b=(16,), v=(16, 16))
    size = "{ s = Size (x) z = Constant <value = int64 {0}> () c = Greater (s, z) }"
    model.graph.node.extend(onnx.parser.parse_graph(f"g (float[n, 16] x) => (bool c) {size}").node)
    branches = {
        "then_branch": onnx.parser.parse_graph("t () => (float[n, 16] o) { o = MatMul (a, v) }"),
        "else_branch": onnx.parser.parse_graph("e () => (float[n, 16] o) { o = Identity (a) }"),
    }
    model.graph.node.append(helper.make_node("If", ["c"], ["y"], **branches))
    made = setup(model, inputs(), pool=POOL, check=False)
    assert made.network.left_out
    table = measure_sensitivity(made.network, made.inventory, made.load)
    never_falling(made, table)
    estimate, measured = (next(v for k, v in table.losses.items() if k.name == name) for name in "vw")
    assert 0.05 < estimate[-1] / measured[-1] < 20


def test_relative_errors_where_there_are_no_classes(setup: Setup, parsed: Parsed) -> None:
    graph = "g (float[n, 16] x) => (float[n, 1] y) { a = Gemm (x, w, b) r = Relu (a) y = MatMul (r, v) }"
    made = setup(parsed(graph, w=(16, 16), b=(16,), v=(16, 1)), inputs(), pool=POOL)
    table = measure_sensitivity(made.network, made.inventory, made.load)
    never_falling(made, table)


def test_the_same_twice(setup: Setup, parsed: Parsed) -> None:
    made = setup(parsed(CHAIN, **SHAPES), inputs(), pool=POOL)
    first, second = (measure_sensitivity(made.network, made.inventory, made.load) for _ in range(2))
    assert dict(first.losses) == dict(second.losses)


def test_what_is_known_is_not_measured_again(setup: Setup, parsed: Parsed) -> None:
    """Gone on from each state on the way, the table is the same, in the same order."""
    graph = """g (float[n, 16] x) => (float[n, 5] y)
        { a = Gemm (x, w, b) r = Relu (a) d = Gemm (r, w, c) e = Gemm (d, v) f = MatMul (e, s) g = MatMul (f, t)
          y = Gemm (g, u) }"""
    shapes = {"w": (16, 16), "b": (16,), "c": (16,), "v": (16, 16), "s": (16, 16), "t": (16, 16), "u": (16, 5)}
    made = setup(parsed(graph, **shapes), inputs(96), pool=POOL)
    states: list[dict[WeightKey, SiteLosses]] = []

    def measure(known: dict[WeightKey, SiteLosses]) -> list[tuple[WeightKey, tuple[float, ...]]]:
        table = measure_sensitivity(
            made.network, made.inventory, made.load, known=known, keep=lambda found: states.append(dict(found))
        )
        return list(table.losses.items())

    whole = measure({})
    on_the_way = [*states]
    assert [len(state) for state in on_the_way] == list(range(1, len(whole) + 1))
    gap = {key: value for key, value in on_the_way[-1].items() if key.name != "v"}
    for known in (*on_the_way, gap):
        states.clear()
        assert measure(known) == whole
        assert len(states) == len(whole) - len(known)


def test_what_cannot_be_measured_is_refused(setup: Setup, parsed: Parsed) -> None:
    vector = parsed("g (float[n, 8, 16] x) => (float[n, 8] y) { y = MatMul (x, w) }", w=(16,))
    made = setup(vector, {"x": np.ones((4, 8, 16), np.float32)}, pool=POOL)
    with pytest.raises(ModelError, match="reaches a weight"):
        measure_sensitivity(made.network, made.inventory, made.load)
    whole = parsed("g (float[n, 16] x) => (int64[n, 1] y) { a = MatMul (x, w) y = ArgMax <axis = 1> (a) }", w=(16, 8))
    made = setup(whole, inputs(), pool=POOL)
    with pytest.raises(ModelError, match="floating-point output"):
        measure_sensitivity(made.network, made.inventory, made.load)
