"""Threads, memory, and files that ask for what can't be."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from .nodes import node_model, open_model, run_node, sparse, sparse_integers, stored_weight

Change = dict[str, Any]


def _model(
    change: Callable[[dict[str, np.ndarray], Change], None] = lambda stored, attributes: None, op: str = "NmConv"
) -> bytes:
    """A pointwise convolution of 64 inputs and 40 outputs, changed."""
    stored, grouping = stored_weight(sparse(np.random.default_rng(0), (40, 64), 2, 16))
    attributes: Change = {"weight_shape": [40, 64, 1, 1], "group": 1, **grouping}
    change(stored, attributes)
    return node_model(op, ["x", *stored], stored, **attributes)


def test_one_session_runs_in_four_threads_at_once(library: str) -> None:
    generator = np.random.default_rng(1)
    session = open_model(_model(), library, threads=2)
    inputs = [generator.normal(size=(1 + i % 3, 64, 5 + i % 7, 9)).astype(np.float32) for i in range(40)]
    wanted = [session.run(None, {"x": x})[0] for x in inputs]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda x: session.run(None, {"x": x})[0], inputs * 5))
    for each, right in zip(found, wanted * 5, strict=True):
        np.testing.assert_array_equal(each, right)


def test_outputs_do_not_depend_on_threads(library: str) -> None:
    x = np.random.default_rng(1).normal(size=(1, 64, 6, 6)).astype(np.float32)
    one, four = (open_model(_model(), library, threads=threads).run(None, {"x": x})[0] for threads in (1, 4))
    np.testing.assert_array_equal(one, four)


def test_an_input_of_other_channels_is_refused(library: str) -> None:
    with pytest.raises(Exception, match="axes and channels of the weight"):
        run_node(library, _model(), {"x": np.zeros((1, 63, 3, 3), np.float32)})


def test_an_input_smaller_than_the_kernel_is_refused(library: str) -> None:
    stored, grouping = stored_weight(sparse(np.random.default_rng(0), (4, 3, 3, 16), 2, 16))
    model = node_model("NmConv", ["x", *stored], stored, weight_shape=[4, 16, 3, 3], group=1, **grouping)
    with pytest.raises(Exception, match="smaller than the kernel"):
        run_node(library, model, {"x": np.zeros((1, 16, 2, 9), np.float32)})


def test_a_residual_of_another_shape_is_refused(library: str) -> None:
    stored, grouping = stored_weight(sparse(np.random.default_rng(0), (40, 64), 2, 16))
    model = node_model("NmMatMul", ["x", *stored, "", "r"], stored, weight_shape=[40, 64], **grouping)
    with pytest.raises(Exception, match="residual has not the shape"):
        run_node(library, model, {"x": np.zeros((2, 64), np.float32), "r": np.zeros((1, 40), np.float32)})


def _set(name: str, value: Any) -> Callable[[dict[str, np.ndarray], Change], None]:
    def change(stored: dict[str, np.ndarray], attributes: Change) -> None:
        (stored if name in stored else attributes)[name] = value

    return change


def _spoil_code(stored: dict[str, np.ndarray], attributes: Change) -> None:
    stored["codes"] = np.full_like(stored["codes"], 0x11)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("m", 1), "no groups of m"),
        (_set("m", 12), "no groups of m"),
        (_set("m", -16), "no groups of m"),
        (_set("digits", 0), "digits is not"),
        (_set("digits", 3), "don't fit in a byte"),
        (_set("weight_shape", [40, 64]), "weight_shape"),
        (_set("weight_shape", [40, 0, 1, 1]), "not positive"),
        (_set("weight_shape", [-40, 64, 1, 1]), "not positive"),
        (_set("weight_shape", [40, 32, 1, 1]), "don't ascend"),
        (_set("weight_shape", [1 << 30, 1 << 30, 1, 1]), "too many|65,536|2\\^31"),
        (_set("weight_shape", [1 << 30, 64, 1, 1]), "2\\^31|as many"),
        (_set("group", 3), "group doesn't divide"),
        (_set("group", 0), "group doesn't divide"),
        (_set("strides", [0, 1]), "strides is out of range"),
        (_set("strides", [1]), "strides has not"),
        (_set("dilations", [1, 1 << 40]), "dilations is out of range"),
        (_set("pads", [0, 0, -1, 0]), "pads is out of range"),
        (_set("pads", [0, 0]), "pads has not"),
        (_set("values", np.zeros((0, 2), np.float32)), "keeps 1 to m"),
        (_set("values", np.zeros((40, 16), np.float32)), "codes are not as many"),
        (_set("codes", np.zeros(3, np.uint8)), "codes are not as many"),
        (_spoil_code, "don't ascend"),
        (_set("min", float("nan")), "min is not below max"),
        (_set("activation", "Softplus"), "activation is Softplus"),
        (_set("activation", "Swish" * 9), "activation is too long"),
        (lambda _, attributes: attributes.update(activation="Gelu", gain=float("inf")), "gain or shift is not finite"),
        (_set("gain", 2.0), "gain without an activation"),
        (_set("activation", ""), "none that it knows"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(
    library: str, change: Callable[[dict[str, np.ndarray], Change], None], message: str
) -> None:
    with pytest.raises(Exception, match=message):
        open_model(_model(change), library)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("max", (1, [1], [1.0], "1", ["1"], np.float32(1)), "max is not a float"),
        ("group", (1.0, [1], [1.0], "1", np.int64(1)), "group is not an integer"),
        ("activation", (3, 3.0, ["Gelu"], [3], np.int64(3)), "activation is not a string"),
        ("strides", (2, 2.0, [2.0, 2.0], "22", np.array([2, 2])), "strides is not a list of one or more integers"),
        ("weight_shape", (40, [40.0], "40"), "weight_shape is not a list of one or more integers"),
    ],
)
def test_an_attribute_of_another_type_is_refused(
    library: str, name: str, values: tuple[Any, ...], message: str
) -> None:
    for value in values:
        stored = (
            onnx.numpy_helper.from_array(np.asarray(value)) if isinstance(value, np.ndarray | np.generic) else value
        )
        with pytest.raises(Exception, match=message):
            open_model(_model(_set(name, stored)), library)


def test_a_residual_scale_that_is_no_number_is_refused(library: str) -> None:
    stored, grouping = stored_weight(sparse_integers(np.random.default_rng(0), (40, 64), 2, 16))
    stored |= {name: np.ones(40, np.float32) for name in ("scales", "offsets")}
    how = {"weight_shape": [40, 64, 1], "group": 1, "x_zero_point": 0, "residual_scale": float("inf")}
    with pytest.raises(Exception, match="residual_scale is not finite"):
        open_model(node_model("NmConvInt8", ["x", *stored], stored, **how, **grouping), library)


def test_an_attribute_that_is_missing_is_named(library: str) -> None:
    with pytest.raises(Exception, match="the attribute group is missing"):
        open_model(_model(lambda _, attributes: attributes.pop("group")), library)


def _with_bias(op: str) -> bytes:
    """A model of one product with a bias, which the file stores."""
    generator = np.random.default_rng(0)
    weight = sparse_integers if op == "NmMatMulInt8" else sparse
    stored, grouping = stored_weight(weight(generator, (40, 64), 2, 16))
    if op == "NmMatMulInt8":
        stored["scales"] = np.ones(40, np.float32)
    stored["b"] = np.full(40, 100, np.float32)
    shape = {"weight_shape": [40, 64, 1], "group": 1} if op == "NmConv" else {"weight_shape": [40, 64]}
    return node_model(op, ["x", *stored], stored, **shape, **grouping)


@pytest.mark.parametrize("op", ["NmMatMul", "NmMatMulInt8", "NmConv"])
@pytest.mark.parametrize("is_overridable", [False, True])
def test_a_bias_that_a_run_may_change_is_refused(library: str, op: str, is_overridable: bool) -> None:
    model = onnx.load_from_string(_with_bias(op))
    open_model(model.SerializeToString(), library)
    model.graph.input.append(helper.make_tensor_value_info("b", onnx.TensorProto.FLOAT, [40]))
    if not is_overridable:
        model.graph.initializer.pop()
    with pytest.raises(Exception, match="bias is not stored in the file"):
        open_model(model.SerializeToString(), library)


def test_a_weight_that_is_computed_is_refused(library: str) -> None:
    model = node_model("NmMatMul", ["x", "values", "codes"], {}, weight_shape=[40, 64], m=16, digits=2)
    with pytest.raises(Exception, match=r"(?i)stored in the file|type"):
        open_model(model, library)


def test_an_unknown_instruction_set_is_refused(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOMINO_ONNX_KERNELS", "mmx")
    with pytest.raises(Exception, match="DOMINO_ONNX_KERNELS is mmx"):
        open_model(_model(), library)
