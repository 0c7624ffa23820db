"""Crops of photographs: of any size, of one part of one of them, and in other colours of the same light."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domino_onnx.synthesis import photographs
from domino_onnx.synthesis.photographs import crop, has_photographs, recoloured

image = pytest.importorskip("PIL.Image", reason="Pillow reads photographs")
needs_photographs = pytest.mark.skipif(not has_photographs(), reason="scikit-image and scikit-learn bring photographs")
ACROSS, DOWN = 240, 160


@pytest.fixture
def slope(monkeypatch: pytest.MonkeyPatch) -> None:
    """One photograph, whose red says how far to the right a pixel is, and whose green how far down."""
    pixels = np.zeros((DOWN, ACROSS, 3), np.uint8)
    pixels[:, :, 0], pixels[:, :, 1] = np.arange(ACROSS), np.arange(DOWN)[:, None]
    monkeypatch.setattr(photographs, "_photographs", lambda: (image.fromarray(pixels),))


@pytest.mark.parametrize(("height", "width"), [(16, 16), (12, 60), (50, 20), (300, 400)])
def test_a_part_is_a_window_in_about_the_wanted_shape(slope: None, height: int, width: int) -> None:
    seen = np.stack(
        [
            photographs._part(np.random.default_rng(each), photographs._photographs()[0], height, width)
            for each in range(60)
        ]
    )
    red, green = seen[:, 0], seen[:, 1]
    wide = (red[:, :, -2] - red[:, :, 1]).mean(axis=1) * width / (width - 3)
    high = (green[:, -2] - green[:, 1]).mean(axis=1) * height / (height - 3)
    assert (np.abs(red.std(axis=1)) < 2).all()  # a column of a window is a column of the photograph
    assert (wide <= ACROSS + 4).all()
    assert (high <= DOWN + 4).all()
    free = (wide < 0.9 * ACROSS) & (high < 0.9 * DOWN)
    stretch = (wide / high)[free] / (width / height)
    if height < DOWN:
        assert free.sum() > 20
        assert stretch.min() > 0.6
        assert stretch.max() < 1.7
    assert red.mean(axis=(1, 2)).std() > 5 or width > ACROSS  # not always the same part


@given(angle=st.floats(-10, 10), saturation=st.floats(0, 3), seed=st.integers(0, 99))
def test_other_colours_have_the_same_light(angle: float, saturation: float, seed: int) -> None:
    picture = np.random.default_rng(seed).uniform(0, 255, (3, 4, 5)).astype(np.float32)
    seen = recoloured(picture, angle, saturation)
    np.testing.assert_allclose(seen.mean(axis=0), picture.mean(axis=0), atol=0.01)
    amount = np.linalg.norm(picture - picture.mean(axis=0), axis=0)
    np.testing.assert_allclose(np.linalg.norm(seen - seen.mean(axis=0), axis=0), saturation * amount, atol=0.01)


def test_a_third_of_a_turn_gives_red_to_green() -> None:
    red = np.zeros((3, 1, 1), np.float32)
    red[0] = 90
    np.testing.assert_allclose(recoloured(red, 0, 1), red, atol=1e-4)
    turned = recoloured(red, 2 * np.pi / 3, 1)
    np.testing.assert_allclose(np.sort(turned.ravel()), [0, 0, 90], atol=1e-3)
    assert turned[0, 0, 0] == pytest.approx(0, abs=1e-3)


@needs_photographs
def test_a_seed_decides_a_crop_and_others_differ() -> None:
    first, again, other = (crop(np.random.default_rng(seed), 24, 24) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).mean() > 5


def test_without_the_packages_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photographs, "_PLACES", {"no_package_has_this_name": ("data/x.png",), "numpy": ("x.png",)})
    assert not has_photographs()
