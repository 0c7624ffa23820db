"""What a model can do to the process that runs it, it does to a child."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from domino_onnx.errors import CrashError, ModelError, ProcessError
from domino_onnx.runtime import ChildSession, Session, child

Make = Callable[..., onnx.ModelProto]
Save = Callable[..., Path]
X = {"x": np.arange(8, dtype=np.float32).reshape(1, 8)}
node, info = helper.make_node, helper.make_tensor_value_info


def goes_on(condition: str) -> onnx.NodeProto:
    """A loop whose condition stays what it was."""
    body = helper.make_graph(
        [node("Identity", ["go"], ["again"]), node("Identity", ["a"], ["b"])],
        "body",
        [info("i", TensorProto.INT64, []), info("go", TensorProto.BOOL, []), info("a", TensorProto.FLOAT, ["n", 8])],
        [info("again", TensorProto.BOOL, []), info("b", TensorProto.FLOAT, ["n", 8])],
    )
    return node("Loop", ["", condition, "x"], ["y"], body=body)


@pytest.fixture
def endless(make_model: Make, save: Save) -> Path:
    return save(make_model([goes_on("true")], {"x": [1, 8]}, {"y": [1, 8]}, {"true": np.array(True)}))


@pytest.fixture
def endless_with_rows(make_model: Make, save: Save) -> Path:
    """It ends at once if the input has a single row."""
    nodes = [
        node("Shape", ["x"], ["rows"], start=0, end=1),
        node("Greater", ["rows", "one"], ["several"]),
        node("Squeeze", ["several"], ["start"]),
        goes_on("start"),
    ]
    return save(make_model(nodes, {"x": ["n", 8]}, {"y": ["n", 8]}, {"one": np.array([1])}))


@pytest.fixture
def filling(make_model: Make, save: Save) -> Path:
    """2 GiB of ones, of which ONNX Runtime hears when it runs: they follow from the shape of the input."""
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Mul", ["shape", "many"], ["wide"]),
        node("ConstantOfShape", ["wide"], ["zeros"]),
        node("Exp", ["zeros"], ["ones"]),
        node("Exp", ["ones"], ["y"]),
    ]
    return save(make_model(nodes, {"x": ["n", 8]}, {"y": ["n", 8]}, {"many": np.array([1 << 13, 1 << 12])}))


def interrupt_after(seconds: float) -> None:
    threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)).start()


def test_outputs_are_those_of_a_session_here(make_model: Make, save: Save) -> None:
    nodes = [node("Relu", ["x"], ["y"]), node("Shape", ["x"], ["s"]), node("Greater", ["x", "x"], ["z"])]
    model = make_model(nodes, {"x": ["n", 8]}, {"y": ["n", 8]}, {})
    model.graph.output.extend([info("s", TensorProto.INT64, [2]), info("z", TensorProto.BOOL, ["n", 8])])
    path = save(model)
    here = Session(path)
    with ChildSession(path) as there:
        assert (there.provider, there.output_names) == (here.provider, here.output_names)
        assert (there.output_types, there.inputs) == (here.output_types, {n: [*v] for n, v in here.inputs.items()})
        for array in (X["x"], X["x"][:, ::-1].repeat(3, 0), X["x"][:0]):
            wanted, found = here.run({"x": array}), there.run({"x": array})
            assert wanted.keys() == found.keys()
            for name, value in wanted.items():
                np.testing.assert_array_equal(found[name], value, strict=True)


def test_texts_sequences_and_maps_come_back(save: Save) -> None:
    nodes = [
        node("ZipMap", ["x"], ["maps"], domain="ai.onnx.ml", classlabels_strings=["cat", "dog"]),
        node("SequenceConstruct", ["x", "x"], ["both"]),
        node("LabelEncoder", ["k"], ["text"], domain="ai.onnx.ml", keys_int64s=[3], values_strings=["drei"]),
    ]
    floats = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    outputs = [
        helper.make_value_info(
            "maps", helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.STRING, floats))
        ),
        helper.make_value_info("both", helper.make_sequence_type_proto(floats)),
        info("text", TensorProto.STRING, [1]),
    ]
    inputs = [info("x", TensorProto.FLOAT, [1, 2]), info("k", TensorProto.INT64, [1])]
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 2)]
    path = save(helper.make_model(helper.make_graph(nodes, "g", inputs, outputs), opset_imports=domains, ir_version=8))
    x = np.array([[0.25, 0.75]], np.float32)
    with ChildSession(path) as session:
        found: Any = session.run({"x": x, "k": np.array([3])})
    np.testing.assert_array_equal(found["maps"], x)
    np.testing.assert_array_equal(found["both"], [x, x])
    assert found["text"].tolist() == ["drei"]


def test_errors_are_those_of_a_session_here(make_model: Make, save: Save) -> None:
    path = save(make_model([node("Relu", ["x"], ["y"])], {"x": [1, 8]}, {"y": [1, 8]}, {}))
    with ChildSession(path) as there:
        for inputs in ({}, {"x": np.zeros((2, 8), np.float32)}):
            with pytest.raises(ModelError) as found:
                there.run(inputs)
            with pytest.raises(ModelError) as wanted:
                Session(path).run(inputs)
            assert str(found.value) == str(wanted.value)
        np.testing.assert_array_equal(there.run(X)["y"], X["x"])
    with pytest.raises(ModelError, match="is closed"):
        there.run(X)


def test_a_loop_that_never_ends_is_ended_and_not_tried_again(endless: Path) -> None:
    with ChildSession(endless) as session, pytest.raises(ModelError, match=r"more than 0\.5 s .*may never end"):
        session.run(X, seconds=0.5)
    with ChildSession(endless) as session, pytest.raises(ModelError, match=r"more than 0\.5 s"):
        session.run(X, seconds=0.4)
    with pytest.raises(ModelError, match=r"more than 0\.5 s .*may never end"):
        Session(endless).run(X, seconds=0.5)


def test_what_took_too_long_may_be_tried_with_fewer_rows(endless_with_rows: Path) -> None:
    with ChildSession(endless_with_rows) as session, pytest.raises(ModelError, match=r"more than 0\.5 s"):
        session.run({"x": np.zeros((2, 8), np.float32)}, seconds=0.5)
    with ChildSession(endless_with_rows) as session:
        np.testing.assert_array_equal(session.run(X, seconds=0.5)["y"], X["x"])


@pytest.mark.usefixtures("hears_ctrl_c")
@pytest.mark.parametrize("kind", [Session, ChildSession])
def test_ctrl_c_ends_a_loop_that_never_ends(kind: type[Session | ChildSession], endless: Path) -> None:
    session = kind(endless)
    interrupt_after(0.3)
    with pytest.raises(KeyboardInterrupt):
        session.run(X)
    if isinstance(session, ChildSession):
        session.close()


def test_memory_has_a_limit(filling: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "available_memory", lambda: 300 << 20)
    with ChildSession(filling, threads=1) as session, pytest.raises(ModelError, match=r"more than 0\.\d GB of memory"):
        session.run(X)


def test_memory_that_isnt_there_is_told_in_words(make_model: Make, save: Save) -> None:
    nodes = [node("ConstantOfShape", ["huge"], ["z"]), node("Add", ["x", "z"], ["y"])]
    model = make_model(nodes, {"x": [1, 8]}, {"y": None}, {"huge": np.array([1 << 40, 8])})
    with ChildSession(save(model, check=False)) as session, pytest.raises(ModelError, match="memory ran out"):
        session.run(X)


def test_a_crash_names_the_signal(make_model: Make, save: Save, crashing: Callable[[str], None]) -> None:
    path = save(make_model([node("Relu", ["x"], ["y"])], {"x": [1, 8]}, {"y": [1, 8]}, {}))
    crashing("")
    with pytest.raises(CrashError, match=rf"crashes on {path} \(SIGSEGV\)"):
        ChildSession(path)


def test_a_process_that_others_kill_is_told_as_that(endless: Path) -> None:
    session = ChildSession(endless)
    assert session._child is not None
    threading.Timer(0.3, session._child._process.kill).start()
    with pytest.raises(ProcessError, match="was killed"):
        session.run(X)
    session.close()
