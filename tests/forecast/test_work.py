"""What follows from a run's numbers: more work never costs less, and what memory doesn't hold goes to the disk."""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from domino_onnx.forecast.layers import Layer, Walk
from domino_onnx.forecast.machine import Machine
from domino_onnx.forecast.solving import Costs
from domino_onnx.forecast.space import disk_needed, memory_needed
from domino_onnx.forecast.timing import stage_costs
from domino_onnx.forecast.work import Training, Work
from domino_onnx.scheme import NMScheme, Site, StoredNumbers, WeightKey, WeightLayout

SCHEMES = tuple(NMScheme(n, 16) for n in (16, 8, 4, 2, 1))


def layer(features: int, outputs: int, positions: int, *, clipped: bool) -> Layer:
    """A matrix product."""
    site = Site(
        key=WeightKey("w"),
        name="node",
        op="MatMul",
        layout=WeightLayout((features, outputs), 0),
        numbers=StoredNumbers("float32"),
        consumers=("node",),
        schemes=SCHEMES,
        macs=features * outputs * positions,
    )
    return Layer(
        site=site,
        blocks=1,
        outputs=outputs,
        features=features,
        positions=positions,
        read=features * positions,
        repeated=False,
        clipped=clipped,
    )


layers = st.builds(
    layer,
    st.integers(1, 64).map(lambda groups: 16 * groups),
    st.integers(1, 512),
    st.integers(1, 4096),
    clipped=st.booleans(),
)


@st.composite
def works(draw: st.DrawFn) -> Work:
    """Runs of any kind."""
    found = tuple(draw(st.lists(layers, min_size=1, max_size=4)))
    made = sum(each.read for each in found)
    samples = draw(st.integers(1, 5000))
    training = st.builds(
        Training,
        steps=st.integers(1, 1000),
        batch=st.integers(1, 64),
        looks=st.integers(0, 20),
        held_out=st.integers(0, 100),
        drawn=st.integers(0, 64),
        drawn_first=st.integers(0, 256),
    )
    return Work(
        walk=Walk(layers=found, live=max(each.read for each in found), piece=made, made=made, trained=made),
        machine=Machine.usual(),
        forward=draw(st.floats(1e-5, 10)),
        drawing=draw(st.floats(0, 10)),
        varying=draw(st.floats(0, 1)),
        drawn=draw(st.integers(0, 1024)),
        given=draw(st.integers(1, samples)),
        samples=samples,
        batches=draw(st.integers(1, samples)),
        judges=draw(st.integers(1, 1000)),
        measures=(draw(st.integers(0, 2)), draw(st.integers(0, 512))),
        searches=draw(st.integers(0, 1)),
        gradients=0,
        refits=draw(st.integers(0, 8)),
        trials=draw(st.integers(0, 8)),
        density=draw(st.floats(0, 1)),
        densities={},
        training=draw(st.none() | training),
        stored=draw(st.integers(1, 10**8)),
        writes=draw(st.booleans()),
    )


def seconds(work: Work) -> float:
    """Of all stages."""
    return sum(stage.seconds for stage in stage_costs(work))


def of(work: Work, name: str) -> float:
    """Seconds of one stage."""
    return sum(stage.seconds for stage in stage_costs(work) if stage.name == name)


@given(works(), st.sampled_from(["given", "forward", "drawing", "varying", "drawn", "judges", "refits", "stored"]))
def test_more_work_never_takes_less(work: Work, field: str) -> None:
    more = dataclasses.replace(work, **{field: 2 * getattr(work, field)})
    assert seconds(more) >= seconds(work) >= 0


@given(works(), st.integers(1, 10**6))
def test_what_pieces_make_takes_its_time(work: Work, made: int) -> None:
    more = dataclasses.replace(work, walk=dataclasses.replace(work.walk, made=work.walk.made + made))
    least = work.samples * made * work.machine.moved
    assert of(more, "search") >= of(work, "search") + 0.99 * work.searches * least
    assert of(more, "refit") >= of(work, "refit") + 0.99 * 2 * work.refits * least


@given(works(), st.integers(1, 10**6))
def test_samples_that_join_the_given_ones_are_not_looked_at(work: Work, samples: int) -> None:
    joined = dataclasses.replace(work, samples=max(samples, work.batches))
    assert of(joined, "outputs") == of(work, "outputs")
    assert of(joined, "bridge") == of(work, "bridge")


def test_few_positions_are_multiplied_in_float64() -> None:
    """A search takes float32 elsewhere, and each step of a refit reads all positions."""
    few, many, machine = layer(8192, 16, 128, clipped=False), layer(1024, 16, 128, clipped=False), Machine.usual()
    slower = dataclasses.replace(machine, float64=2 * machine.float64)
    costs, others = (Costs(machine=each, samples=32, batches=1) for each in (machine, slower))
    assert others.searched(few, SCHEMES) > 1.2 * costs.searched(few, SCHEMES)
    assert others.searched(many, SCHEMES) == costs.searched(many, SCHEMES)
    products = 100 * 2 * 32 * 128 * 8192
    assert costs.searched(few, SCHEMES) > 6 * products * machine.moved


@given(works())
def test_each_stage_comes_once_and_its_steps_add_up(work: Work) -> None:
    stages = stage_costs(work)
    assert len({stage.name for stage in stages}) == len(stages)
    for stage in stages:
        assert np.isfinite(stage.seconds)
        assert list(stage.shares) == sorted(stage.shares)
        assert not stage.shares or abs(stage.shares[-1] - 1) < 1e-9


@given(works(), st.integers(0, 10**10), st.integers(0, 10**11))
def test_what_memory_does_not_hold_goes_to_the_disk(work: Work, resident: int, budget: int) -> None:
    alone = dataclasses.replace(work, training=None)
    saved = memory_needed(alone, resident, None) - memory_needed(alone, resident, budget)
    assert saved == disk_needed(alone, resident, budget)
    assert disk_needed(work, resident, None) == 0


@given(works(), st.integers(0, 10**10), st.integers(0, 10**11))
def test_a_budget_never_takes_more_and_is_kept_where_nothing_lies_on_the_disk(
    work: Work, resident: int, budget: int
) -> None:
    within = memory_needed(work, resident, budget)
    assert within <= memory_needed(work, resident, None)
    assert disk_needed(work, resident, budget) or within == memory_needed(work, resident, None)
