"""How weights are folded by the block that they are in."""

from __future__ import annotations

from domino_onnx.report.page.blocks import blocks


def test_few_weights_are_one_block() -> None:
    assert blocks(["a/b", "c/d"]) == [("", [0, 1])]


def test_blocks_are_the_beginnings_of_names() -> None:
    names = [f"encoder/layer.{layer}/{part}/MatMul" for layer in range(12) for part in ("q", "k", "v", "out")]
    found = blocks(names)
    assert [name for name, _ in found] == [f"encoder/layer/{layer}" for layer in range(12)]
    assert [places for _, places in found][1] == [4, 5, 6, 7]


def test_every_weight_is_in_one_block_and_they_fit_on_a_screen() -> None:
    for names in ([f"w{i}" for i in range(300)], [f"a.{i}.b.{i % 3}" for i in range(300)], ["same"] * 100):
        found = blocks(names)
        assert sorted(place for _, places in found for place in places) == list(range(len(names)))
        assert len(found) <= 24


def test_many_layers_are_joined_with_their_neighbours() -> None:
    names = [f"bert/encoder/layer.{layer}/{part}/MatMul" for layer in range(50) for part in "abcdef"]
    found = blocks(names)
    assert [name for name, _ in found][:2] == ["bert/encoder/layer/0 to 2", "bert/encoder/layer/3 to 5"]
    assert found[-1] == ("bert/encoder/layer/48 to 49", list(range(288, 300)))
