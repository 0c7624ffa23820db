"""Which weights are packed: the best choice there is, whatever their order."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from domino_onnx.graph.io.forms.worth import Gain, worth_packing
from domino_onnx.pipeline import convert

SIZES = {"a": 30, "b": 100, "c": 1000, "d": 4000}


@st.composite
def gains(draw: st.DrawFn) -> list[Gain]:
    saved, needed = st.integers(-50, 5000), st.sets(st.sampled_from(sorted(SIZES)), min_size=1)
    pairs = draw(st.lists(st.tuples(saved, needed), max_size=7))
    return [Gain(saved=bytes_, shares={name: SIZES[name] for name in names}) for bytes_, names in pairs]


def saved_by(chosen: Collection[int], among: Sequence[Gain]) -> int:
    needed = {name for place in chosen for name in among[place].shares}
    return sum(among[place].saved for place in chosen) - sum(SIZES[name] for name in needed)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(gains(), st.randoms(use_true_random=False))
def test_no_other_choice_saves_more(among: list[Gain], chance: Any) -> None:
    places = range(len(among))
    every = (chosen for count in range(len(among) + 1) for chosen in itertools.combinations(places, count))
    best = max((saved_by(chosen, among), -len(chosen)) for chosen in every)
    found = worth_packing(among)
    assert (saved_by(found, among), -len(found)) == best
    order = list(places)
    chance.shuffle(order)
    assert {order[place] for place in worth_packing([among[place] for place in order])} == found


def test_what_the_docstring_tells_of_two_weights() -> None:
    def worth(first: int, second: int) -> set[int]:
        return worth_packing([Gain(saved=saved, shares={"c": 100}) for saved in (first, second)])

    assert worth(150, 20) == {0, 1}
    assert worth(70, 20) == set()


def test_thousands_of_weights_with_shapes_of_their_own_are_decided_on() -> None:
    """One search for each payment would take hours here."""
    count = 3000
    own = [Gain(saved=60 + place, shares={"all": 200, f"own{place}": 100}) for place in range(count)]
    assert worth_packing(own) == set(range(41, count))
    pairs = [Gain(saved=60 + place, shares={"all": 200, f"pair{place // 2}": 400}) for place in range(count)]
    assert worth_packing(pairs) == {place for place in range(count) if 2 * (60 + place // 2 * 2) + 1 > 400}
    chain = [Gain(saved=101, shares={f"c{place}": 100, f"c{place + 1}": 100}) for place in range(count)]
    assert worth_packing(chain) == set(range(count))


def test_many_weights_pay_for_a_table_that_none_pays_for_alone(
    make_model: Callable[..., onnx.ModelProto], save: Callable[..., Path], tmp_path: Path
) -> None:
    """The same weights are packed in every order of the file, which is smaller by what they were said to save."""
    rng = np.random.default_rng(0)

    def pruned(rows: int) -> np.ndarray[Any, Any]:
        values = rng.standard_normal((rows, 16)).astype(np.float32)
        values[2::4] = values[3::4] = 0
        return values

    arrays = {**{f"small{number}": pruned(128) for number in range(6)}, "large": pruned(1024)}
    nodes = [helper.make_node("MatMul", [f"x{array.shape[0]}", name], [f"y.{name}"]) for name, array in arrays.items()]
    sizes = set()
    for order in (list(arrays), list(arrays)[::-1]):
        stored = {name: arrays[name] for name in order}
        shapes = {"x128": (2, 128), "x1024": (2, 1024)}
        source = save(make_model(nodes, shapes, {f"y.{name}": (2, 16) for name in arrays}, stored))
        result = convert(source, tmp_path / "packed.onnx", "packed", force=True)
        assert {weight.kind for weight in result.weight_forms} == {"positions"}
        assert [weight.name for weight in result.weight_forms] == order
        assert all(weight.stored_bytes < weight.dense_bytes for weight in result.weight_forms)
        convert(tmp_path / "packed.onnx", tmp_path / "back.onnx", "dense", force=True)
        assert (tmp_path / "back.onnx").read_bytes() == source.read_bytes()
        sizes.add(result.bytes_after)
    assert len(sizes) == 1
    alone = {"small": pruned(128)}
    source = save(
        make_model([helper.make_node("MatMul", ["x", "small"], ["y"])], {"x": (2, 128)}, {"y": (2, 16)}, alone)
    )
    result = convert(source, tmp_path / "packed.onnx", "packed", force=True)
    assert [(weight.kind, weight.reason) for weight in result.weight_forms] == [("dense", "packing saves nothing")]
    assert (tmp_path / "packed.onnx").read_bytes() == source.read_bytes()
