"""Attention gives what its definition gives in float64, whatever its shapes, masks and orders of axes are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .nodes import Array, node_model, open_model, run_node

SIZES = st.integers(1, 40)
LEAST = np.finfo(np.float32).min


def reference(q: Array, k: Array, v: Array, mask: Array | None, scale: float) -> Array:
    """softmax(q k * scale + mask) v in float64; a query that all keys are hidden from gives NaN."""
    scores = q.astype(np.float64) @ k * scale + (0 if mask is None else mask)
    with np.errstate(invalid="ignore"):
        powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    result: Array = powers / powers.sum(axis=-1, keepdims=True) @ v
    return result


def moved(array: Array, order: tuple[int, ...]) -> Array:
    """The array that a Transpose with this order makes `array` of."""
    return np.ascontiguousarray(array.transpose(np.argsort(order)))


def close(found: Array, wanted: Array) -> None:
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6 * max(1.0, np.nanmax(np.abs(wanted), initial=0)))


@settings(max_examples=60, deadline=None)
@given(
    lead=st.sampled_from([(1, 1), (2, 3), (1, 4), (3, 1)]),
    sizes=st.tuples(SIZES, SIZES, SIZES, SIZES),
    masked=st.sampled_from([None, (0, 0, 1, 1), (1, 0, 0, 1), (1, 1, 1, 1), (0, 0, 0, 0), (0, 0, 1, 0)]),
    orders=st.tuples(*[st.permutations(range(4)).map(tuple)] * 3, st.permutations(range(3)).map(tuple)),
    shared=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_of_all_shapes_masks_and_orders(
    library: str,
    lead: tuple[int, int],
    sizes: tuple[int, int, int, int],
    masked: tuple[int, ...] | None,
    orders: tuple[tuple[int, ...], ...],
    shared: bool,
    seed: int,
) -> None:
    queries, keys, inputs, width = sizes
    generator = np.random.default_rng(seed)
    draw = lambda *shape: generator.normal(size=shape).astype(np.float32)  # noqa: E731
    few = (1, lead[1]) if shared else lead  # keys and values may belong to all images
    q, k, v = draw(*lead, queries, inputs), draw(*few, inputs, keys), draw(*few, keys, width)
    named = {"q": moved(q, orders[0]), "k": moved(k, orders[1]), "v": moved(v, orders[2])}
    mask = None
    if masked is not None:
        shape = [size if is_wide else 1 for size, is_wide in zip((*lead, queries, keys), masked, strict=True)]
        mask = np.where(generator.random(shape) < 0.4, LEAST, draw(*shape))
        named["m"] = mask
    y_order = (*orders[3], 3)
    attributes = {f"{name}_order": list(order) for name, order in zip("qkv", orders, strict=False)}
    model = node_model("NmAttention", list(named), {}, scale=0.3, y_order=list(y_order), **attributes)
    wanted = reference(q, k, v, mask, 0.3)
    close(run_node(library, model, named), wanted.transpose(y_order))


@pytest.mark.parametrize("shape", [(2, 6, 5), (12, 130, 33), (1, 300, 8), (3, 1, 64)])
def test_of_each_instruction_set(library: str, instruction_set: str, shape: tuple[int, int, int]) -> None:
    """Three axes, more queries than one task has, and large scores: all but the largest one count for nothing."""
    heads, tokens, width = shape
    generator = np.random.default_rng(1)
    q, k, v = (generator.normal(size=(heads, tokens, width)).astype(np.float32) for _ in range(3))
    model = node_model("NmAttention", ["q", "k", "v"], {}, scale=4.0, k_order=[0, 2, 1])
    found = open_model(model, library, threads=2).run(None, {"q": q, "k": k, "v": v})[0]
    scores = np.abs(q.astype(np.float64) @ k.transpose(0, 2, 1) * 4).max()
    wanted = reference(q, k.transpose(0, 2, 1), v, None, 4.0)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6 * (1 + scores))


def test_a_mask_may_have_more_images(library: str) -> None:
    generator = np.random.default_rng(3)
    q, k, v = (generator.normal(size=(1, 2, 8, 8)).astype(np.float32) for _ in range(3))
    mask = generator.normal(size=(3, 1, 8, 8)).astype(np.float32)
    model = node_model("NmAttention", ["q", "k", "v", "m"], {})
    close(run_node(library, model, {"q": q, "k": k, "v": v, "m": mask}), reference(q, k, v, mask, 1.0))


def test_hidden_keys_count_for_nothing(library: str, instruction_set: str) -> None:
    """A query that all keys are hidden from is NaN with minus infinity, and the mean with the least number."""
    generator = np.random.default_rng(2)
    q, k, v = (generator.normal(size=(1, 9, 9)).astype(np.float32) for _ in range(3))
    mask = np.zeros((9, 9), np.float32)
    mask[0, 1:] = -np.inf
    mask[1] = -np.inf
    mask[2] = LEAST
    model = node_model("NmAttention", ["q", "k", "v", "m"], {})
    found = run_node(library, model, {"q": q, "k": k, "v": v, "m": mask})[0]
    np.testing.assert_allclose(found[0], v[0, 0], atol=1e-6)
    assert np.isnan(found[1]).all()
    np.testing.assert_allclose(found[2], v[0].mean(axis=0), atol=1e-6)
    assert np.isfinite(found[3:]).all()


@pytest.mark.parametrize(
    ("shapes", "attributes", "said"),
    [
        ({"q": (1, 4, 8), "k": (1, 7, 5), "v": (1, 5, 8)}, {}, "don't fit each other"),
        ({"q": (1, 4, 8), "k": (1, 8, 5), "v": (1, 6, 8)}, {}, "don't fit each other"),
        ({"q": (2, 4, 8), "k": (3, 8, 5), "v": (3, 5, 8)}, {}, "different numbers of heads"),
        ({"q": (4, 8), "k": (8, 5), "v": (5, 8)}, {}, "3 or 4 axes"),
        ({"q": (1, 4, 8), "k": (1, 1, 8, 5), "v": (1, 5, 8)}, {}, "3 or 4 axes"),
        ({"q": (1, 4, 8), "k": (1, 8, 5), "v": (1, 5, 8), "m": (4, 6)}, {}, "mask doesn't fit"),
        ({"q": (1, 4, 8), "k": (1, 8, 5), "v": (1, 5, 8), "m": (1, 1, 4, 5)}, {}, "more axes than Q"),
        ({"q": (1, 4, 8), "k": (1, 8, 0), "v": (1, 0, 8)}, {}, "no keys"),
        ({"q": (1, 4, 8), "k": (1, 8, 5), "v": (1, 5, 8)}, {"y_order": [0, 1, 2, 3]}, "as many axes"),
        ({"q": (1, 4, 8), "k": (1, 8, 5), "v": (1, 5, 8)}, {"q_order": [0, 1, 1]}, "no order of axes"),
        ({"q": (1, 4, 8), "k": (1, 8, 5), "v": (1, 5, 8)}, {"y_order": [2, 1, 0]}, "moves the last axis"),
        ({"q": (1, 4, 8), "k": (1, 8, 5), "v": (1, 5, 8)}, {"scale": float("inf")}, "not finite"),
    ],
)
def test_what_contradicts_itself_is_refused(
    library: str, shapes: dict[str, tuple[int, ...]], attributes: dict[str, Any], said: str
) -> None:
    model = node_model("NmAttention", list(shapes), {}, **attributes)
    with pytest.raises(Exception, match=said):
        run_node(library, model, {name: np.zeros(shape, np.float32) for name, shape in shapes.items()})


def test_of_no_queries(library: str) -> None:
    arrays = {"q": np.zeros((1, 0, 8)), "k": np.zeros((1, 8, 5)), "v": np.zeros((1, 5, 3))}
    floats = {name: each.astype(np.float32) for name, each in arrays.items()}
    assert run_node(library, node_model("NmAttention", ["q", "k", "v"], {}), floats).shape == (1, 0, 3)
