"""Variations that depend on the image and the draw alone, and leave the image what it is."""

from __future__ import annotations

import numpy as np

from domino_onnx.data.augment import Augmentation

IMAGES = np.random.default_rng(0).random((6, 3, 9, 7)).astype(np.float32)
NUMBERS = np.arange(6)


def test_the_same_draw_gives_the_same_whatever_the_batch() -> None:
    augment = Augmentation(flip=True, crop_padding=2)
    whole = augment(IMAGES, NUMBERS, 5)
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(augment(IMAGES[[4, 1]], NUMBERS[[4, 1]], 5), whole[[4, 1]])
    assert not np.array_equal(augment(IMAGES, NUMBERS, 6), whole)


def test_a_flip_is_the_image_or_its_mirror_image() -> None:
    seen = set()
    for draw in range(8):
        for image, varied in zip(IMAGES, Augmentation(flip=True)(IMAGES, NUMBERS, draw), strict=True):
            mirrored = not np.array_equal(varied, image)
            np.testing.assert_array_equal(varied, image[:, :, ::-1] if mirrored else image)
            seen.add(mirrored)
    assert seen == {False, True}


def test_a_shift_moves_the_middle_in_either_layout() -> None:
    shifts = set()
    for layout, height in (((0, 1, 2, 3), 1), ((0, 2, 3, 1), 0)):
        augment = Augmentation(crop_padding=2, height=height)
        back = np.argsort(layout)
        for draw in range(30):
            varied = augment(IMAGES.transpose(layout), NUMBERS, draw).transpose(back)
            for image, got in zip(IMAGES, varied, strict=True):
                found = [
                    (down, right)
                    for down in range(-2, 3)
                    for right in range(-2, 3)
                    if np.array_equal(got[:, 2:-2, 2:-2], image[:, 2 + down : 7 + down, 2 + right : 5 + right])
                ]
                assert len(found) == 1
                shifts.add(found[0])
    assert len(shifts) == 25


def test_without_anything_to_vary_images_stay() -> None:
    np.testing.assert_array_equal(Augmentation()(IMAGES, NUMBERS, 3), IMAGES)
