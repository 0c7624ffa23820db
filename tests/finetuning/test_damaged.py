"""A finetuning's checkpoint that was damaged or edited is refused, or leads to finite weights under the masks."""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from domino_onnx.errors import CheckpointError  # noqa: E402
from domino_onnx.finetuning import Finetuned, WeightGroups, finetune  # noqa: E402
from domino_onnx.options import FinetuneOptions, RunOptions  # noqa: E402
from domino_onnx.scheme import NMScheme, WeightKey, WeightLayout  # noqa: E402
from domino_onnx.stages.checkpoints.checkpoint import Checkpoint  # noqa: E402
from domino_onnx.stages.checkpoints.sealed import write_sealed  # noqa: E402

W, B = WeightKey("w"), WeightKey("b")
GROUPS = {W: WeightGroups(layout=WeightLayout((8, 4), 1), scheme=NMScheme(2, 4))}
RUN = RunOptions(batch_size=4)
OPTIONS = {
    "fixed": FinetuneOptions(steps=8, lr=0.05),
    "a rate that is chosen": FinetuneOptions(steps=8),
    "sr-ste": FinetuneOptions(steps=8, lr=0.05, method="sr-ste"),
}
ODD = (None, "", "x", -1, 0, 1, 7, 10**9, 10**18, 10**400, float("nan"), float("inf"), 0.25, True, [], [1], {})


class Quadratic:
    """A student whose loss is the squared distance of a weight and a bias from ones.

    A `blind` one has an infinite weight whenever it is looked at, and a held-out loss that falls whatever happens.
    """

    device = torch.device("cpu")

    def __init__(self, *, blind: bool = False) -> None:
        self.blind, self.looks = blind, 0
        self.parameters = {key: torch.nn.Parameter(torch.zeros(shape)) for key, shape in ((W, (8, 4)), (B, (8,)))}

    def trainable(self, keys: Any) -> Any:
        return {key: self.parameters[key] for key in keys}

    def backward(self, *_: Any) -> float:
        loss = self._loss()
        loss.backward()
        return float(loss.detach())

    def held_out_loss(self, *_: Any) -> float:
        self.looks += 1
        if not self.blind:
            return float(self._loss().detach())
        if self.looks > 1:
            self.parameters[W].data[0, 0] = float("inf")
        return 10 / self.looks

    def shuffled(self, batch_size: int, seed: int) -> Iterator[Any]:
        return itertools.repeat(np.arange(batch_size) + seed)

    def epoch(self, *_: Any) -> int:
        return 1

    def _loss(self) -> Any:
        return sum((parameter - 1).square().sum() for parameter in self.parameters.values())


def given() -> dict[WeightKey, Any]:
    weight = np.random.default_rng(0).uniform(-1, 0.5, (8, 4)).astype(np.float32)
    weight[:, 2:] = 0
    return {W: weight}


def train_in(folder: Path, name: str, stop_after: int | None = None) -> Finetuned | None:
    """Train with a checkpoint in this folder, of which everything stays; None if the training was stopped."""
    finetuned = None
    with contextlib.suppress(KeyboardInterrupt), Checkpoint(folder, resume=True) as checkpoint:
        finetuned = train(name, checkpoint.file("finetuning", 0), stop_after)
        raise KeyboardInterrupt
    return finetuned


def train(name: str, file: Any, stop_after: int | None = None, student: Quadratic | None = None) -> Finetuned:
    questions = itertools.count(1)
    return finetune(
        student or Quadratic(),
        given(),
        OPTIONS[name],
        RUN,
        biases={B: np.zeros(8, np.float32)},
        groups=GROUPS,
        checkpoint=file,
        stopped=lambda: next(questions) == stop_after,
    )


@pytest.fixture(scope="module", params=[(name, stop) for name in OPTIONS for stop in (5, None)], ids=str)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes]:
    """What a finetuning saved that was stopped on its way, or came to its end."""
    name, stop = request.param
    folder = tmp_path_factory.mktemp("made")
    stopped = train_in(folder, name, 12 if stop and name == "a rate that is chosen" else stop)
    assert (stopped is None) == (stop is not None)
    return name, (folder / "finetuning.npz").read_bytes()


@pytest.fixture
def saved(made: tuple[str, bytes], tmp_path: Path) -> tuple[str, Path]:
    """The method, and a copy of what was saved."""
    name, content = made
    path = tmp_path / "finetuning.npz"
    path.write_bytes(content)
    return name, path


