"""The module that a model becomes: its names, weights, inputs and outputs."""

from __future__ import annotations

import copy

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

import domino_onnx.bridge
from domino_onnx.bridge import build
from domino_onnx.errors import DataError
from domino_onnx.scheme.key import WeightKey


def parse(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {text}')


def test_public_names_are_sorted_and_exist() -> None:
    names = domino_onnx.bridge.__all__
    assert names == sorted(names)
    assert all(hasattr(domino_onnx.bridge, name) for name in names)


def test_weights_keep_their_names_whatever_they_are() -> None:
    model = parse("""g (float[2] x) => (float[2] y) <float[2] forward = {1, 2}, float[2] weights = {3, 4}>
        { a = Add(x, forward)  y = Mul(a, weights) }""")
    model.graph.initializer[1].name = "block.0.conv.weight"
    model.graph.node[1].input[1] = "block.0.conv.weight"
    module = build(model)
    assert set(module.weights) == {WeightKey("forward"), WeightKey("block.0.conv.weight")}
    y = module({"x": torch.zeros(2)})["y"]
    torch.testing.assert_close(y, torch.tensor([3.0, 8.0]))


def test_weights_need_no_gradient_until_asked() -> None:
    module = build(parse("g (float[1] x) => (float[1] y) <float[1] w = {2}> { y = Mul(x, w) }"))
    assert not any(parameter.requires_grad for parameter in module.parameters())
    module.weights[WeightKey("w")].requires_grad_(True)
    module({"x": torch.tensor([3.0])})["y"].sum().backward()
    assert module.weights[WeightKey("w")].grad.item() == 3


def test_float_constants_are_weights_and_others_are_not() -> None:
    module = build(
        parse("""g (float[2] x) => (float[2] y)
        { c = Constant<value = float[2] {1, 2}>()  i = Constant<value_ints = [2]>()
          z = Mul(x, c)  y = Reshape(z, i) }""")
    )
    assert set(module.weights) == {WeightKey("c")}


def test_inputs_are_those_that_no_initializer_fills() -> None:
    module = build(parse("g (float[1] x, float[1] w) => (float[1] y) <float[1] w = {2}> { y = Mul(x, w) }"))
    assert module.input_names == ("x",)
    assert module.output_names == ("y",)


def test_outputs_may_be_inputs_or_initializers() -> None:
    module = build(parse("g (float[1] x) => (float[1] x, float[1] w) <float[1] w = {2}> { }"))
    outputs = module({"x": torch.tensor([5.0])})
    assert {name: value.item() for name, value in outputs.items()} == {"x": 5, "w": 2}


def test_a_missing_or_unknown_input_is_named() -> None:
    module = build(parse("g (float[1] x) => (float[1] y) { y = Relu(x) }"))
    with pytest.raises(DataError, match=r"\['x'\].*\['image'\]"):
        module({"image": torch.zeros(1)})


def test_intermediate_tensors_can_be_kept() -> None:
    module = build(
        parse("""g (float[2] x) => (float[2] y) <float[2] w = {1, 1}>
        { a = Add(x, w)  dead = Neg(a)  y = Relu(a) }""")
    )
    outputs = module({"x": torch.tensor([1.0, -3.0])}, keep=["a", "dead", "w"])
    assert list(outputs) == ["y", "a", "dead", "w"]
    torch.testing.assert_close(outputs["a"], torch.tensor([2.0, -2.0]))
    torch.testing.assert_close(outputs["dead"], -outputs["a"])
    with pytest.raises(DataError, match="nowhere"):
        module({"x": torch.zeros(2)}, keep=["nowhere"])


def test_a_copy_has_weights_of_its_own() -> None:
    module = build(parse("g (float[1] x) => (float[1] y) <float[1] w = {2}> { y = Mul(x, w) }"))
    x = {"x": torch.ones(1)}
    module(x)
    teacher = copy.deepcopy(module)
    with torch.no_grad():
        module.weights[WeightKey("w")].fill_(7)
    assert (module(x)["y"].item(), teacher(x)["y"].item()) == (7, 2)


def test_a_state_dict_goes_back_in() -> None:
    model = parse("g (float[1] x) => (float[1] y) <float[1] w = {2}> { y = Mul(x, w) }")
    trained, fresh = build(model), build(model)
    with torch.no_grad():
        trained.weights[WeightKey("w")].fill_(7)
    fresh.load_state_dict(trained.state_dict())
    assert fresh.weights[WeightKey("w")].item() == 7


def test_shapes_are_evaluated_once_but_weights_never() -> None:
    model = parse("""g (float[2, 3] x) => (float[n] y) <float[1] w = {2}, int64[1] n = {6}>
        { f = Cast<to = 1>(n)  g = Mul(f, w)  s = Cast<to = 7>(f)  z = Reshape(x, s)  y = Add(z, g) }""")
    module = build(model)
    x = {"x": torch.zeros(2, 3)}
    assert module(x)["y"].tolist() == [12.0] * 6
    with torch.no_grad():
        module.weights[WeightKey("w")].fill_(1)
    assert module(x)["y"].tolist() == [6.0] * 6


def test_large_constants_move_with_the_module_and_small_ones_stay() -> None:
    model = parse("g (float[1] x) => (float[100] y) { y = CastLike(i, x) }")
    model.graph.initializer.append(numpy_helper.from_array(np.arange(100), "i"))
    module = build(model).to("meta")
    assert [buffer.device.type for buffer in module.buffers()] == ["meta"]


def test_weights_come_through_load() -> None:
    asked = []

    def load(tensor: onnx.TensorProto) -> np.ndarray:
        asked.append(tensor.name)
        return np.array([5.0], np.float32)

    model = parse("g (float[1] x) => (float[1] y) <float[1] w = {2}> { y = Mul(x, w) }")
    module = build(model, load=load)
    assert asked == ["w"]
    assert module({"x": torch.ones(1)})["y"].item() == 5


def test_sparse_initializers_are_expanded() -> None:
    model = parse("g (float[2, 3] x) => (float[2, 3] y) { y = Mul(x, w) }")
    for indices in (np.array([1, 5]), np.array([[0, 1], [1, 2]])):
        sparse = onnx.helper.make_sparse_tensor(
            numpy_helper.from_array(np.array([7, 8], np.float32), "w"),
            numpy_helper.from_array(indices, "w_indices"),
            [2, 3],
        )
        del model.graph.sparse_initializer[:]
        model.graph.sparse_initializer.append(sparse)
        y = build(model)({"x": torch.ones(2, 3)})["y"]
        assert y.tolist() == [[0, 7, 0], [0, 0, 8]]


def test_a_value_is_freed_after_its_last_reader() -> None:
    module = build(parse("g (float[1] x) => (float[1] y) { a = Neg(x)  b = Exp(a)  c = Exp(b)  y = Add(c, a) }"))
    names = {slot: name for name, slot in module._program.names.items()}
    turns = module._scheduled(frozenset(), module._program.outputs.values())
    assert [{names[slot] for slot in turn.spent} for turn in turns] == [{"x"}, set(), {"b"}, {"a", "c"}]


def test_what_no_output_needs_is_not_evaluated() -> None:
    module = build(parse("g (float[1] x) => (float[1] y) { dead = Exp(x)  y = Neg(x) }"))
    turns = module._scheduled(frozenset(), module._program.outputs.values())
    assert [turn.step.operator.name for turn in turns] == ["Neg"]
