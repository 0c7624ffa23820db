"""Shapes that a user gives, and those that are inferred."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from domino_onnx.data import input_specs
from domino_onnx.errors import DataError, ProcessError
from domino_onnx.evaluate import random_inputs
from domino_onnx.graph import infer_shapes, inference, model_inputs, sizes_of_names
from domino_onnx.scheme import Inventory

node = helper.make_node


@pytest.fixture
def dynamic(make_model: Callable[..., Any]) -> onnx.ModelProto:
    conv = node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    weight = np.ones((4, 16, 3, 3), np.float32)
    model: onnx.ModelProto = make_model([conv], {"x": ["n", 16, "h", "w0"]}, {"y": None}, {"w": weight})
    return model


def test_dynamic_axes_leave_macs_unknown_until_a_shape_is_given(
    dynamic: onnx.ModelProto, inventory: Callable[..., Inventory]
) -> None:
    assert inventory(dynamic, shapes={}).macs is None
    assert inventory(dynamic, shapes={"x": (1, 16, 7, 5)}).macs == 4 * 16 * 9 * 35
    assert inventory(dynamic, shapes={"x": (3, 16, 7, 5)}).macs == 3 * 4 * 16 * 9 * 35


def test_a_child_killed_for_memory_is_an_error(dynamic: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that a hostile file crashes is none: that only leaves MACs unknown."""
    monkeypatch.setattr(inference, "_idle", [])
    for blow in ("SIGKILL", "SIGSEGV"):
        child = f"import os, signal\nos.kill(os.getpid(), signal.{blow})"
        monkeypatch.setattr(inference, "_CHILD", child)
        if blow == "SIGSEGV":
            assert infer_shapes(dynamic) == {}
        else:
            with pytest.raises(ProcessError, match="memory ran out: end other programs"):
                infer_shapes(dynamic)


def test_a_child_finds_the_packages_of_this_process_or_says_so(
    dynamic: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """They may be on PYTHONPATH alone, which an isolated process doesn't read."""
    monkeypatch.setattr(inference, "_idle", [])
    (tmp_path / "onnx.py").write_text("raise ImportError")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ProcessError, match="can't import onnx"):
        infer_shapes(dynamic)


def test_a_child_that_can_not_be_started_is_an_error(
    dynamic: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(inference, "_idle", [])
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(ProcessError, match="no process can be started to infer shapes in"):
        infer_shapes(dynamic)


def test_a_child_is_kept_for_the_next_model(dynamic: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "_idle", [])
    found = infer_shapes(dynamic, {"x": (1, 16, 7, 5)})
    (child,) = inference._idle
    assert infer_shapes(dynamic) != found
    assert inference._idle == [child]
    child._process.terminate()
    child._process.wait()
    assert infer_shapes(dynamic, {"x": (1, 16, 7, 5)}) == found
    (other,) = inference._idle
    assert other is not child
    other.end()


def test_a_child_that_ends_when_it_is_asked_again_is_replaced(
    dynamic: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = inference._CHILD.replace("while True:", "for _ in range(1):") + "sys.stdin.buffer.read(1)\n"
    monkeypatch.setattr(inference, "_idle", [])
    monkeypatch.setattr(inference, "_CHILD", once)
    assert infer_shapes(dynamic) == infer_shapes(dynamic) != {}
    (child,) = inference._idle
    child.end()


def test_an_unknown_batch_is_one(make_model: Callable[..., Any], inventory: Callable[..., Inventory]) -> None:
    gemm = node("Gemm", ["x", "w"], ["y"])
    for batch in ("batch", None):
        model = make_model([gemm], {"x": [batch, 16]}, {"y": None}, {"w": np.ones((16, 3), np.float32)})
        assert inventory(model, shapes={}).macs == 48


def test_inputs_of_one_symbolic_batch_get_one_size(
    make_model: Callable[..., Any], inventory: Callable[..., Inventory]
) -> None:
    nodes = [node("Add", ["x", "z"], ["s"]), node("MatMul", ["s", "w"], ["y"])]
    model = make_model(nodes, {"x": ["b", 16], "z": ["b", 16]}, {"y": None}, {"w": np.ones((16, 3), np.float32)})
    assert inventory(model, shapes={"x": (5, 16)}).macs == 5 * 48


@pytest.mark.parametrize("order", ["mx", "xm"])
def test_a_given_shape_tells_the_named_axes_of_all_inputs(
    order: str, make_model: Callable[..., Any], inventory: Callable[..., Inventory]
) -> None:
    nodes = [
        node("MatMul", ["x", "w"], ["a"]),
        node("MatMul", ["m", "v"], ["b"]),
        node("Add", ["a", "b"], ["y"]),
    ]
    arrays = {name: np.full((16, 3), size, np.float32) for name, size in (("w", 1), ("v", 2))}
    model = make_model(nodes, {name: ["n", "t", 16] for name in order}, {"y": None}, arrays)
    assert inventory(model, shapes={"x": (4, 8, 16)}).macs == 2 * 4 * 8 * 48
    inputs = random_inputs(input_specs(model), {"x": (4, 8, 16)}, 0)
    assert {name: array.shape for name, array in inputs.items()} == {"x": (4, 8, 16), "m": (4, 8, 16)}


def test_a_name_with_two_sizes_tells_nothing() -> None:
    inputs = {"x": ("n", "t"), "z": ("n", 3), "m": ("t", None)}
    assert sizes_of_names(inputs, {"x": (2, 5), "z": (4, 3)}) == {"t": 5}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"nothing": (1, 2)}, "'nothing'; the model's inputs are 'x'"),
        ({"w": (4, 16, 3, 3)}, "'w'"),
        ({"x": (1, 8, 7, 7)}, "n,16,h,w0; 1,8,7,7"),
        ({"x": (1, 16, 7)}, "doesn't fit"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    dynamic: onnx.ModelProto, given: dict[str, tuple[int, ...]], says: str
) -> None:
    with pytest.raises(DataError, match=says):
        infer_shapes(dynamic, given)


