"""Threads, memory, and files that ask for what can't be."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from .nodes import node_model, open_model, run_node, sparse, stored_weight

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
    ],
)
def test_a_file_that_contradicts_itself_is_refused(
    library: str, change: Callable[[dict[str, np.ndarray], Change], None], message: str
) -> None:
    with pytest.raises(Exception, match=message):
        open_model(_model(change), library)


def test_a_weight_that_is_computed_is_refused(library: str) -> None:
    model = node_model("NmMatMul", ["x", "values", "codes"], {}, weight_shape=[40, 64], m=16, digits=2)
    with pytest.raises(Exception, match=r"(?i)stored in the file|type"):
        open_model(model, library)


def test_an_unknown_instruction_set_is_refused(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOMINO_ONNX_KERNELS", "mmx")
    with pytest.raises(Exception, match="DOMINO_ONNX_KERNELS is mmx"):
        open_model(_model(), library)
