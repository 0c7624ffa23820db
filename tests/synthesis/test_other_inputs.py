"""Sounds, tokens, tables and states against the rules and formulas that they follow."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domino_onnx.synthesis.sound import draw_mel_energies, draw_sound, mel_filters
from domino_onnx.synthesis.states import next_states, pair_states
from domino_onnx.synthesis.tables import draw_features, draw_row
from domino_onnx.synthesis.tokens import draw_ids, draw_mask, draw_segments, share_used, vocabulary_of


@given(seed=st.integers(0, 1000), length=st.integers(1, 5000), rate=st.sampled_from([8000, 16000, 44100]))
def test_sounds_have_any_length_and_lie_within_full_scale(seed: int, length: int, rate: int) -> None:
    sound = draw_sound(np.random.default_rng(seed), length, rate)
    assert sound.shape == (length,)
    assert np.isfinite(sound).all()
    assert np.abs(sound).max() <= 1


def test_sounds_are_loud_here_and_silent_there() -> None:
    sound = draw_sound(np.random.default_rng(0), 160_000)
    levels = np.sqrt(np.mean(sound.reshape(-1, 1600) ** 2, axis=1))
    assert np.quantile(levels, 0.9) > 10 * np.quantile(levels, 0.1)


def test_a_pure_tone_fills_the_mel_filters_around_it() -> None:
    """1000 Hz are 1000 mel on this scale, by its definition."""
    filters = mel_filters(40, 400, 16000)
    place = int(np.argmax(filters[:, 25]))  # 25 of bins that are 40 Hz wide
    top = 2595 * np.log10(1 + 8000 / 700)
    assert abs((place + 1) * top / 41 - 1000) < top / 41
    assert filters.min() >= 0


def test_spectrograms_have_the_shape_asked_for_and_no_negative_power() -> None:
    energies = draw_mel_energies(np.random.default_rng(1), 30, 40)
    assert energies.shape == (30, 40)
    assert energies.min() >= 0
    assert energies.max() > 0


@given(
    seed=st.integers(0, 500),
    rows=st.sampled_from([1, 2, 30, 257, 1000, 30522, 50265, 50257, 49408]),
    length=st.integers(1, 80),
    share=st.floats(0.1, 1),
)
def test_ids_lie_below_the_rows_and_end_in_padding(seed: int, rows: int, length: int, share: float) -> None:
    used = max(1, round(share * length))
    vocabulary = vocabulary_of(rows)
    ids = draw_ids(np.random.default_rng(seed), length, used, vocabulary)
    assert ids.shape == (length,)
    assert 0 <= ids.min() <= ids.max() < rows
    assert (ids[used:] == vocabulary.padding).all()


def test_bert_gets_its_special_ids() -> None:
    ids = draw_ids(np.random.default_rng(0), 10, 7, vocabulary_of(30522))
    assert (ids[0], ids[6]) == (101, 102)
    assert (ids[7:] == 0).all()
    assert (ids[1:6] >= 999).all()


def test_ids_follow_zipf() -> None:
    """Counts fall in proportion to 1 / (rank + 2.7), so equal ratios of shifted ranks are equally frequent."""
    vocabulary = vocabulary_of(10_000)
    generator = np.random.default_rng(0)
    ids = np.concatenate([draw_ids(generator, 500, 500, vocabulary) for _ in range(100)])
    edges = np.array([0, 7, 90, 1000])
    counted = np.array([np.mean((ids >= low) & (ids < high)) for low, high in itertools.pairwise(edges)])
    expected = np.log((edges[1:] + 2.7) / (edges[:-1] + 2.7)) / np.log(10_002.7 / 2.7)
    np.testing.assert_allclose(counted, expected, rtol=0.1)


def test_a_mask_is_1_for_what_is_used() -> None:
    np.testing.assert_array_equal(draw_mask((5,), 3), [1, 1, 1, 0, 0])
    np.testing.assert_array_equal(draw_mask((3, 3), 2), [[1, 0, 0], [1, 1, 0], [1, 1, 0]])


@given(seed=st.integers(0, 200), rows=st.integers(1, 3))
def test_segments_come_in_order_within_what_is_used(seed: int, rows: int) -> None:
    segments = draw_segments(np.random.default_rng(seed), (12,), 9, rows)
    assert set(segments) <= ({0} if rows == 1 else {0, 1})
    assert (np.diff(segments[:9]) >= 0).all()
    assert (segments[9:] == 0).all()


def test_samples_use_all_or_at_least_a_quarter() -> None:
    shares = np.array([share_used(np.random.default_rng(seed)) for seed in range(400)])
    assert shares.min() >= 0.25
    assert 0.2 < np.mean(shares == 1) < 0.4


def test_columns_of_a_table_are_scaled_alike_and_depend_on_each_other() -> None:
    rows = np.stack([draw_row(np.random.default_rng([1, place]), 24, [7]) for place in range(3000)])
    assert np.abs(rows.mean(axis=0)).max() < 1
    assert 0.4 < rows.std(axis=0).min() <= rows.std(axis=0).max() < 2.5
    correlations = np.corrcoef(rows[:, rows.std(axis=0) > 0].T)
    assert np.abs(correlations - np.eye(len(correlations))).max() > 0.5
    assert min(len(np.unique(column)) for column in rows.T) < 40  # some have kinds other than numbers


@pytest.mark.parametrize("shape", [(), (5,), (16, 8), (3, 4, 5), (1, 2, 0)])
def test_features_have_any_shape(shape: tuple[int, ...]) -> None:
    features = draw_features(np.random.default_rng(0), shape)
    assert features.shape == shape
    assert np.isfinite(features).all()


def test_states_find_their_outputs_by_shape_and_name() -> None:
    states = {"h0": np.zeros((2, 3)), "c0": np.zeros((2, 3)), "past": np.zeros((1, 4, 2)), "lost": np.zeros(7)}
    outputs = {
        "cn": np.full((2, 3), 2.0),
        "hn": np.full((2, 3), 1.0),
        "present": np.arange(12.0).reshape(1, 6, 2),
        "logits": np.zeros((9, 9)),
    }
    pairs = pair_states(states, outputs)
    assert pairs == {"h0": "hn", "c0": "cn", "past": "present"}
    after = next_states(states, pairs, outputs)
    assert (after["h0"] == 1).all()
    assert (after["c0"] == 2).all()
    np.testing.assert_array_equal(after["past"], np.arange(4.0, 12).reshape(1, 4, 2))
    assert after["lost"] is states["lost"]