def test_a_failing_inference_only_loses_the_macs(
    make_model: Callable[..., Any], inventory: Callable[..., Inventory]
) -> None:
    weight = np.random.default_rng(0).standard_normal((4, 16, 3, 3)).astype(np.float32)
    model = make_model([node("Conv", ["x", "w"], ["y"])], {"x": (1, 3, 4)}, {"y": None}, {"w": weight})
    found = inventory(model, shapes={}, check=False)
    assert len(found.sites) == 1
    assert found.macs is None


def test_the_model_given_is_not_touched(dynamic: onnx.ModelProto) -> None:
    before = dynamic.SerializeToString()
    infer_shapes(dynamic, {"x": (1, 16, 7, 5)})
    assert dynamic.SerializeToString() == before


def test_shapes_that_depend_on_small_constants_are_inferred(
    make_model: Callable[..., Any], inventory: Callable[..., Inventory]
) -> None:
    nodes = [node("Reshape", ["x", "to"], ["r"]), node("MatMul", ["r", "w"], ["y"])]
    arrays = {"to": np.array([6, 16], np.int64), "w": np.ones((16, 3), np.float32)}
    assert inventory(make_model(nodes, {"x": (2, 3, 16)}, {"y": None}, arrays), shapes={}).macs == 6 * 48


def test_initializers_are_no_inputs_to_be_given(make_model: Callable[..., Any]) -> None:
    model = make_model(
        [node("MatMul", ["x", "w"], ["y"])],
        {"x": (1, 16), "w": (16, 4)},
        {"y": None},
        {"w": numpy_helper.from_array(np.ones((16, 4), np.float32), "w")},
        dtype=TensorProto.FLOAT,
    )
    assert [value.name for value in model_inputs(model)] == ["x"]


def test_functions_of_one_name_are_told_apart_by_their_overload(make_model: Any) -> None:
    opset = [helper.make_opsetid("", 17)]
    same = helper.make_function("local", "F", ["v"], ["r"], [helper.make_node("Relu", ["v"], ["r"])], opset)
    twice = helper.make_function(
        "local", "F", ["v"], ["r"], [helper.make_node("Concat", ["v", "v"], ["r"], axis=0)], opset
    )
    same.overload, twice.overload = "same", "twice"
    calls = [helper.make_node("F", [name], [made], domain="local") for name, made in (("x", "a"), ("a", "b"))]
    calls[0].overload, calls[1].overload = "same", "twice"
    model = make_model(
        [*calls, helper.make_node("Neg", ["b"], ["y"])], {"x": (3, 4)}, {"y": None}, {}, ir=10, domains={"local": 1}
    )
    for functions in ([same, twice], [twice, same]):
        del model.functions[:]
        model.functions.extend(functions)
        table = infer_shapes(model)
        assert (table[(), "a"], table[(), "b"]) == ((3, 4), (6, 4))


class TestWhatTheFileSays:
    """Of tensors that an operator makes for which there is no rule."""

    def model(self, make_model: Any, *said: int | str) -> onnx.ModelProto:
        nodes = [
            helper.make_node("Own", ["x"], ["a"], domain="other"),
            helper.make_node("Concat", ["a", "a"], ["b"], axis=1),
        ]
        made: onnx.ModelProto = make_model(
            [*nodes, helper.make_node("Neg", ["b"], ["y"])], {"x": ("n", 4)}, {"y": None}, {}, domains={"other": 1}
        )
        made.graph.value_info.append(helper.make_tensor_value_info("a", 1, said))
        return made

    def test_it_is_taken(self, make_model: Any) -> None:
        table = infer_shapes(self.model(make_model, 2, 5))
        assert (table[(), "a"], table[(), "b"]) == ((2, 5), (2, 10))

    @pytest.mark.parametrize(("given", "size"), [({}, 1), ({"x": (7, 4)}, 7)])
    def test_its_symbols_are_those_of_the_inputs(self, given: Any, size: int, make_model: Any) -> None:
        assert infer_shapes(self.model(make_model, "n", 5), given)[(), "b"] == (size, 10)

    def test_what_can_be_inferred_is_not_believed(self, make_model: Any) -> None:
        model = self.model(make_model, 2, 5)
        model.graph.value_info.append(helper.make_tensor_value_info("b", 1, (2, 99)))
        assert infer_shapes(model)[(), "b"] == (2, 10)

    @pytest.mark.parametrize("kind", [0, 8, 99])
    def test_impossible_values_do_no_harm(self, kind: int, make_model: Any) -> None:
        model = self.model(make_model, -5, 2**62)
        model.graph.value_info[0].type.tensor_type.elem_type = kind
        model.graph.value_info.append(onnx.ValueInfoProto(name="a"))
        infer_shapes(model)
