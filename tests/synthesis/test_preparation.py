"""How drawn pixels become what a network takes, where real samples show it."""

from __future__ import annotations

import numpy as np
import pytest

from domino_onnx.synthesis.preparation import preparation_like


@pytest.mark.parametrize("scale", [1.0, 255.0])
def test_pixels_get_the_mean_and_the_deviation_of_real_images_in_each_channel(scale: float) -> None:
    generator = np.random.default_rng(0)
    pixels = generator.uniform(0, 255, (3, 20, 8, 8)).astype(np.float32)
    wanted_mean, wanted_deviation = np.array([0.5, -1.0, 3.0]) * scale, np.array([0.2, 2.0, 1.0]) * scale
    real = generator.standard_normal((3, 50, 6, 6)) * wanted_deviation[:, None, None, None]
    real += wanted_mean[:, None, None, None] - real.mean((1, 2, 3), keepdims=True)
    prepared = preparation_like(pixels, real)(pixels.transpose(1, 0, 2, 3))
    np.testing.assert_allclose(prepared.mean((0, 2, 3)), wanted_mean, rtol=1e-4)
    np.testing.assert_allclose(prepared.std((0, 2, 3)), real.std((1, 2, 3)), rtol=1e-4)


def test_real_images_that_are_all_alike_give_one_value() -> None:
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 4, 8, 8)).astype(np.float32)
    prepared = preparation_like(pixels, np.full((1, 4, 8, 8), 0.25))(pixels.transpose(1, 0, 2, 3))
    np.testing.assert_allclose(prepared, 0.25, atol=1e-3)
