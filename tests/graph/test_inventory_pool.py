"""The pool decides which schemes a weight may get, and which weights get none."""

from __future__ import annotations

import onnx

from domino_onnx.scheme import SchemePool

from .test_inventory import Make, Take, node, values


def test_the_pool_decides_the_schemes(make_model: Make, inventory: Take) -> None:
    model = make_model([node("MatMul", ["x", "w"], ["y"])], {"x": (1, 32)}, {"y": None}, {"w": values(32, 4)})
    for pool, expected in (
        (SchemePool.fixed_m(32), "32:32 16:32 8:32 4:32 2:32 1:32"),
        (SchemePool.fixed_n(8), "8:8 1:2 1:4 1:8"),
    ):
        (site,) = inventory(model, pool=pool).sites
        assert " ".join(map(str, site.schemes)) == expected


def linear(make_model: Make, *lengths: int) -> onnx.ModelProto:
    """One MatMul for each length of the reduction axis; the weights are called w9, w18, ..."""
    nodes = [node("MatMul", [f"x{length}", f"w{length}"], [f"y{length}"]) for length in lengths]
    inputs = {f"x{length}": (1, length) for length in lengths}
    outputs = {f"y{length}": None for length in lengths}
    return make_model(nodes, inputs, outputs, {f"w{length}": values(length, 5) for length in lengths})


def test_a_pool_of_mixed_m_gives_each_axis_what_it_can_have(make_model: Make, inventory: Take) -> None:
    model = linear(make_model, 9, 10, 16, 48)
    found = inventory(model, pool=SchemePool.parse("1:3,2:4,1:16"))
    assert {site.key.name: [str(scheme) for scheme in site.schemes if not scheme.is_dense] for site in found.sites} == {
        "w9": ["1:3"],
        "w16": ["2:4", "1:16"],
        "w48": ["2:4", "1:3", "1:16"],
    }
    (skip,) = found.skips
    assert skip.reason == "10 weights along the reduction axis: not divisible by 3, 4 or 16"
    assert not any("keep the same share" in note for note in found.notes)


def test_a_scheme_whose_density_a_smaller_group_cannot_have_is_a_skip(make_model: Make, inventory: Take) -> None:
    found = inventory(linear(make_model, 24, 32), pool=SchemePool.parse("1:16"))
    assert [site.key.name for site in found.sites] == ["w32"]
    assert found.skips[0].reason == "24 weights along the reduction axis: not divisible by 16"
    found = inventory(linear(make_model, 10), pool=SchemePool.parse("2:4"))
    assert found.skips[0].reason == "10 weights along the reduction axis: not divisible by 4"


def test_schemes_of_one_density_are_noted(make_model: Make, inventory: Take) -> None:
    found = inventory(linear(make_model, 16, 20), pool=SchemePool.parse("2:4,8:16,1:4"))
    assert [[str(scheme) for scheme in site.schemes] for site in found.sites] == [
        ["16:16", "8:16", "1:4"],
        ["4:4", "2:4", "1:4"],
    ]
    (note,) = found.notes
    assert "2:4, 8:16 keep the same share" in note
    assert "leave 8:16 out to have 2:4 everywhere" in note


def test_a_tensor_is_seen_to_hold_a_scheme_of_the_pool(make_model: Make, inventory: Take) -> None:
    weight = values(18, 5)
    weight[[place for place in range(18) if place % 6 > 1]] = 0
    model = make_model([node("MatMul", ["x", "w"], ["y"])], {"x": (1, 18)}, {"y": None}, {"w": weight})
    (site,) = inventory(model, pool=SchemePool.parse("3:6")).sites
    assert str(site.holds) == "2:6"
