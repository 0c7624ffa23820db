"""Whole networks pruned and refitted: values that obey, outputs that ONNX Runtime confirms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper

from domino_onnx.reconstruction import prune_like_sparsegpt, reconstruct
from domino_onnx.scheme import NMScheme, SchemePool, WeightKey
from domino_onnx.solve import obeys

Array = np.ndarray[Any, np.dtype[Any]]
Setup = Callable[..., Any]
Parsed = Callable[..., ModelProto]
HALF, QUARTER = NMScheme(2, 4), NMScheme(1, 4)


def mixed(samples: int, *shape: int, seed: int = 1, dtype: Any = np.float32) -> Array:
    """Inputs whose channels go together, so that those that stay can stand in for those that go."""
    rng = np.random.default_rng(seed)
    channels = shape[0]
    latent = rng.standard_normal((samples, *shape[1:], max(channels // 2, 1)))
    noise = 0.1 * rng.standard_normal((samples, *shape[1:], channels))
    return np.moveaxis(latent @ rng.standard_normal((latent.shape[-1], channels)) + noise, -1, 1).astype(dtype)


def checked(made: Any, schemes: dict[WeightKey, NMScheme], found: Any, *, rel: float = 1e-2) -> float:
    """Values obey their schemes, ONNX Runtime confirms the divergence; how much of magnitude masks' is left."""
    layouts = {site.key: site.layout for site in made.inventory.sites}
    for key, scheme in schemes.items():
        assert obeys(found.values[key], layouts[key], scheme)
        assert np.isfinite(found.values[key]).all()
        assert 0 <= found.errors[key] < 1
    assert made.divergence(found.values) == pytest.approx(found.divergence, rel=rel, abs=1e-6)
    return float(found.divergence / made.divergence(made.by_magnitude(schemes)))


@pytest.mark.parametrize(
    ("name", "scheme", "share"),
    [
        ("digits_resnet", NMScheme(2, 8), 0.01),
        ("digits_transformer", HALF, 0.05),
        ("digits_transformer", NMScheme(2, 8), 0.05),
    ],
)
def test_samples_lose_far_less_than_by_magnitude(
    name: str, scheme: NMScheme, share: float, samples: Path, setup: Setup
) -> None:
    with np.load(samples / "digits_calibration.npz") as data:
        images = data["image"][:96]
    made = setup(samples / f"{name}.onnx", {"image": images}, pool=SchemePool.of([scheme]), batch=16)
    schemes = made.everywhere(scheme)
    assert len(schemes) > 10
    done: list[tuple[int, int]] = []
    found = reconstruct(made.network, schemes, progress=lambda *step: done.append(step[:2]))
    assert checked(made, schemes, found) < share
    assert done == [(place + 1, len(made.network.starts)) for place in range(len(made.network.starts))]


def test_it_holds_on_data_that_nothing_was_fitted_to(samples: Path, setup: Setup) -> None:
    path = samples / "digits_transformer.onnx"
    with np.load(samples / "digits_calibration.npz") as data:
        made = setup(path, {"image": data["image"][:256]})
    with np.load(samples / "digits_evaluation.npz") as data:
        unseen = setup(path, {"image": data["image"]})
    schemes = made.everywhere(HALF)
    found = reconstruct(made.network, schemes)
    assert unseen.divergence(found.values) < 0.2 * unseen.divergence(unseen.by_magnitude(schemes))


@pytest.mark.parametrize("rule", ["magnitude", "activation", "obs", "admm"])
def test_every_rule(rule: Any, samples: Path, setup: Setup) -> None:
    with np.load(samples / "digits_calibration.npz") as data:
        made = setup(samples / "digits_transformer.onnx", {"image": data["image"][:64]})
    schemes = made.everywhere(HALF)
    assert checked(made, schemes, reconstruct(made.network, schemes, rule)) < 0.2


