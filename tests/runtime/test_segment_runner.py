"""A model run piece by piece gives what ONNX Runtime gives on the whole."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from domino_onnx.errors import ModelError
from domino_onnx.graph import OnnxFile, read_model, stored_tensors
from domino_onnx.graph.order import execution_order
from domino_onnx.runtime import SegmentRunner

Array = np.ndarray[Any, np.dtype[Any]]
Run = Callable[..., list[Array]]
Save = Callable[..., Path]

SHARED = Path(os.environ.get("DOMINO_ONNX_SHARED", "/nonexistent"))
CUT_AT = ("Conv", "ConvTranspose", "Gemm", "MatMul")
SIZES = (2, 1, 4, 8, 16, 32, 64, 128)
"""For dimensions that a model leaves open, until ONNX Runtime accepts the input."""


def cuts(model: ModelProto) -> list[int]:
    nodes = [model.graph.node[position] for position in execution_order(model.graph.node)]
    return [place for place, node in enumerate(nodes) if node.op_type in CUT_AT]


def piecewise(
    file: OnnxFile, inputs: Mapping[str, Array], changed: Mapping[str, Array] | None = None
) -> dict[str, Array]:
    """What is live after all segments, with cuts at every node that multiplies with a weight."""
    changed = changed or {}
    tensors = {key.name: tensor for key, tensor in stored_tensors(file.proto).items() if not key.scope}
    dense = {name: file.array(tensors[name]) for name in changed}
    walk = SegmentRunner(file, cuts(file.proto), changed, threads=1)
    live = dict(inputs)
    for index in range(walk.count):
        before = dict(live)
        live = walk.release(index, walk.run(index, live, changed, dense))
        assert all(name in live or name in before for name in live)
    return live


def same(file: OnnxFile, inputs: Mapping[str, Array], expected: list[Array], *, rtol: float = 1e-4) -> None:
    live = piecewise(file, inputs)
    stored = {tensor.name: tensor for tensor in file.proto.graph.initializer}
    for output, wanted in zip(file.proto.graph.output, expected, strict=True):
        if output.name in stored and output.name not in live:  # a stored tensor as it is: no node makes it
            continue
        got = live[output.name]
        assert got.dtype == wanted.dtype
        scale = float(np.abs(wanted[np.isfinite(wanted)]).max(initial=1e-6)) if wanted.dtype.kind == "f" else 0
        np.testing.assert_allclose(got, wanted, rtol=rtol, atol=rtol * scale)


@pytest.mark.parametrize("name", ["digits_resnet", "digits_transformer"])
def test_samples(name: str, samples: Path, run_ort: Run) -> None:
    path = samples / f"{name}.onnx"
    with np.load(samples / "digits_evaluation.npz") as data:
        inputs = {"image": data["image"][:5]}
    file = read_model(path)
    assert len(cuts(file.proto)) > 5
    same(file, inputs, run_ort(path, inputs))


def drawn(value: onnx.ValueInfoProto, size: int) -> Array:
    kind = value.type.tensor_type
    shape = [dim.dim_value if dim.dim_value > 0 else size for dim in kind.shape.dim]
    dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
    rng = np.random.default_rng(0)
    return np.asarray(rng.standard_normal(shape) if dtype.kind == "f" else rng.integers(0, 2, shape)).astype(dtype)


def compare_real(path: Path, run_ort: Run) -> None:
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, InvalidGraph, RuntimeException

    file = read_model(path)
    stored = {tensor.name for tensor in file.proto.graph.initializer}
    for size in SIZES:
        inputs = {value.name: drawn(value, size) for value in file.proto.graph.input if value.name not in stored}
        try:
            expected = run_ort(path, inputs)
        except (Fail, InvalidArgument, InvalidGraph, RuntimeException):
            continue
        if all(isinstance(output, np.ndarray) for output in expected):
            half = any(output.dtype == np.float16 for output in expected)
            same(file, inputs, expected, rtol=2e-2 if half else 1e-3)
            return
    pytest.skip("ONNX Runtime accepts none of the inputs tried")


@pytest.mark.shared
@pytest.mark.parametrize("path", sorted(SHARED.glob("models/*.onnx")), ids=lambda path: path.stem)
def test_real_models(path: Path, run_ort: Run) -> None:
    compare_real(path, run_ort)


@pytest.mark.shared
@pytest.mark.parametrize("path", sorted(SHARED.glob("corpus/*.onnx")), ids=lambda path: path.stem)
def test_corpus(path: Path, run_ort: Run) -> None:
    compare_real(path, run_ort)


def weights(*names: str, shape: tuple[int, ...] = (4, 4)) -> list[TensorProto]:
    rng = np.random.default_rng(1)
    return [numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name) for name in names]


def parsed(graph: str, *names: str) -> ModelProto:
    """A model from text, with (4, 4) weights of these names."""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17, "local" : 1]> {graph}')
    model.graph.initializer.extend(weights(*names))
    return model


X = np.random.default_rng(2).standard_normal((3, 4)).astype(np.float32)

GRAPHS = {
    "nothing to cut": "g (float[n, 4] x) => (float[n, 4] y) { y = Relu (x) }",
    "a chain": """g (float[n, 4] x) => (float[n, 4] y)
        { a = Relu (x) b = MatMul (a, w) c = Tanh (b) d = Gemm (c, v) e = Add (d, a) y = Neg (e) }""",
    "an input goes a long way": """g (float[n, 4] x) => (float[n, 4] y)
        { a = MatMul (x, w) b = MatMul (a, v) y = Add (b, x) }""",
    "outputs in the middle": """g (float[n, 4] x) => (float[n, 4] a, float[n, 4] y)
        { a = MatMul (x, w) b = MatMul (a, v) y = Tanh (b) }""",
    "an output is an input": """g (float[n, 4] x) => (float[n, 4] x, float[n, 4] y)
        { a = MatMul (x, w) y = MatMul (a, v) }""",
    "an output is a constant": """g (float[n, 4] x) => (float[1] k, float[4, 4] t, float[n, 4] y)
        { k = Constant <value = float[1] {2}> () t = Transpose (w) a = MatMul (x, t) y = MatMul (a, v) }""",
    "only constants come out": """g (float[n, 4] x) => (float[4, 4] t)
        { a = MatMul (x, v) t = Transpose (w) }""",
    "an output is stored": """g (float[n, 4] x) => (float[4, 4] w, float[n, 4] y)
        { a = MatMul (x, w) y = MatMul (a, v) }""",
    "constants through chains": """g (float[n, 4] x) => (float[n, 4] y)
        { k = Constant <value = float[1] {2}> () s = Mul (w, k) d = Cast <to = 11> (s) f = Cast <to = 1> (d)
          t = Transpose (f) a = MatMul (x, t) b = MatMul (a, t) c = Mul (b, k) y = MatMul (c, v) }""",
    "a shape goes along": """g (float[n, 4] x) => (float[n, 4] y)
        { s = Shape (x) a = MatMul (x, w) f = Flatten <axis = 0> (a) r = Reshape (f, s) y = MatMul (r, v) }""",
    "an optional input is left out": """g (float[n, 4] x) => (float[n, 4] y)
        { z = Constant <value = float {1}> () a = MatMul (x, w) b = Clip (a, , z) y = MatMul (b, v) }""",
    "several outputs of a node": """g (float[n, 4] x) => (float[n, 4] y)
        { k = Constant <value = int64[1] {2}> () a = MatMul (x, w) t, i = TopK (a, k) f = Cast <to = 1> (i)
          c = Concat <axis = 1> (t, f) y = MatMul (c, v) }""",
}


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_small_graphs(graph: str, save: Save, run_ort: Run) -> None:
    path = save(parsed(graph, *[name for name in "wv" if re.search(rf"[(]{name}|, {name}[)]", graph)]))
    same(read_model(path), {"x": X}, run_ort(path, {"x": X}))


def branching() -> ModelProto:
    """An If between two cuts, whose branches read activations, a stored tensor and a constant of the main graph."""
    model = parsed(
        """g (bool c, float[n, 4] x) => (float[n, 4] y)
        { k = Constant <value = float[1] {2}> () a = MatMul (x, w) h = MatMul (a, v) y = MatMul (z, v) }""",
        *"wvu",
    )
    then = onnx.parser.parse_graph("t () => (float[n, 4] o) { m = MatMul (a, u) p = Mul (m, k) o = Add (p, x) }")
    other = onnx.parser.parse_graph("e () => (float[n, 4] o) { o = Identity (h) }")
    model.graph.node.insert(3, helper.make_node("If", ["c"], ["z"], then_branch=then, else_branch=other))
    return model


@pytest.mark.parametrize("condition", [True, False])
def test_branches_read_from_around_them(condition: bool, save: Save, run_ort: Run) -> None:
    path = save(branching())
    inputs = {"c": np.array(condition), "x": X}
    same(read_model(path), inputs, run_ort(path, inputs))


def test_a_loop_reads_from_around_it(save: Save, run_ort: Run) -> None:
    model = parsed(
        """g (float[n, 4] x) => (float[n, 4] y)
        { n = Constant <value = int64 {3}> () t = Constant <value = bool {1}> ()
          a = MatMul (x, w) b = MatMul (a, v) y = Tanh (z) }""",
        *"wv",
    )
    body = onnx.parser.parse_graph(
        """b (int64 i, bool c, float[n, 4] s) => (bool d, float[n, 4] r)
        { d = Identity (c) m = Add (s, a) r = Add (m, x) }"""
    )
    model.graph.node.insert(4, helper.make_node("Loop", ["n", "t", "b"], ["z"], body=body))
    path = save(model)
    same(read_model(path), {"x": X}, run_ort(path, {"x": X}))


def test_local_functions(save: Save, run_ort: Run) -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17, "local" : 1]>
        g (float[n, 4] x) => (float[n, 4] y)
        { a = MatMul (x, w) b = local.f (a, v) c = MatMul (b, w) y = local.f (c, v) }
        <domain: "local", opset_import: ["" : 17]>
        f (p, q) => (r) { k = Constant <value = float[1] {2}> () s = Mul (p, k) r = MatMul (s, q) }"""
    )
    model.graph.initializer.extend(weights(*"wv"))
    path = save(model)
    same(read_model(path), {"x": X}, run_ort(path, {"x": X}))


