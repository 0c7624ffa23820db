"""A deployed file runs at other sizes than those of the run that it was made in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper

from domino_onnx.deployment import with_attention
from domino_onnx.errors import ModelError
from domino_onnx.graph import read_model
from domino_onnx.runtime import ChildSession
from domino_onnx.stages.deploying.sizes import shapes_at_sizes

from .test_rewrite import normal, ops, same, sparse

Make = Callable[..., ModelProto]
Sizes = Mapping[str, tuple[int, ...]]
node = helper.make_node


def _positions(make_model: Make) -> tuple[ModelProto, Sizes, list[Sizes]]:
    """Positions are made for the length alone, and the channels can't be 2: as of sound in mono."""
    table = normal(64, 512)
    model = make_model(
        [
            node("Conv", ["x", "wc"], ["c"], pads=[1, 1]),
            node("Transpose", ["c"], ["t"], perm=[0, 2, 1]),
            node("MatMul", ["t", "w"], ["p"]),
            node("Shape", ["t"], ["s"]),
            node("Gather", ["s", "one"], ["length"], axis=0),
            node("Range", ["zero", "length", "one"], ["places"]),
            node("Gather", ["table", "places"], ["e"], axis=0),
            node("Unsqueeze", ["e", "first"], ["positions"]),
            node("Add", ["p", "positions"], ["y"]),
        ],
        {"x": ("batch", "channels", "length")},
        {"y": ("batch", "length", 512)},
        {
            "wc": normal(512, 1, 3),
            "w": sparse((512, 512), 0) * (np.arange(512) % 4 == 0),
            "one": np.array(1),
            "zero": np.array(0),
            "first": np.array([0]),
            "table": table,
        },
    )
    return model, {"x": (1, 1, 16)}, [{"x": (4, 1, 16)}, {"x": (1, 1, 33)}]


def _context(make_model: Make) -> tuple[ModelProto, Sizes, list[Sizes]]:
    """A map of one place, at this size, and the mean of an image."""
    model = make_model(
        [
            node("Conv", ["x", "w"], ["c"], strides=[8, 8]),
            node("GlobalAveragePool", ["x"], ["g"]),
            node("Conv", ["g", "v"], ["context"]),
            node("Add", ["c", "context"], ["y"]),
        ],
        {"x": ("N", 64, "H", "W")},
        {"y": ("N", 128, "h", "w")},
        {"w": sparse((128, 64, 8, 8), 1), "v": normal(128, 64, 1, 1)},
    )
    return model, {"x": (1, 64, 8, 8)}, [{"x": (2, 64, 16, 16)}, {"x": (1, 64, 8, 24)}]


def _residual(make_model: Make) -> tuple[ModelProto, Sizes, list[Sizes]]:
    """Alike at all sizes that there are: axes without a name may have to be equal."""
    model = make_model(
        [
            node("MatMul", ["x", "w"], ["m"]),
            node("Concat", ["x", "z"], ["d"], axis=2),
            node("MatMul", ["d", "v"], ["e"]),
            node("Relu", ["e"], ["r"]),
            node("Add", ["m", "r"], ["y"]),
        ],
        {"x": ("N", None, 512), "z": ("N", None, 512)},
        {"y": None},
        {"w": sparse((512, 512), 0) * (np.arange(512) % 4 == 0), "v": sparse((1024, 512), 0)},
    )
    return model, dict.fromkeys("xz", (1, 16, 512)), [dict.fromkeys("xz", (3, 5, 512))]


def _broadcast(make_model: Make) -> tuple[ModelProto, Sizes, list[Sizes]]:
    """Alike wherever both grow or shrink together, yet each may have the size 1 by itself."""
    model = make_model(
        [node("MatMul", ["x", "w"], ["m"]), node("Sub", ["x", "z"], ["d"]), node("Add", ["m", "d"], ["y"])],
        {"x": ("N", None, 512), "z": ("N", None, 512)},
        {"y": None},
        {"w": sparse((512, 512), 0) * (np.arange(512) % 4 == 0)},
    )
    return (
        model,
        dict.fromkeys("xz", (1, 16, 512)),
        [{"x": (1, 4, 512), "z": (1, 1, 512)}, dict.fromkeys("xz", (3, 5, 512))],
    )