def test_the_same_seed_gives_the_same_bytes(samples: Path, small_digits: Path, setup: Setup) -> None:
    with np.load(samples / "digits_calibration.npz") as data:
        images = data["image"][:64]
    values = []
    for _ in range(2):
        made = setup(small_digits, {"image": images})
        values += [reconstruct(made.network, made.everywhere(HALF)).values for _ in range(2)]
    for other in values[1:]:
        assert [key for key, _ in other.items()] == [key for key, _ in values[0].items()]
        assert all(other[key].tobytes() == values[0][key].tobytes() for key in other)


CHAIN = """g (float[n, 16] x) => (float[n, 4] y)
    { a = Gemm (x, w, b) r = Relu (a) y = Gemm (r, v, c) }"""
CHAIN_SHAPES = {"w": (16, 16), "b": (16,), "v": (16, 4), "c": (4,)}


def test_dense_schemes_leave_everything(setup: Setup, parsed: Parsed) -> None:
    made = setup(parsed(CHAIN, **CHAIN_SHAPES), {"x": mixed(64, 16)})
    for schemes in ({}, made.everywhere(NMScheme(4, 4))):
        found = reconstruct(made.network, schemes)
        assert (dict(found.values), dict(found.errors), found.divergence) == ({}, {}, 0)
    only = reconstruct(made.network, {WeightKey("v"): HALF})
    assert {key.name for key in only.values} == {"v", "c"}


GRAPHS = {
    "gemms": (CHAIN, CHAIN_SHAPES),
    "no bias": (
        "g (float[n, 16] x) => (float[n, 4] y) { a = MatMul (x, w) r = Relu (a) y = MatMul (r, v) }",
        {"w": (16, 16), "v": (16, 4)},
    ),
    "a bias that others read": (
        """g (float[n, 16] x) => (float[n, 16] y)
        { a = Gemm (x, w, b) r = Relu (a) d = Gemm (r, v, b) y = Mul (d, b) }""",
        {"w": (16, 16), "v": (16, 16), "b": (16,)},
    ),
    "a bias behind": (
        """g (float[n, 16] x) => (float[n, 4] y)
        { a = MatMul (x, w) s = Add (a, b) r = Relu (s) d = MatMul (r, v) y = Add (d, c) }""",
        CHAIN_SHAPES,
    ),
    "biases behind the next layers": (
        """g (float[n, 16] x) => (float[n, 4] y)
        { p = MatMul (x, w) q = MatMul (x, v) s = Add (p, b) t = Add (q, c) r = Mul (s, t) y = MatMul (r, u) }""",
        {"w": (16, 16), "v": (16, 16), "b": (16,), "c": (1, 16), "u": (16, 4)},
    ),
    "alpha and beta": (
        """g (float[n, 16] x) => (float[n, 4] y)
        { a = Gemm <alpha = 0.5, beta = 2.0> (x, w, b) r = Relu (a) y = Gemm <alpha = 3.0> (r, v, c) }""",
        CHAIN_SHAPES,
    ),
    "what a Gemm adds comes from data": (
        "g (float[n, 16] x) => (float[n, 16] y) { a = Gemm (x, w, x) y = Gemm (a, v, a) }",
        {"w": (16, 16), "v": (16, 16)},
    ),
    "a residual block": (
        """g (float[n, 16] x) => (float[n, 4] y)
        { a = Gemm (x, w, b) r = Relu (a) d = Gemm (r, v, c) e = Add (d, x) f = Relu (e)
          h = MatMul (f, s) i = Add (h, t) j = Add (f, i) k = Relu (j) y = Gemm (k, u) }""",
        {"w": (16, 16), "b": (16,), "v": (16, 16), "c": (16,), "s": (16, 16), "t": (16,), "u": (16, 4)},
    ),
    "two branches that meet": (
        """g (float[n, 16] x) => (float[n, 4] y)
        { a = Gemm (x, w, b) d = Gemm (x, v, c) e = Add (a, d) f = Relu (e) y = Gemm (f, u) }""",
        {"w": (16, 16), "b": (16,), "v": (16, 16), "c": (16,), "u": (16, 4)},
    ),
    "weights on the left": (
        "g (float[n, 16, 8] x) => (float[n, 4, 8] y) { a = MatMul (w, x) r = Relu (a) y = MatMul (v, r) }",
        {"w": (16, 16), "v": (4, 16)},
    ),
    "stacked weights": (
        """g (float[n, 2, 8, 16] x) => (float[n, 2, 8, 4] y)
        { a = MatMul (x, w) s = Add (a, b) r = Relu (s) y = MatMul (r, v) }""",
        {"w": (2, 16, 16), "b": (16,), "v": (1, 2, 16, 4)},
    ),
    "convolutions": (
        """g (float[n, 8, 6, 6] x) => (float[n, 8, 6, 6] y)
        { a = Conv <pads = [1, 1, 1, 1]> (x, w, b) r = Clip (a, lo, hi) d = Conv <group = 2> (r, v, c) e = Add (d, x)
          f = Relu (e) y = ConvTranspose <pads = [1, 1, 1, 1]> (f, u) }""",
        {"w": (8, 8, 3, 3), "b": (8,), "v": (8, 4, 1, 1), "c": (8,), "u": (8, 8, 3, 3), "lo": (), "hi": ()},
    ),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_small_networks(name: str, setup: Setup, parsed: Parsed) -> None:
    graph, shapes = GRAPHS[name]
    vectors = {key: shape for key, shape in shapes.items() if shape}
    model = parsed(graph, **vectors)
    for bound in {"lo", "hi"} & shapes.keys():
        value = np.array(-0.2 if bound == "lo" else 1.0, np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, bound))
    dims = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim[1:]]
    made = setup(
        model, {"x": mixed(200, *dims[::-1]).swapaxes(1, -1) if len(dims) == 3 and dims[0] == 2 else mixed(200, *dims)}
    )
    schemes = made.everywhere(HALF)
    assert not made.network.left_out
    assert len(schemes) == len(made.inventory.sites) >= 2
    assert checked(made, schemes, reconstruct(made.network, schemes)) < 0.7


