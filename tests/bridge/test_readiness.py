"""Whether a model can be finetuned, and what is in the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from rich.console import Console

from domino_onnx.bridge import Readiness, check_readiness, readiness
from domino_onnx.data import load_data
from domino_onnx.errors import DependencyError
from domino_onnx.graph import read_model, take_inventory
from domino_onnx.report.readiness import readiness_view
from domino_onnx.runtime import child
from domino_onnx.scheme import SchemePool

Ready = Callable[..., Readiness]
W = "float[16, 16] w"


@pytest.fixture
def ready(save: Callable[..., Path]) -> Ready:
    """Check a model written as text, whose weights are drawn."""

    def check(text: str, *, data: Path | None = None, **given: Any) -> Readiness:
        model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17, "other" : 1]> {text}')
        generator = np.random.default_rng(0)
        shapes = {value.name: value.type.tensor_type.shape.dim for value in model.graph.input}
        for name in [name for name in shapes if name.startswith("w")]:
            values = generator.standard_normal([dim.dim_value for dim in shapes[name]]).astype(np.float32)
            model.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
        del model.graph.input[:]
        model.graph.input.extend(v for v in onnx.parser.parse_graph(text).input if not v.name.startswith("w"))
        file = read_model(save(model, check=False))
        keys = [site.key for site in take_inventory(file, SchemePool.fixed_m(), {}).sites]
        return check_readiness(file, keys, data and load_data(data, file.proto), threads=1, **given)

    return check


def test_a_model_that_can(ready) -> None:
    found = ready(f"g (float[n, 16] x, {W}) => (float[n, 16] y) {{ y = MatMul(x, w) }}")
    assert (found.supported, found.missing, found.parity_ok, found.reason) == (True, (), True, None)
    assert (len(found.trainable), found.sites, found.inputs, found.worst) == (1, 1, "random", None)
    assert found.max_abs is not None
    assert found.max_abs < 1e-4


def test_all_missing_operators_are_named(ready) -> None:
    found = ready(f"g (float[n, 16] x, {W}) => (float[n, 16] y) {{ a = other.B(x) b = MatMul(a, w) y = other.A(b) }}")
    assert (found.supported, found.parity_ok, found.max_abs, len(found.trainable)) == (False, None, None, 0)
    assert found.missing == ("other::A-1", "other::B-1")
    assert "other::A-1, other::B-1" in str(found.reason)


def test_a_mismatch_names_the_first_tensor(ready, wrong_operator) -> None:
    wrong_operator("Tanh")
    found = ready(f"g (float[n, 16] x, {W}) => (float[n, 16] y) {{ h = MatMul(x, w) t = Tanh(h) y = Neg(t) }}")
    assert (found.supported, found.parity_ok, found.worst) == (True, False, "t")
    assert found.max_abs == pytest.approx(1, rel=1e-4)
    assert "output 'y'" in str(found.reason)
    assert "'t' of node 't' (Tanh)" in str(found.reason)


@pytest.mark.parametrize(
    "blocked",
    ["y = Round(h)", "i = Cast<to = 7>(h) y = Cast<to = 1>(i)", "z = Size(h) f = Cast<to = 1>(z) y = Add(x, f)"],
)
def test_what_no_gradient_reaches_is_not_counted(blocked: str, ready) -> None:
    graph = f"g (float[2, 16] x, {W}, float[16, 16] w2) => (float[2, 16] y)"
    found = ready(f"{graph} {{ a = MatMul(x, w) h = MatMul(a, w2) {blocked} }}")
    assert found.parity_ok
    assert (len(found.trainable), found.sites) == (0, 2)
    assert found.reason == "no gradient reaches 2 of 2 sites: 'w', 'w2'"


def test_a_gradient_that_is_not_finite_is_told_from_none(ready) -> None:
    """The root of 0 has no derivative that is finite, though the output is."""
    found = ready(f"""g (float[2, 16] x, {W}, float[16, 16] w2, float[16, 16] w3) => (float[2, 16] y)
        {{ a = MatMul(x, w) z = Sub(a, a) r = Sqrt(z) b = MatMul(x, w2) s = MatMul(x, w3) i = Round(s)
           c = Add(r, b) y = Add(c, i) }}""")
    assert {str(key) for key in found.trainable} == {"w2"}
    assert found.reason == "the gradient isn't finite in 1 of 3 sites: 'w'; no gradient reaches 1 of 3 sites: 'w3'"
    printed = Console(width=200)
    with printed.capture() as capture:
        printed.print(readiness_view(found))
    assert "possible in part, 1 of 3 sites: the gradient isn't finite" in capture.get()


def test_attention_over_one_position_is_tried_over_more(ready) -> None:
    """The softmax of one score is 1, whatever the weights."""
    found = ready(f"""g (float[1, n, 16] x, {W}, float[16, 16] w2) => (float[1, n, 16] y)
        {{ q = MatMul(x, w) k = MatMul(x, w2) t = Transpose<perm = [0, 2, 1]>(k)
           s = MatMul(q, t) p = Softmax(s) y = MatMul(p, x) }}""")
    assert (len(found.trainable), found.sites, found.reason) == (2, 2, None)


REFLECT = f"""g (float[1, n] x, {W}) => (float[1, m] y)
    {{ b = Constant<value = int64[4] {{0, 1, 0, 0}}>() p = Pad<mode = "reflect">(x, b) y = MatMul(p, w) }}"""


def test_inputs_that_onnx_runtime_refuses_leave_it_open(ready) -> None:
    found = ready(REFLECT)
    assert (found.supported, found.parity_ok, found.max_abs) == (True, None, None)
    assert "--input-shape" in str(found.reason)
    found = ready(REFLECT, shapes={"x": (1, 15)})
    assert (found.parity_ok, len(found.trainable), found.reason) == (True, 1, None)


def test_data_are_taken_where_there_are_some(ready, tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, x=np.ones((3, 15), np.float32))
    found = ready(REFLECT.replace("float[1, ", "float[k, "), data=path)
    assert (found.parity_ok, found.inputs, found.reason) == (True, "data", None)


def test_an_unknown_rank_leaves_it_open(ready) -> None:
    text = f"g (float[] x, {W}) => (float[] y) {{ y = MatMul(x, w) }}"
    found = ready(text)
    assert (found.supported, found.parity_ok, len(found.trainable)) == (True, None, 0)
    assert "the shape of input 'x' is unknown: give --data" in str(found.reason)
    assert ready(text, shapes={"x": (2, 16)}).parity_ok


def test_without_onnx_runtime_it_says_so(ready, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise DependencyError("ONNX Runtime is missing")

    monkeypatch.setattr(child.Child, "ask", missing)
    found = ready(f"g (float[2, 16] x, {W}) => (float[2, 16] y) {{ y = MatMul(x, w) }}")
    assert (found.supported, found.parity_ok, len(found.trainable)) == (True, None, 0)
    assert found.reason == "ONNX Runtime is missing"


def test_a_loop_that_never_ends_is_not_begun_in_torch(ready, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "_SECONDS", 0.2)
    body = "b (int64 i, bool c, float[2, 16] v) => (bool d, float[2, 16] u) { d = Identity(c) u = Neg(v) }"
    found = ready(f"""g (float[2, 16] x, {W}) => (float[2, 16] y)
        {{ h = MatMul(x, w) n = Constant<value = int64 {{9000000000000000000}}>()
           t = Constant<value = bool {{1}}>() y = Loop<body = {body}>(n, t, h) }}""")
    assert (found.supported, found.parity_ok, len(found.trainable)) == (True, None, 0)


def test_the_module_is_left_as_it_was(ready) -> None:
    text = f"g (float[n, 16] x, {W}) => (float[n, 16] y) {{ y = MatMul(x, w) }}"
    assert ready(text) == ready(text)