@pytest.mark.parametrize(
    ("made", "joins"), [(_positions, False), (_context, False), (_broadcast, False), (_residual, True)]
)
def test_deployed_files_run_at_other_sizes(
    domino: Any, make_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Any, joins: bool
) -> None:
    monkeypatch.setattr("domino_onnx.stages.deploying.choice._best", lambda choices, *_, **__: len(choices) - 1)
    model, sizes, others = made(make_model)
    path, out, data = tmp_path / "model.onnx", tmp_path / "out.onnx", tmp_path / "data.npz"
    path.write_bytes(model.SerializeToString())
    np.savez(data, **{name: normal(*shape) for name, shape in sizes.items()})
    ran = domino("deploy", path, "-o", out, "--data", data, "--precision", "float32", "--threads", "1", "--json")
    assert ran.code == 0, ran.err
    changed = onnx.load(out)
    assert {"NmConv", "NmMatMul"} & set(ops(changed))
    assert ("Add" not in ops(changed)) == joins
    for shapes in (sizes, *others):
        same(model, changed, {name: normal(*shape) for name, shape in shapes.items()})


def _seen(model: ModelProto, path: Path, sizes: Sizes) -> list[dict[str, tuple[int, ...]]]:
    path.write_bytes(model.SerializeToString())
    return shapes_at_sizes(read_model(path), {name: normal(*shape) for name, shape in sizes.items()}, 1)


def test_each_free_axis_has_a_run(make_model: Make, tmp_path: Path) -> None:
    """Unless the model refuses all its other sizes, as it does those of the channels here."""
    model, sizes, _ = _positions(make_model)
    runs = _seen(model, tmp_path / "model.onnx", sizes)
    assert [run["x"] for run in runs] == [(1, 1, 16), (2, 1, 16), (1, 1, 1), (1, 1, 32)]
    longest, _, _ = _positions(make_model)
    assert [run["x"] for run in _seen(longest, tmp_path / "model.onnx", {"x": (1, 1, 64)})] == [
        (1, 1, 64),
        (2, 1, 64),
        (1, 1, 1),
        (1, 1, 32),
    ]


def test_axes_that_must_be_equal_change_together(make_model: Make, tmp_path: Path) -> None:
    model = make_model(
        [node("Concat", ["x", "z"], ["c"], axis=1), node("Abs", ["c"], ["a"]), node("Add", ["c", "a"], ["y"])],
        {"x": ("left", 8), "z": ("right", 8)},
        {"y": None},
        {},
    )
    runs = _seen(model, tmp_path / "model.onnx", {"x": (3, 8), "z": (3, 8)})
    assert [run["y"] for run in runs] == [(3, 16), (6, 16)]


def test_a_model_without_sums_is_run_once(make_model: Make, tmp_path: Path) -> None:
    model = make_model([node("MatMul", ["x", "w"], ["y"])], {"x": ("N", 8)}, {"y": ("N", 8)}, {"w": normal(8, 8)})
    assert _seen(model, tmp_path / "model.onnx", {"x": (1, 8)}) == [{"x": (1, 8), "y": (1, 8)}]


def test_a_run_that_ends_for_other_reasons_tells_of_no_size(
    make_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of memory that is full, say: whether the model takes the size isn't known."""
    run = ChildSession.run

    def limited(self: ChildSession, inputs: Any, **more: Any) -> Any:
        if inputs["x"].size > 16 * 512:
            raise ModelError("it takes too much memory")
        return run(self, inputs, **more)

    monkeypatch.setattr(ChildSession, "run", limited)
    model, sizes, _ = _residual(make_model)
    runs = _seen(model, tmp_path / "model.onnx", sizes)
    assert [run.get("x") for run in runs] == [(1, 16, 512), None]


@pytest.mark.parametrize(("queries", "joins"), [(1, False), (5, True)])
def test_a_mask_that_the_scores_repeat_along_is_none_of_attention(make_model: Make, queries: int, joins: bool) -> None:
    """It has their shape in one run, and more rows in another. More samples are no hindrance."""
    model = make_model(
        [
            node("MatMul", ["q", "k"], ["s"]),
            node("Add", ["s", "mask"], ["m"]),
            node("Softmax", ["m"], ["p"]),
            node("MatMul", ["p", "v"], ["y"]),
        ],
        {"q": ("N", "Q", 8), "k": ("N", 8, 7), "v": ("N", 7, 4), "mask": ("M", "R", 7)},
        {"y": None},
        {},
    )
    run: dict[str, tuple[int, ...]] = {"q": (1, queries, 8), "k": (1, 8, 7), "v": (1, 7, 4)}
    first = {**run, "mask": (1, queries, 7), "s": (1, queries, 7)}
    other = {**run, "mask": (2, 5, 7), "s": (1, queries, 7)}
    assert with_attention(model, first)[1] == 1
    changed, count = with_attention(model, first, other)
    assert count == joins
    for sizes in (first, other):
        same(model, changed, {name: normal(*sizes[name]) for name in ("q", "k", "v", "mask")})
    assert with_attention(model, first, {})[1] == 0