@pytest.mark.parametrize("relu", [True, False])
def test_a_bias_behind_is_as_good_as_one_inside(relu: bool, setup: Setup, parsed: Parsed) -> None:
    """The two networks are the same, and what clips the outputs clips them with the bias."""
    activation = "Relu" if relu else "Tanh"
    inside = f"{{ a = Gemm (x, w, b) r = {activation} (a) y = Gemm (r, v, c) }}"
    behind = f"{{ h = MatMul (x, w) a = Add (h, b) r = {activation} (a) y = Gemm (r, v, c) }}"
    found = []
    for body in (inside, behind):
        model = parsed(f"g (float[n, 16] x) => (float[n, 4] y) {body}", **CHAIN_SHAPES)
        for tensor in model.graph.initializer:
            if tensor.name == "b":
                tensor.CopyFrom(onnx.numpy_helper.from_array(np.linspace(-2, 2, 16, dtype=np.float32), "b"))
        made = setup(model, {"x": mixed(300, 16)})
        found.append(reconstruct(made.network, made.everywhere(QUARTER)).values)
    for key in found[0]:
        np.testing.assert_allclose(found[0][key], found[1][key], rtol=1e-3, atol=1e-4)


def test_a_bias_takes_up_the_means(setup: Setup, parsed: Parsed) -> None:
    """Inputs far from zero: without a new bias the outputs would be off by more than they vary."""
    made = setup(parsed(CHAIN, **CHAIN_SHAPES), {"x": mixed(300, 16) + np.float32(50)})
    found = reconstruct(made.network, made.everywhere(QUARTER))
    assert checked(made, made.everywhere(QUARTER), found) < 0.1