def test_external_data(save: Save, run_ort: Run, tmp_path: Path) -> None:
    model = parsed(GRAPHS["constants through chains"], *"wv")
    onnx.save(model, tmp_path / "big.onnx", save_as_external_data=True, location="big.data", size_threshold=0)
    file = read_model(tmp_path / "big.onnx")
    assert file.has_external_data
    expected = run_ort(save(parsed(GRAPHS["constants through chains"], *"wv")), {"x": X})
    same(file, {"x": X}, expected)
    assert file.has_external_data
    changed = {"w": file.array(file.proto.graph.initializer[0]) * 2}  # fed from a memory map
    got = piecewise(file, {"x": X}, changed)
    np.testing.assert_allclose(got["y"], 4 * expected[0], rtol=1e-5)


def test_old_models_list_their_weights_as_inputs(save: Save, run_ort: Run) -> None:
    model = parsed(GRAPHS["a chain"], *"wv")
    model.ir_version = 3  # initializers had to be inputs as well
    model.opset_import[0].version = 11
    for name in "wv":
        model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, (4, 4)))
    path = save(model)
    same(read_model(path), {"x": X}, run_ort(path, {"x": X}))
    assert piecewise(read_model(path), {"x": X}, {"w": np.zeros((4, 4), np.float32)})["y"].shape == (3, 4)


