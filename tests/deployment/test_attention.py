"""Attention in the ways that exporters write it becomes one operator, and gives what it gave."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from domino_onnx.deployment import with_attention
from domino_onnx.stages.deploying import choice as deploy_choice

from .test_rewrite import normal, ops, outputs, same, sparse

LEAST = float(np.finfo(np.float32).min)
HEADS = "a = Transpose <perm = [0, 2, 1, 3]> (q) b = Transpose <perm = [0, 2, 3, 1]> (k)"
VALUES = "v1 = Transpose <perm = [0, 2, 1, 3]> (v) o = MatMul (p, v1) y = Transpose <perm = [0, 2, 1, 3]> (o)"
SOFTMAX = "p = Softmax <axis = -1> (s)"
IMAGES = {"q": (2, 9, 3, 8), "k": (2, 7, 3, 8), "v": (2, 7, 3, 5)}
MATRICES = {"q": (3, 9, 8), "k": (3, 8, 7), "v": (3, 7, 5)}
LINES = {"q": (9, 6, 8), "k": (7, 6, 8), "v": (7, 6, 8)}
STORED = {"three": np.float32(3), "half": np.float32([0.5]), "bias": normal(1, 3, 9, 7)}
Shapes = Mapping[str, tuple[int, ...]]


def read(text: str, shapes: Shapes, opset: int = 17, outputs: tuple[str, ...] = ("y",)) -> ModelProto:
    """A model of inputs with free axes."""
    inputs = ", ".join(
        f"float[{', '.join(f'{name}{i}' for i in range(len(shape)))}] {name}" for name, shape in shapes.items()
    )
    given = ", ".join(f"float[] {name}" for name in outputs)
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : {opset}]> g ({inputs}) => ({given}) {{ {text} }}'
    )
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    used = {name for each in model.graph.node for name in each.input}
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(array), name) for name, array in STORED.items() if name in used
    )
    return model


def with_one(model: ModelProto, inputs: Mapping[str, Any]) -> tuple[ModelProto, int]:
    """The model with its attention as one operator, by the shapes that a run shows."""
    shown = ModelProto()
    shown.CopyFrom(model)
    known = {value.name for value in model.graph.output}
    names = [name for each in model.graph.node for name in each.output if name not in known]
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    names = [value.name for value in shown.graph.output]
    seen = {**dict(zip(names, outputs(shown, dict(inputs)), strict=True)), **inputs}
    return with_attention(model, {name: each.shape for name, each in seen.items() if each.dtype == np.float32})


def drawn(shapes: Shapes) -> dict[str, np.ndarray]:
    """Inputs; half of what a mask `m` holds hides a key."""
    arrays = {name: normal(*shape) for name, shape in shapes.items()}
    if "m" in arrays:
        arrays["m"] = np.where(arrays["m"] > 0, LEAST, 0).astype(np.float32)
        arrays["m"][..., 0] = 0
    return arrays


@pytest.mark.parametrize(
    ("text", "shapes"),
    [
        pytest.param(f"{HEADS} s = MatMul (a, b) {SOFTMAX} {VALUES}", IMAGES, id="plain"),
        pytest.param(
            f"{HEADS} c = MatMul (a, b) d = Div (c, three) s = Add (d, m) {SOFTMAX} {VALUES}",
            {**IMAGES, "m": (2, 1, 1, 7)},
            id="divided, masked",
        ),
        pytest.param(
            f"{HEADS} c = MatMul (a, b) d = Mul (three, c) n = Mul (m, three) s = Add (n, d) {SOFTMAX} {VALUES}",
            {**IMAGES, "m": (9, 7)},
            id="a computed mask in front",
        ),
        pytest.param(f"{HEADS} c = MatMul (a, b) s = Add (c, bias) {SOFTMAX} {VALUES}", {**IMAGES}, id="a stored bias"),
        pytest.param(
            "a = Transpose <perm = [0, 2, 1, 3]> (q) a1 = Mul (a, half) k1 = Transpose <perm = [0, 2, 1, 3]> (k) "
            f"k2 = Transpose <perm = [0, 1, 3, 2]> (k1) b = Mul (k2, half) s = MatMul (a1, b) {SOFTMAX} {VALUES}",
            IMAGES,
            id="both sides scaled",
        ),
        pytest.param("s = MatMul (q, k) p = Softmax <axis = 2> (s) y = MatMul (p, v)", MATRICES, id="three axes"),
        pytest.param(
            "a = Transpose <perm = [1, 0, 2]> (q) b = Transpose <perm = [1, 2, 0]> (k) s = MatMul (a, b) "
            f"v1 = Transpose <perm = [1, 0, 2]> (v) {SOFTMAX} o = MatMul (p, v1) y = Transpose <perm = [1, 0, 2]> (o)",
            LINES,
            id="heads beside images",
        ),
    ],
)
def test_each_spelling_becomes_one_operator(text: str, shapes: Shapes) -> None:
    model, inputs = read(text, shapes), drawn(shapes)
    changed, count = with_one(model, inputs)
    assert count == 1
    assert [op for op in ops(changed) if op != "Mul"] == ["NmAttention"]
    same(model, changed, inputs)
    more = {
        name: np.concatenate([each, each], axis=0) if name != "m" or each.ndim == 4 else each
        for name, each in inputs.items()
    }
    if shapes is not LINES:  # there the first axis is of queries, and of keys
        same(model, changed, more)


@pytest.mark.parametrize(
    ("text", "more", "given"),
    [
        pytest.param(f"{HEADS} s = MatMul (a, b) {SOFTMAX} {VALUES}", {}, ("y", "s"), id="scores are given"),
        pytest.param(f"{HEADS} s = MatMul (a, b) {SOFTMAX} {VALUES}", {}, ("y", "p"), id="shares are given"),
        pytest.param(f"{HEADS} s = MatMul (a, b) p = Softmax <axis = 2> (s) {VALUES}", {}, ("y",), id="another axis"),
        pytest.param(
            f"{HEADS} c = MatMul (a, b) d = Add (c, m) s = Mul (d, three) {SOFTMAX} {VALUES}",
            {"m": (2, 1, 1, 7)},
            ("y",),
            id="a mask that is scaled",
        ),
        pytest.param(f"{HEADS} c = MatMul (a, b) s = Mul (c, bias) {SOFTMAX} {VALUES}", {}, ("y",), id="many factors"),
        pytest.param(
            f"{HEADS} s = Sub (a, a) {SOFTMAX} z = MatMul (s, b) y = Add (p, a)", {}, ("y",), id="no attention"
        ),
    ],
)
def test_what_stays_as_it_is(text: str, more: Shapes, given: tuple[str, ...]) -> None:
    shapes = {**IMAGES, **more}
    model = read(text, shapes, outputs=given)
    assert with_one(model, drawn(shapes)) == (model, 0)


def test_a_softmax_that_names_no_axis() -> None:
    """It takes the last one from opset 13 on; before, all from the second on as one."""
    text = f"{HEADS} s = MatMul (a, b) p = Softmax (s) {VALUES}"
    assert [with_one(read(text, IMAGES, opset), drawn(IMAGES))[1] for opset in (11, 17)] == [0, 1]


def test_what_is_not_known_to_be_of_float32_stays() -> None:
    model = read(f"{HEADS} s = MatMul (a, b) {SOFTMAX} {VALUES}", IMAGES)
    assert with_attention(model, {"a": (2, 3, 9, 8), "s": (2, 3, 9, 7), "v1": (2, 3, 7, 5)}) == (model, 0)


def test_other_readers_keep_what_joins_in() -> None:
    """A key-value cache gives keys and values out."""
    model = read(f"{HEADS} c = MatMul (a, b) s = Mul (c, half) {SOFTMAX} {VALUES}", IMAGES, outputs=("y", "b", "v1"))
    changed, count = with_one(model, drawn(IMAGES))
    assert (count, sorted(ops(changed))) == (1, ["NmAttention", "Transpose", "Transpose"])
    same(model, changed, drawn(IMAGES))


def test_scores_that_a_subgraph_reads_stay(make_model: Callable[..., ModelProto]) -> None:
    node = helper.make_node
    branches = [
        helper.make_graph(
            [node(op, ["s"], ["t"])], op, [], [helper.make_tensor_value_info("t", TensorProto.FLOAT, None)]
        )
        for op in ("Neg", "Abs")
    ]
    model = make_model(
        [
            node("MatMul", ["q", "k"], ["s"]),
            node("Softmax", ["s"], ["p"]),
            node("MatMul", ["p", "v"], ["y"]),
            node("If", ["c"], ["z"], then_branch=branches[0], else_branch=branches[1]),
        ],
        MATRICES,
        {"y": None, "z": None},
        {"c": np.array(True)},
    )
    shapes = {**MATRICES, "s": (3, 9, 7), "p": (3, 9, 7)}
    assert with_attention(model, shapes) == (model, 0)


@pytest.mark.parametrize(("share", "count"), [(100.0, 1), (0.0, 0)])
def test_the_whole_model_decides(
    domino: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float, count: int
) -> None:
    """A deployed model takes the operator if it is faster by it: here always, and never."""
    monkeypatch.setattr(deploy_choice, "_best", lambda choices, *_, **__: len(choices) - 1)
    monkeypatch.setattr(deploy_choice, "_WORTH_IT", share)
    text = f"{HEADS} s = MatMul (a, b) {SOFTMAX} {VALUES.replace('y =', 't =')} y = Conv (t, w)"
    model = read(text, {**IMAGES, "v": (2, 7, 3, 64)})
    model.graph.initializer.append(numpy_helper.from_array(sparse((32, 9, 3, 16), 3), "w"))
    path, out, data = tmp_path / "model.onnx", tmp_path / "out.onnx", tmp_path / "data.npz"
    path.write_bytes(model.SerializeToString())
    np.savez(data, **drawn({**IMAGES, "v": (2, 7, 3, 64)}))  # type: ignore[arg-type]
    ran = domino("deploy", path, "-o", out, "--threads", "1", "--precision", "float32", "--data", data, "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["attentions"] == count
    assert ops(onnx.load(out)).count("NmAttention") == count
    same(model, onnx.load(out), drawn({**IMAGES, "v": (2, 7, 3, 64)}))