def test_what_is_clipped_anyway_is_not_fitted(setup: Setup, parsed: Parsed) -> None:
    """Behind a Relu only positive outputs matter; the same layer without one has to get all of them right."""
    graph = "g (float[n, 16] x) => (float[n, 1, 16] y) { a = Gemm (x, w, b) f = FUNCTION (a) y = Unsqueeze (f, one) }"
    values = []
    for function in ("Relu", "Identity"):
        model = parsed(graph.replace("FUNCTION", function), w=(16, 16), b=(16,))
        model.graph.initializer[1].CopyFrom(onnx.numpy_helper.from_array(np.linspace(-1, 0, 16, dtype=np.float32), "b"))
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1]), "one"))
        made = setup(model, {"x": mixed(400, 16)})
        values.append((made, reconstruct(made.network, made.everywhere(QUARTER)).values))
    made, clipped = values[0]
    assert made.divergence(clipped) < 0.98 * made.divergence(values[1][1])


def test_what_went_wrong_before_is_mended_behind_a_residual(setup: Setup, parsed: Parsed) -> None:
    """The second layer could stay as it is, but is refitted to what the first one did to the sum."""
    graph = """g (float[n, 16] x) => (float[n, 16] y)
        { d = Gemm (x, w, b) t = Tanh (x) h = Gemm (t, v, c) y = Add (h, d) }"""
    made = setup(parsed(graph, w=(16, 16), b=(16,), v=(16, 16), c=(16,)), {"x": mixed(300, 16)})
    first = {WeightKey("w"): QUARTER}
    alone = reconstruct(made.network, first).divergence
    assert WeightKey("v") not in reconstruct(made.network, first).values
    both = reconstruct(made.network, {**first, WeightKey("v"): NMScheme(2, 4)})
    by_itself = {**reconstruct(made.network, first).values, **reconstruct(made.network, {WeightKey("v"): HALF}).values}
    assert both.divergence < made.divergence(by_itself)
    assert alone > 0


def test_a_shared_weight_is_solved_for_all_that_read_it(setup: Setup, parsed: Parsed) -> None:
    graph = """g (float[n, 16] x) => (float[n, 4] y)
        { a = Gemm (x, w, b) r = Relu (a) d = Gemm (r, w, c) e = Tanh (d) y = MatMul (e, v) }"""
    shapes = {"w": (16, 16), "b": (16,), "c": (16,), "v": (16, 4)}
    made = setup(parsed(graph, **shapes), {"x": mixed(300, 16)})
    assert [start.reached.site.key.name for start in made.network.starts] == ["w", "w", "v"]
    schemes = made.everywhere(HALF)
    found = reconstruct(made.network, schemes)
    assert {key.name for key in found.values} == {"w", "v"}  # a bias of one of the readers can't be refitted with it
    assert checked(made, schemes, found) < 0.8
    assert not reconstruct(made.network, {WeightKey("v"): NMScheme(4, 4)}).values


def branching(parsed: Parsed) -> ModelProto:
    model = parsed("g (float[n, 16] x) => (float[n, 16] y) { a = Gemm (x, w, b) }", w=(16, 16), b=(16,), v=(16, 16))
    branch = "t () => (float[n, 16] o) { o = MatMul (a, v) }"
    other = "e () => (float[n, 16] o) { o = Identity (a) }"
    size = "{ s = Size (x) z = Constant <value = int64 {0}> () c = Greater (s, z) }"
    nodes = onnx.parser.parse_graph(f"g (float[n, 16] x) => (bool c) {size}").node
    model.graph.node.extend(nodes)
    branches = {"then_branch": onnx.parser.parse_graph(branch), "else_branch": onnx.parser.parse_graph(other)}
    model.graph.node.append(helper.make_node("If", ["c"], ["y"], **branches))
    return model


def test_a_weight_inside_a_branch_is_left_out_with_a_reason(setup: Setup, parsed: Parsed) -> None:
    made = setup(branching(parsed), {"x": mixed(100, 16)}, check=False)
    assert list(made.network.left_out) == [WeightKey("v")]
    assert "subgraph" in made.network.left_out[WeightKey("v")]
    found = reconstruct(made.network, made.everywhere(HALF))
    assert {key.name for key in found.values} == {"w", "b"}