def contents(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    with np.load(path) as archive:
        return json.loads(archive["head"].tobytes()), {name: archive[name] for name in archive.files if name != "head"}


def put(path: Path, head: dict[str, Any], arrays: dict[str, Any]) -> None:
    with path.open("wb") as stream:
        write_sealed(stream, [*arrays.items(), ("head", np.frombuffer(json.dumps(head).encode(), np.uint8))])


def is_sound(finetuned: Finetuned, name: str) -> bool:
    """Finite, in the given shapes and dtypes, and under the masks."""
    weight, bias = finetuned.values[W], finetuned.values[B]
    if (weight.shape, weight.dtype, bias.shape, bias.dtype) != ((8, 4), np.float32, (8,), np.float32):
        return False
    masked = np.count_nonzero(weight, axis=1).max() <= 2 if name == "sr-ste" else not weight[:, 2:].any()
    return bool(masked and np.isfinite(weight).all() and np.isfinite(bias).all())


def changed(array: Any, value: float) -> Any:
    array = array.copy()
    array.flat[-1] = value
    return array


DAMAGE: dict[str, Callable[[Any], Any]] = {
    "nan": lambda array: changed(array, np.nan),
    "infinite": lambda array: changed(array, np.inf),
    "wider": lambda array: array.astype(np.float64),
    "integers": lambda array: array.astype(np.int32),
    "text": lambda array: array.astype(str),
    "other bytes": lambda array: array.astype(">f4"),
    "another rank": lambda array: array[None],
    "gone": lambda _: None,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_each_damaged_array_is_refused(damage: str, saved: tuple[str, Path]) -> None:
    name, path = saved
    head, arrays = contents(path)
    assert len(arrays) > 3
    for array in arrays:
        damaged = {**arrays, array: DAMAGE[damage](arrays[array])}
        put(path, head, {key: value for key, value in damaged.items() if value is not None})
        with pytest.raises(CheckpointError, match="delete it") as error:
            train_in(path.parent, name)
        assert str(path) in str(error.value), array


def test_best_weights_outside_the_mask_are_refused(saved: tuple[str, Path]) -> None:
    name, path = saved
    head, arrays = contents(path)
    put(path, head, {**arrays, "array.best.0": np.ones((8, 4), np.float32)})
    with pytest.raises(CheckpointError, match="its best 'w' breaks the mask"):
        train_in(path.parent, name)


@pytest.mark.parametrize(
    "edit",
    [
        {"step": 1000},
        {"batches": 10**18},
        {"halvings": 3},
        {"best_step": 9},
        {"history": []},
        {"history": [{"loss": 1.0}]},
        {"best": -1.0},
        {"before": float("nan")},
        {"peak": 0.3},
        {"rate_losses": {"fast": 1.0}},
        {"rate_losses": {"0.001": -1.0}},
        {"unknown": 1},
        {"diverged": True},
        {"plan": None},
        {"plan": {"steps": 9, "decided_by": "options"}},
        {"plan": {"steps": 8, "decided_by": "time"}},
    ],
    ids=str,
)
def test_a_state_that_cannot_be_is_refused(edit: dict[str, Any], saved: tuple[str, Path]) -> None:
    name, path = saved
    head, arrays = contents(path)
    head["document"]["state"].update(edit)
    put(path, head, arrays)
    with pytest.raises(CheckpointError, match="delete it"):
        train_in(path.parent, name)


def test_any_edit_is_refused_or_leads_to_sound_weights(saved: tuple[str, Path]) -> None:
    name, path = saved
    undisturbed = train(name, None)
    head, arrays = contents(path)
    put(path, head, arrays)
    resumed = train_in(path.parent, name)
    assert resumed is not None
    for key, value in undisturbed.values.items():
        np.testing.assert_array_equal(resumed.values[key], value)
    draw, refused = random.Random(0), 0
    for _ in range(60):
        edited = copy.deepcopy(head)
        holder: Any = edited["document"]["state"] if draw.random() < 0.9 else edited["document"]
        key = draw.choice(list(holder))
        if isinstance(holder[key], list | dict) and holder[key] and draw.random() < 0.8:
            holder = holder[key]
            key = draw.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        if draw.random() < 0.2:
            del holder[key]
        elif isinstance(holder[key], float) and draw.random() < 0.5:
            holder[key] *= draw.choice([0.5, -1, 2])
        else:
            holder[key] = draw.choice(ODD)
        put(path, edited, arrays)
        try:
            finetuned = train_in(path.parent, name)
            assert finetuned is not None
            assert is_sound(finetuned, name)
        except CheckpointError:
            refused += 1
    assert refused > 10


def test_best_weights_are_always_finite() -> None:
    """A weight that no held-out sample looks at is infinite, so what is given stays."""
    finetuned = train("fixed", None, student=Quadratic(blind=True))
    assert is_sound(finetuned, "fixed")
    assert finetuned.diverged
    np.testing.assert_array_equal(finetuned.values[W], given()[W])
