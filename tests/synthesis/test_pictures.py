"""Drawn pictures against the formulas that they follow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domino_onnx.synthesis.leaves import draw_leaves, leaf_sizes
from domino_onnx.synthesis.outlines import draw_outlines
from domino_onnx.synthesis.photographs import has_photographs
from domino_onnx.synthesis.pictures import LAW, Motif, develop, draw_picture
from domino_onnx.synthesis.spectra import power_law_noise, smoothed
from domino_onnx.synthesis.text_lines import has_font

needs_photographs = pytest.mark.skipif(not has_photographs(), reason="there are no photographs to crop")
needs_font = pytest.mark.skipif(not has_font(), reason="Pillow isn't installed, or draws no fonts")


def _slope(fields: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> float:
    """The slope of log amplitude over log frequency, of the mean power of rows of a square field."""
    power = np.mean(np.abs(np.fft.rfft2(fields)) ** 2, axis=0)
    size = fields.shape[-1]
    distance = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    used = (distance > 2 / size) & (distance < 0.5)
    return float(np.polyfit(np.log(distance[used]), np.log(power[used]) / 2, 1)[0])


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 1.6])
def test_noise_falls_with_frequency_as_it_should(exponent: float) -> None:
    fields = power_law_noise(np.random.default_rng(0), 40, (64, 64), exponent)
    assert _slope(fields) == pytest.approx(-exponent, abs=0.03)


@pytest.mark.parametrize("shape", [(50,), (20, 31), (8, 9, 10)])
def test_noise_has_mean_0_and_deviation_1(shape: tuple[int, ...]) -> None:
    fields = power_law_noise(np.random.default_rng(1), 3, shape, 1.0).reshape(3, -1)
    np.testing.assert_allclose(fields.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(fields.std(axis=1), 1, rtol=1e-4)


def test_leaf_sizes_follow_the_inverse_cube() -> None:
    """The share of radii above r is (r^-2 - b^-2) / (a^-2 - b^-2) for a density of r^-3 from a to b."""
    smallest, largest = 0.02, 1.0
    radii = leaf_sizes(np.random.default_rng(2), 200_000, smallest, largest)
    assert smallest <= radii.min() <= radii.max() <= largest
    for radius in (0.03, 0.05, 0.1, 0.3):
        wanted = (radius**-2 - largest**-2) / (smallest**-2 - largest**-2)
        assert np.mean(radii > radius) == pytest.approx(wanted, rel=0.1)


def test_smoothing_leaves_a_gaussian_of_that_width() -> None:
    point = np.zeros((1, 41, 41), np.float32)
    point[0, 20, 20] = 1
    places = np.arange(41) - 20
    line = np.exp(-0.5 * (places / 2.0) ** 2)
    np.testing.assert_allclose(smoothed(point, 2.0)[0], np.outer(line, line) / line.sum() ** 2, atol=1e-4)


def test_outlines_cover_no_more_than_their_windows_and_soften_their_borders() -> None:
    radii = np.full(60, 12.0)
    for outline in draw_outlines(np.random.default_rng(3), radii, 40, 50):
        covered = outline.coverage()
        rows, columns = outline.window
        assert covered.shape == (max(rows.stop - rows.start, 0), max(columns.stop - columns.start, 0))
        assert 0 <= covered.min(initial=0) <= covered.max(initial=1) <= 1
        inner = rows.start > 0 and rows.stop < 40 and columns.start > 0 and columns.stop < 50
        if inner:  # a leaf that lies wholly inside leaves its window's border free
            edge = np.concatenate([covered[0], covered[-1], covered[:, 0], covered[:, -1]])
            assert edge.max() < 0.6


@pytest.mark.parametrize(
    ("motif", "heights", "widths"),
    [
        ("shapes", (8, 40), (8, 40)),
        pytest.param("photographs", (1, 90), (1, 90), marks=needs_photographs),
        pytest.param("text", (1, 96), (1, 400), marks=needs_font),
    ],
)
@given(data=st.data())
def test_pictures_have_any_size_and_lie_between_0_and_255(
    motif: Motif, heights: tuple[int, int], widths: tuple[int, int], data: st.DataObject
) -> None:
    seed, height, width = (data.draw(st.integers(*ends)) for ends in ((0, 1000), heights, widths))
    channels = data.draw(st.sampled_from([1, 3, 4]))
    picture = draw_picture(np.random.default_rng(seed), height, width, channels, motif)
    assert picture.shape == (channels, height, width)
    assert picture.dtype == np.float32
    assert 0 <= picture.min() <= picture.max() <= 255


def test_pictures_differ_and_have_edges() -> None:
    """Light and dark cover much of the range over many pictures, and neighbours are alike within one."""
    pictures = [
        develop(np.random.default_rng([0, place]), draw_leaves(np.random.default_rng([1, place]), 32, 32, LAW))
        for place in range(24)
    ]
    grey = np.stack(pictures).mean(axis=1)
    assert grey.mean(axis=(1, 2)).std() > 15
    assert np.median(grey.std(axis=(1, 2))) > 10
    steps = np.abs(np.diff(grey, axis=2)).mean(axis=(1, 2))
    far = np.abs(grey - np.roll(grey, (13, 13), axis=(1, 2))).mean(axis=(1, 2))
    assert np.median(steps / far) < 0.7


def test_a_grey_picture_is_the_light_of_the_coloured_one() -> None:
    coloured, grey = (draw_picture(np.random.default_rng(5), 16, 16, channels) for channels in (3, 1))
    red, green, blue = coloured
    np.testing.assert_allclose(grey[0], 0.299 * red + 0.587 * green + 0.114 * blue, rtol=1e-5)


def test_colours_are_as_alike_as_in_photographs() -> None:
    """By the principal components of ImageNet's pixels, channels correlate with 0.90, 0.77 and 0.90."""
    pictures = np.stack([draw_picture(np.random.default_rng(place), 16, 16, 3) for place in range(150)])
    pixels = pictures.transpose(1, 0, 2, 3).reshape(3, -1)
    red_green, red_blue, green_blue = np.corrcoef(pixels)[np.triu_indices(3, 1)]
    assert 0.75 < red_blue < min(red_green, green_blue) < 0.99
