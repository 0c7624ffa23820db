"""A finetuning that is stopped, wherever, and gone on with gives the same bits as one that isn't."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from domino_onnx.errors import CheckpointError  # noqa: E402
from domino_onnx.finetuning import Finetuned, WeightGroups, finetune  # noqa: E402
from domino_onnx.graph import read_model, take_inventory  # noqa: E402
from domino_onnx.options import FinetuneOptions, RunOptions, rates_to_try, trial_steps  # noqa: E402
from domino_onnx.scheme import NMScheme, SchemePool  # noqa: E402


class Memory:
    """A checkpoint file that keeps copies."""

    def __init__(self) -> None:
        self.saved: tuple[dict[str, Any], dict[str, Any]] | None = None
        self.saves = 0
        self.is_due = True

    def load(self, restore: Any) -> Any:
        return None if self.saved is None else restore(*self.saved)

    def save(self, document: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
        self.saves += 1
        self.saved = (dict(document), {name: np.array(array) for name, array in arrays.items()})


class After:
    """Says stop once, after so many questions."""

    def __init__(self, questions: int) -> None:
        self.left = questions

    def __call__(self) -> bool:
        self.left -= 1
        return self.left == 0


RUN, EIGHT = RunOptions(batch_size=16), RunOptions(batch_size=8)
SETTINGS = {
    "adamw": FinetuneOptions(steps=8, lr=3e-3),
    "a rate that is chosen": FinetuneOptions(steps=25),
    "sr-ste": FinetuneOptions(steps=8, lr=3e-2, method="sr-ste"),
    "divergence": FinetuneOptions(steps=8, lr=1e4),
}


@pytest.fixture(scope="module")
def groups(small_digits: Any) -> dict[Any, WeightGroups]:
    inventory = take_inventory(read_model(small_digits), SchemePool.fixed_m(), {})
    return {site.key: WeightGroups(layout=site.layout, scheme=NMScheme(1, 4)) for site in inventory.sites}


@pytest.fixture(scope="module")
def undisturbed(bench: Any, small_digits: Any, few: Any, groups: dict[Any, WeightGroups]) -> Callable[[str], Finetuned]:
    """A finetuning with these settings from beginning to end; each is done once."""

    @functools.cache
    def train(name: str) -> Finetuned:
        given = bench(small_digits, few)
        return finetune(given.distillation, given.weights, SETTINGS[name], RUN, groups=groups)

    return train


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("questions", [1, 3, 6])
def test_stopped_and_resumed(
    name: str, questions: int, undisturbed: Any, bench: Any, small_digits: Any, few: Any,
    groups: dict[Any, WeightGroups],
) -> None:  # fmt: skip
    whole, store = undisturbed(name), Memory()
    for attempt in (questions, 2, None):
        again = bench(small_digits, few)
        stopped = After(attempt) if attempt is not None else lambda: False
        try:
            finetuned = finetune(
                again.distillation, again.weights, SETTINGS[name], RUN, groups=groups, checkpoint=store, stopped=stopped
            )
        except KeyboardInterrupt:
            continue
        break
    assert store.saves
    assert finetuned.history == whole.history
    assert (finetuned.before, finetuned.after, finetuned.lr) == (whole.before, whole.after, whole.lr)
    assert (finetuned.best_step, finetuned.halvings) == (whole.best_step, whole.halvings)
    for key, values in whole.values.items():
        np.testing.assert_array_equal(finetuned.values[key], values)


def test_a_rate_that_was_tried_is_kept_at_once(bench: Any, small_digits: Any, few: Any) -> None:
    """Stopped while the second rate is tried, though it isn't time to save."""
    given, store, options = bench(small_digits, few), Memory(), SETTINGS["a rate that is chosen"]
    store.is_due = False
    stopped = After(trial_steps(25) + 1)
    with pytest.raises(KeyboardInterrupt):
        finetune(given.distillation, given.weights, options, RUN, checkpoint=store, stopped=stopped)
    assert store.saved is not None
    assert list(store.saved[0]["state"]["rate_losses"]) == [str(rates_to_try(options)[0])]


def test_what_diverges_steps_back_and_halves_the_rate(bench: Any, small_digits: Any, few: Any) -> None:
    given = bench(small_digits, few)
    finetuned = finetune(given.distillation, given.weights, FinetuneOptions(steps=12, lr=1e4), RUN)
    assert (finetuned.halvings, finetuned.diverged) == (2, True)
    assert finetuned.after <= finetuned.before


def test_moving_masks_keep_their_scheme_and_do_move(
    bench: Any, small_digits: Any, few: Any, groups: dict[Any, WeightGroups]
) -> None:
    given = bench(small_digits, few)
    options = FinetuneOptions(steps=40, lr=0.1, method="sr-ste")
    finetuned = finetune(given.distillation, given.weights, options, RUN, groups=groups)
    assert finetuned.after < finetuned.before
    moved = 0
    for key, weight in given.weights.items():
        layout = groups[key].layout
        assert (np.count_nonzero(layout.to_groups(finetuned.values[key], 4), axis=1) <= 1).all()
        moved += int(np.count_nonzero((finetuned.values[key] != 0) & (weight == 0)))
    assert moved


def test_a_checkpoint_of_another_finetuning_is_refused(bench: Any, small_digits: Any, few: Any) -> None:
    given, store = bench(small_digits, few), Memory()
    finetune(given.distillation, given.weights, FinetuneOptions(steps=2, lr=1e-3), EIGHT, checkpoint=store)
    with pytest.raises(CheckpointError, match="another finetuning"):
        finetune(given.distillation, given.weights, FinetuneOptions(steps=3, lr=1e-3), EIGHT, checkpoint=store)
