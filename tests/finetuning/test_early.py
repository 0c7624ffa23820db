"""A training ends early where its held-out loss rises for good, and on no plateau of a high rate."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("torch")

from domino_onnx.finetuning.early import has_stopped_falling

PLANNED, EVERY = 1000, 50


def ended(losses: list[float]) -> int | None:
    """The step after which it ends, None if that is the last one."""
    looks = [(EVERY * (place + 1), loss) for place, loss in enumerate(losses)]
    return next(
        (looks[n - 1][0] for n in range(1, len(looks)) if has_stopped_falling(looks[:n], PLANNED, before=1.0)), None
    )


def cosine(step: int) -> float:
    return 0.5 * (1 + math.cos(math.pi * step / PLANNED))


def test_a_loss_that_falls_is_let_go_on() -> None:
    assert ended([1 / (place + 1) for place in range(20)]) is None


def test_a_loss_that_rises_ends_it_after_half_of_the_steps() -> None:
    assert ended([0.5 + 0.1 * abs(place - 2) for place in range(20)]) == 500


def test_one_low_look_alone_ends_nothing() -> None:
    falling = [1 - 0.02 * place for place in range(20)]
    falling[3] = 0.1
    assert ended(falling) is None


@pytest.mark.parametrize("seed", range(30))
def test_a_plateau_at_a_high_rate_with_noise_ends_nothing(seed: int) -> None:
    """The loss lies above its lowest in proportion to the rate, as of a walk around a minimum, with noise of that."""
    generator = np.random.default_rng(seed)
    rates = [cosine(EVERY * (place + 1)) for place in range(20)]
    assert ended([0.5 + 0.2 * rate * float(1 + 0.3 * generator.standard_normal()) for rate in rates]) is None


def test_a_rise_that_is_small_beside_what_was_won_ends_nothing() -> None:
    assert ended([0.01 + 0.002 * abs(place - 2) for place in range(20)]) is None
    assert ended([1.01 + 0.002 * abs(place - 2) for place in range(20)]) == 500, "nothing was won"


def test_few_steps_are_all_taken() -> None:
    looks = [(step, float(step)) for step in range(1, 8)]
    assert not any(has_stopped_falling(looks[:n], 8, before=1.0) for n in range(8))


def test_no_look_ends_nothing() -> None:
    assert not has_stopped_falling([], PLANNED, before=1.0)
    assert not has_stopped_falling([(PLANNED, 1.0)], PLANNED, before=1.0)