def test_nodes_in_any_order(save: Save, run_ort: Run) -> None:
    """ONNX asks for sorted graphs, but ONNX Runtime takes others, and so do exporters."""
    model = parsed(GRAPHS["constants through chains"], *"wv")
    expected = run_ort(save(model), {"x": X})
    for seed in range(4):
        nodes = [model.graph.node[place] for place in np.random.default_rng(seed).permutation(len(model.graph.node))]
        mixed = ModelProto()
        mixed.CopyFrom(model)
        del mixed.graph.node[:]
        mixed.graph.node.extend(nodes)
        same(read_model(save(mixed, f"{seed}.onnx", check=False)), {"x": X}, expected)


def test_a_cycle_is_refused(save: Save) -> None:
    model = parsed("g (float[n, 4] x) => (float[n, 4] y) { y = MatMul (x, w) }", "w")
    for a, b in ("pq", "qp"):
        model.graph.node.append(helper.make_node("Neg", [a], [b]))
    with pytest.raises(ModelError, match="cycle"):
        SegmentRunner(read_model(save(model, check=False)), [], [])


def with_value(model: ModelProto, name: str, value: Array) -> ModelProto:
    """The model with another value for an initializer or a Constant."""
    changed = ModelProto()
    changed.CopyFrom(model)
    stored = next(tensor for key, tensor in stored_tensors(changed).items() if (key.name, key.scope) == (name, ()))
    stored.CopyFrom(numpy_helper.from_array(value, stored.name))
    return changed


CONSTANT = """g (float[n, 4] x) => (float[n, 4] y)
    { w = Constant <value = float[4, 4] {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}> ()
      t = Transpose (w) a = MatMul (x, t) b = MatMul (a, w) y = MatMul (b, v) }"""


@pytest.mark.parametrize("graph", [GRAPHS["a chain"], GRAPHS["constants through chains"], CONSTANT])
@pytest.mark.parametrize("names", ["w", "v", "wv"])
def test_a_changed_weight_is_as_good_as_a_stored_one(graph: str, names: str, save: Save, run_ort: Run) -> None:
    model = parsed(graph, *("v" if graph is CONSTANT else "wv"))
    file = read_model(save(model))
    changed = {name: np.random.default_rng(3).standard_normal((4, 4)).astype(np.float32) for name in names}
    for name, value in changed.items():
        model = with_value(model, name, value)
    expected = run_ort(save(model, "changed.onnx"), {"x": X})[0]
    np.testing.assert_allclose(piecewise(file, {"x": X}, changed)["y"], expected, rtol=1e-4, atol=1e-4)