def test_what_cannot_be_gathered_is_left_out_with_a_reason(setup: Setup, parsed: Parsed) -> None:
    vector = parsed("g (float[n, 8, 16] x) => (float[n, 8] y) { y = MatMul (x, w) }", w=(16,))
    made = setup(vector, {"x": mixed(20, 8, 16)})
    assert "vector" in made.network.left_out[WeightKey("w")]
    found = reconstruct(made.network, made.everywhere(HALF))  # nothing is left to stop at
    assert (found.values, found.divergence) == ({}, 0)
    stacked = """g (float[n, 8, 8] x) => (float[n, 8, 8] y)
        { a = Conv <pads = [1, 1]> (x, w) y = MatMul (a, v) z = MatMul (x, w) }"""
    unlike = parsed(stacked.replace("float[n, 8, 8] y)", "float[n, 8, 8] y, float[8, 8, 3] z)"), w=(8, 8, 3), v=(8, 8))
    made = setup(unlike, {"x": mixed(8, 8, 8)}, batch=8)
    assert "different matrices" in made.network.left_out[WeightKey("w")]


def test_half_precision(setup: Setup, parsed: Parsed) -> None:
    graph = CHAIN.replace("float[", "float16[")
    made = setup(parsed(graph, dtype=np.float16, **CHAIN_SHAPES), {"x": mixed(300, 16, dtype=np.float16)})
    schemes = made.everywhere(HALF)
    found = reconstruct(made.network, schemes)
    assert {value.dtype for value in found.values.values()} == {np.dtype(np.float16)}
    assert checked(made, schemes, found, rel=0.1) < 0.5


def test_double_precision(setup: Setup, parsed: Parsed) -> None:
    graph = CHAIN.replace("float[", "double[")
    made = setup(parsed(graph, dtype=np.float64, **CHAIN_SHAPES), {"x": mixed(300, 16, dtype=np.float64)})
    schemes = made.everywhere(HALF)
    found = reconstruct(made.network, schemes)
    assert {value.dtype for value in found.values.values()} == {np.dtype(np.float64)}
    assert checked(made, schemes, found) < 0.5


def test_inputs_that_are_always_zero(setup: Setup, parsed: Parsed) -> None:
    data = mixed(100, 16)
    data[:, 4:8] = 0
    for x in (data, np.zeros_like(data)):
        made = setup(parsed(CHAIN, **CHAIN_SHAPES), {"x": x})
        found = reconstruct(made.network, made.everywhere(HALF))
        assert all(np.isfinite(value).all() for value in found.values.values())
        assert found.divergence < 0.1


def test_one_sample_is_enough_to_run(setup: Setup, parsed: Parsed) -> None:
    made = setup(parsed(CHAIN, **CHAIN_SHAPES), {"x": mixed(1, 16)})
    assert reconstruct(made.network, made.everywhere(HALF)).divergence < 1e-3


def test_as_many_rows_as_the_data_say(setup: Setup, parsed: Parsed) -> None:
    """A pruned layer may find another number of boxes than the dense one: no two rows belong together then."""
    graph = """g (float[n, 16] x) => (float[m, 4] y)
        { a = Gemm (x, w, b) p = ReduceMax <axes = [1], keepdims = 0> (a) q = Greater (p, z)
          s = Compress <axis = 0> (a, q) y = Gemm (s, v, c) }"""
    model = parsed(graph, **CHAIN_SHAPES)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(2).reshape(()), "z"))
    data = np.random.default_rng(5).standard_normal((200, 16)).astype(np.float32)  # nothing stands in for what goes
    made = setup(model, {"x": data}, check=False)
    found = reconstruct(made.network, made.everywhere(QUARTER))
    assert len(made.outputs(found.values)["y"]) < len(made.outputs({})["y"])  # a place further on would be none at all
    assert all(np.isfinite(value).all() for value in found.values.values())
    assert found.divergence > 0.5


