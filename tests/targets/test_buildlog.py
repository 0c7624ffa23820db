"""Logs as trtexec and TensorRT's own loggers write them."""

from __future__ import annotations

import pytest

from domino_onnx.targets import read_build_log

TRTEXEC = """\
[08/05/2024-12:06:54] [I] [TRT] Total Activation Memory: 7864832
[08/05/24-12:06:54] [I] [TRT] (Sparsity) Layers eligible for sparse math: MatMul_40, Conv_61 + Relu_62, Conv_23
[08/05/24-12:06:54] [I] [TRT] (Sparsity) TRT inference plan picked sparse implementation for layers: Conv_61 + Relu_62
[08/05/2024-12:06:55] [I] Engine built in 31.1935 sec.
"""
PYTHON = """\
[TensorRT] INFO: (Sparsity) Layers eligible for sparse math: Conv_0
[TensorRT] INFO: (Sparsity) TRT inference plan picked sparse implementation for layers:
"""


def test_a_log_of_trtexec() -> None:
    log = read_build_log(TRTEXEC)
    assert log.eligible == ("MatMul_40", "Conv_61 + Relu_62", "Conv_23")
    assert log.picked == ("Conv_61 + Relu_62",)
    assert log.of([("Conv_61", "y")]) == "picked"
    assert log.of([("Relu_62", "y")]) == "picked"
    assert log.of([("Conv_23", "y")]) == "eligible"
    assert log.of([("Conv_6", "y")]) == "not eligible"


def test_nothing_picked() -> None:
    log = read_build_log(PYTHON.replace("\n", "\r\n"))
    assert (log.eligible, log.picked, log.said_anything) == (("Conv_0",), (), True)
    assert log.of([("Conv_0", "y")]) == "eligible"


@pytest.mark.parametrize("text", ["", "[I] Engine built in 3 sec.", "Sparsity: Enabled"])
def test_a_log_that_says_nothing_of_sparsity(text: str) -> None:
    log = read_build_log(text)
    assert not log.said_anything
    assert log.of([("Conv_0", "y")]) is None


def test_several_builds_are_added_up_and_joined_layers_are_taken_apart() -> None:
    log = read_build_log(
        TRTEXEC + PYTHON + "(Sparsity) Layers eligible for sparse math: /a/Conv || /b/Conv, PWN(/c/Mul)"
    )
    assert len(log.eligible) == 6
    assert {log.of([(name, "y")]) for name in ("/a/Conv", "/b/Conv", "/c/Mul", "Conv_0")} == {"eligible"}


LINE = "(Sparsity) Layers eligible for sparse math: node_of_a + node_of_b, MatMul_3"


def test_a_node_without_a_name_goes_by_its_first_output() -> None:
    log = read_build_log(LINE)
    assert {log.of([("", name)]) for name in ("a", "b")} == {"eligible"}
    assert log.of([("", "MatMul_3")]) == "not eligible"
    assert log.of([("c", "a")]) == "not eligible"  # it has a name


def test_a_node_whose_name_is_not_known_may_be_any() -> None:
    log = read_build_log(LINE)
    assert log.of([None]) is None
    assert log.of([("c", "y"), None]) is None
    assert log.of([None, ("", "a")]) == "eligible"