def test_a_weight_changes_in_branches_too(save: Save, run_ort: Run) -> None:
    model, inputs = branching(), {"c": np.array(True), "x": X}
    file = read_model(save(model))
    changed = {"u": np.full((4, 4), 0.5, np.float32)}
    expected = run_ort(save(with_value(model, "u", changed["u"]), "changed.onnx"), inputs)[0]
    np.testing.assert_allclose(piecewise(file, inputs, changed)["y"], expected, rtol=1e-4, atol=1e-5)


def test_weights_may_change_from_run_to_run(save: Save) -> None:
    file = read_model(save(parsed(GRAPHS["a chain"], *"wv")))
    dense = {tensor.name: file.array(tensor) for tensor in file.proto.graph.initializer}
    walk = SegmentRunner(file, cuts(file.proto), dense, ["b"], threads=1)
    start = walk.release(0, walk.run(0, {"x": X}, {}, dense))
    kept = dict(start)
    outputs = [walk.run(1, start, {"w": np.float32(factor) * dense["w"]}, dense)["b"] for factor in (1, 2, 0)]
    np.testing.assert_allclose(outputs[1], 2 * outputs[0], rtol=1e-6)
    np.testing.assert_array_equal(outputs[2], 0 * outputs[0])
    np.testing.assert_allclose(walk.run(1, start, {}, dense)["b"], outputs[0], rtol=1e-5)
    assert start.keys() == kept.keys() == {"a"}  # what is live before a run is left as it is
    walk.forget_before(walk.count)
    np.testing.assert_allclose(walk.run(1, start, {}, dense)["b"], outputs[0], rtol=1e-5)


def test_half_precision(save: Save, run_ort: Run) -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]> g (float16[n, 4] x) => (float16[n, 4] y)
        { a = MatMul (x, w) b = Relu (a) y = MatMul (b, w) }"""
    )
    half = np.random.default_rng(4).standard_normal((4, 4)).astype(np.float16)
    model.graph.initializer.append(numpy_helper.from_array(half, "w"))
    path = save(model)
    same(read_model(path), {"x": X.astype(np.float16)}, run_ort(path, {"x": X.astype(np.float16)}), rtol=1e-2)
    doubled = piecewise(read_model(path), {"x": X.astype(np.float16)}, {"w": half * np.float16(2)})["y"]
    expected = run_ort(save(with_value(model, "w", half * np.float16(2)), "b.onnx"), {"x": X.astype(np.float16)})[0]
    np.testing.assert_allclose(doubled, expected, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize(
    "graph",
    [
        """g (float[n, 4] x) => (float[n, 4] y)
        { i = Constant <value = int64 {0}> () a = MatMul (x, w) s = SequenceConstruct (a, x) b = MatMul (a, v)
          c = SequenceAt (s, i) y = Add (b, c) }""",
        """g (float[n, 4] x) => (float[n, 4] y)
        { a = MatMul (x, w) o = Optional (a) b = MatMul (a, v) c = OptionalGetElement (o) y = Add (b, c) }""",
    ],
    ids=["sequence", "optional"],
)
def test_only_tensors_may_pass_from_piece_to_piece(graph: str, save: Save) -> None:
    file = read_model(save(parsed(graph, *"wv")))
    with pytest.raises(ModelError, match=r"piece by piece: '[so]' is a (seq|optional)"):
        piecewise(file, {"x": X})


def test_an_output_that_is_no_tensor_is_left_out(save: Save, run_ort: Run) -> None:
    graph = """g (float[n, 4] x) => (float[n, 4] y, seq(float[n, 4]) s)
        { a = MatMul (x, w) s = SequenceConstruct (a, x) y = MatMul (a, v) }"""
    path = save(parsed(graph, *"wv"))
    live = piecewise(read_model(path), {"x": X})
    np.testing.assert_allclose(live["y"], run_ort(path, {"x": X})[0], rtol=1e-5)
    assert "s" not in live


def test_a_sequence_inside_a_piece_is_fine(save: Save, run_ort: Run) -> None:
    graph = """g (float[n, 4] x) => (float[n, 4] y)
        { i = Constant <value = int64 {0}> () a = MatMul (x, w) s = SequenceConstruct (a, x) c = SequenceAt (s, i)
          y = MatMul (c, v) }"""
    path = save(parsed(graph, *"wv"))
    same(read_model(path), {"x": X}, run_ort(path, {"x": X}))