def test_sparsegpt_keeps_biases(setup: Setup, parsed: Parsed) -> None:
    made = setup(parsed(CHAIN, **CHAIN_SHAPES), {"x": mixed(300, 16)})
    schemes = made.everywhere(HALF)
    values = prune_like_sparsegpt(made.network, schemes)
    assert {key.name for key in values} == {"w", "v"}
    layouts = {site.key: site.layout for site in made.inventory.sites}
    assert all(obeys(values[key], layouts[key], HALF) for key in values)
    assert made.divergence(values) < made.divergence(made.by_magnitude(schemes))


@pytest.mark.parametrize(("samples", "scarce"), [(8, True), (64, False)])
def test_it_says_how_many_samples_a_layer_wants(samples: int, scarce: bool, setup: Setup, parsed: Parsed) -> None:
    """A row of 16 weights wants 16 samples of one position each."""
    rng = np.random.default_rng(0)
    model = parsed("g (float[n, 16] x) => (float[n, 4] y) { y = Gemm (x, w, b) }", w=(16, 4), b=(4,))
    made = setup(model, {"x": rng.standard_normal((samples, 16)).astype(np.float32)}, pool=SchemePool.fixed_m(8))
    found = reconstruct(made.network, made.everywhere(NMScheme(4, 8))).scarcity
    assert (found is not None) == scarce
    if found is not None:
        assert (found.name, found.positions, found.features, found.wanted) == ("w", 8, 16, 16)


TWO_STAGES = """g (float[n, 16] x) => (float[n, 4] y, float[k, 4] d)
    { h = Gemm (x, w, b) r = Relu (h) s = ReduceMean <axes = [1], keepdims = 0> (r) found = Greater (s, least)
      boxes = Compress <axis = 0> (r, found) d = Gemm (boxes, u, e) y = MatMul (r, v) }"""


def test_a_layer_that_no_position_reaches_is_left_out(setup: Setup, parsed: Parsed) -> None:
    """The second stage of a detector that finds nothing."""
    model = parsed(TWO_STAGES, w=(16, 16), b=(16,), u=(16, 4), e=(4,), v=(16, 4))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(1e6), "least"))
    made = setup(model, {"x": mixed(96, 16)})
    found = reconstruct(made.network, made.everywhere(HALF))
    assert found.unreached == (WeightKey("u"),)
    assert {key.name for key in found.values} == {"w", "b", "v"}
    assert prune_like_sparsegpt(made.network, made.everywhere(HALF)).keys() == {WeightKey("w"), WeightKey("v")}


def test_few_that_only_judging_batches_have_are_fitted_to(setup: Setup, parsed: Parsed) -> None:
    """Whichever batch the one box is in."""
    model = parsed(TWO_STAGES, w=(16, 16), b=(16,), u=(16, 4), e=(4,), v=(16, 4))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(100.0), "least"))
    for batch in range(6):
        x = mixed(96, 16)
        x[batch * 16] *= 1000
        found = reconstruct(setup(model, {"x": x}, batch=16).network, {WeightKey("u"): HALF})
        assert not found.unreached
        assert all(np.isfinite(value).all() for _, value in found.values.items())


def test_a_row_that_is_nan_changes_nothing(setup: Setup, parsed: Parsed) -> None:
    """As of a softmax whose row is masked wholly."""
    graph = """g (float[n, 16] x) => (float[n, 4] y)
        { h = Gemm (x, w, b) r = Sqrt (h) y = Gemm (r, v, c) }"""
    model = parsed(graph, w=(16, 16), b=(16,), v=(16, 4), c=(4,))
    model.graph.initializer[1].CopyFrom(onnx.numpy_helper.from_array(np.full(16, 40, np.float32), "b"))
    x = mixed(96, 16)
    x[5] = 1e3
    found = reconstruct(setup(model, {"x": x}).network, {WeightKey("v"): HALF})
    assert np.isfinite(found.values[WeightKey("v")]).all()
    assert 0 < found.errors[WeightKey("v")] < 0.5
