"""Layers with more features than positions: the same results as from second moments, without the large matrix."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from domino_onnx.reconstruction import measure_sensitivity, needs, positions, prune_like_sparsegpt, reconstruct
from domino_onnx.reconstruction.moments import Moments
from domino_onnx.reconstruction.positions import Positions, no_statistics, together
from domino_onnx.scheme import NMScheme, SchemePool

Array = np.ndarray[Any, np.dtype[Any]]
Setup = Callable[..., Any]
Parsed = Callable[..., ModelProto]
SCHEME = NMScheme(2, 8)
WIDE = """g (float[n, 512] x) => (float[n, 8] y)
    { a = Gemm <transB = 1> (x, w, b) r = Relu (a) y = MatMul (r, v) }"""
SHAPES = {"w": (24, 512), "b": (24,), "v": (24, 8)}


def inputs(samples: int = 96) -> Array:
    rng = np.random.default_rng(0)
    mixed = rng.standard_normal((samples, 100)) @ rng.standard_normal((100, 512)) / 10
    return (mixed + 0.3).astype(np.float32)


@pytest.mark.parametrize(("features", "count", "form"), [(2048, 1024, Positions), (2048, 1025, Moments)])
def test_which_form(features: int, count: int, form: type) -> None:
    assert isinstance(no_statistics(1, 2, features, count), form)
    assert isinstance(no_statistics(1, 2, features - 1, count), Moments)


def test_sums_of_both_forms() -> None:
    rng = np.random.default_rng(0)
    few, moments = Positions.empty(2, 3, 6), Moments.empty(2, 3, 6)
    for count in (5, 7):
        features, wanted = rng.standard_normal((2, count, 6)), rng.standard_normal((2, count, 3))
        few, moments = (together(each, each.empty(2, 3, 6)) for each in (few, moments))  # type: ignore[assignment]
        few.add(features, wanted)
        moments.add(features, wanted)
    assert few.count == moments.count == 12
    for name in ("x", "y", "yy"):
        np.testing.assert_allclose(getattr(few, name), getattr(moments, name), rtol=1e-5)
    np.testing.assert_allclose(few.features(1).T @ few.features(1), moments.xx[1], rtol=1e-5, atol=1e-5)
    with pytest.raises(TypeError):
        together(few, moments)


@pytest.mark.parametrize("batch", [16, 96])
def test_a_wide_layer_comes_out_the_same(
    batch: int, setup: Setup, parsed: Parsed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With held-out batches and without; clipped by the Relu, in one go or some outputs after the others."""
    model, data = parsed(WIDE, **SHAPES), {"x": inputs()}
    found, losses = [], []
    for few, at_once in ((False, 1 << 22), (True, 1 << 22), (True, 5 * 512)):
        monkeypatch.setattr(positions, "are_few", lambda count, features, few=few: few and features == 512)
        monkeypatch.setattr(needs, "_WEIGHTS_AT_ONCE", at_once)
        made = setup(model, data, pool=SchemePool.of([SCHEME]), batch=batch)
        schemes = made.everywhere(SCHEME)
        found.append(reconstruct(made.network, schemes))
        losses.append(measure_sensitivity(made.network, made.inventory, made.load).losses)
        assert made.divergence(found[-1].values) == pytest.approx(found[-1].divergence, rel=1e-2, abs=1e-6)
        assert found[-1].divergence < 0.5 * made.divergence(made.by_magnitude(schemes))
    for other, loss in zip(found[1:], losses[1:], strict=True):
        assert other.divergence == pytest.approx(found[0].divergence, rel=0.1)
        for key in schemes:
            if batch == 96:  # with held-out batches, dampings that are about as good differ in what they fit
                assert other.errors[key] == pytest.approx(found[0].errors[key], rel=0.1)
            assert loss[key] == pytest.approx(losses[0][key], rel=0.15)


def test_the_large_matrix_is_never_made(setup: Setup, parsed: Parsed) -> None:
    """Of 4,096 features it would take 128 MiB."""
    text = "g (float[n, 4096] x) => (float[n, 8] y) { y = Gemm (x, w, b) }"
    rng = np.random.default_rng(0)
    data = {"x": rng.standard_normal((16, 4096)).astype(np.float32)}
    made = setup(parsed(text, w=(4096, 8), b=(8,)), data, pool=SchemePool.of([SCHEME]))
    tracemalloc.start()
    reconstruct(made.network, made.everywhere(SCHEME))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 << 20


def test_sparsegpt_still_has_its_matrix(setup: Setup, parsed: Parsed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(positions, "are_few", lambda *_: True)
    made = setup(parsed(WIDE, **SHAPES), {"x": inputs(32)}, pool=SchemePool.of([SCHEME]))
    values = prune_like_sparsegpt(made.network, made.everywhere(SCHEME))
    assert all(np.isfinite(value).all() for value in values.values())
