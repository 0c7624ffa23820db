"""Every weight is found once, as a site with the right axis or as a skip with its reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from domino_onnx.errors import ModelError, PlanError
from domino_onnx.scheme import Inventory, WeightKey

Take = Callable[..., Inventory]
Make = Callable[..., onnx.ModelProto]
node = helper.make_node


def values(*shape: int, dtype: Any = np.float32) -> np.ndarray[Any, Any]:
    return np.random.default_rng(1).standard_normal(shape).astype(dtype)


SINGLE = [
    pytest.param(node("Conv", ["x", "w"], ["y"], name="n"), (1, 16, 5, 5), (3, 16, 3, 3), 1, 16, 1, id="conv"),
    pytest.param(node("Conv", ["x", "w"], ["y"], name="n"), (1, 16, 5), (3, 16, 3), 1, 16, 1, id="conv-1d"),
    pytest.param(node("Conv", ["x", "w"], ["y"], name="n"), (1, 8, 3, 3, 3), (3, 8, 1, 2, 3), 1, 8, 1, id="conv-3d"),
    pytest.param(
        node("Conv", ["x", "w"], ["y"], name="n", group=2), (1, 16, 5, 5), (4, 8, 3, 3), 1, 8, 1, id="grouped"
    ),
    pytest.param(node("ConvTranspose", ["x", "w"], ["y"], name="n"), (1, 16, 5), (16, 3, 2), 0, 16, 1, id="transposed"),
    pytest.param(
        node("ConvTranspose", ["x", "w"], ["y"], name="n", group=4),
        (1, 32, 5),
        (32, 3, 2),
        0,
        8,
        4,
        id="transposed-grouped",
    ),
    pytest.param(node("Gemm", ["x", "w"], ["y"], name="n"), (2, 16), (16, 5), 0, 16, 1, id="gemm"),
    pytest.param(node("Gemm", ["x", "w"], ["y"], name="n", transB=1), (2, 16), (5, 16), 1, 16, 1, id="gemm-transB"),
    pytest.param(
        node("Gemm", ["x", "w"], ["y"], name="n", transA=1, transB=1),
        (16, 2),
        (5, 16),
        1,
        16,
        1,
        id="gemm-transA-transB",
    ),
    pytest.param(node("Gemm", ["w", "x"], ["y"], name="n"), (16, 2), (5, 16), 1, 16, 1, id="gemm-left"),
    pytest.param(
        node("Gemm", ["w", "x"], ["y"], name="n", transA=1), (16, 2), (16, 5), 0, 16, 1, id="gemm-left-transA"
    ),
    pytest.param(node("MatMul", ["x", "w"], ["y"], name="n"), (2, 7, 16), (16, 5), 0, 16, 1, id="matmul"),
    pytest.param(node("MatMul", ["w", "x"], ["y"], name="n"), (2, 16, 7), (5, 16), 1, 16, 1, id="matmul-left"),
    pytest.param(node("MatMul", ["x", "w"], ["y"], name="n"), (3, 7, 16), (3, 16, 5), 1, 16, 1, id="matmul-batched"),
    pytest.param(node("MatMul", ["x", "w"], ["y"], name="n"), (2, 16), (16,), 0, 16, 1, id="matmul-vector"),
    pytest.param(node("MatMul", ["w", "x"], ["y"], name="n"), (16, 3), (16,), 0, 16, 1, id="matmul-vector-left"),
]


@pytest.mark.parametrize(("op", "x", "shape", "axis", "reduction", "parts"), SINGLE)
def test_operators_are_sites_with_the_axis_that_they_sum_over(
    op: onnx.NodeProto,
    x: tuple[int, ...],
    shape: tuple[int, ...],
    axis: int,
    reduction: int,
    parts: int,
    make_model: Make,
    inventory: Take,
    run_ort: Callable[..., list[Any]],
) -> None:
    model = make_model([op], {"x": x}, {"y": None}, {"w": values(*shape)})
    found = inventory(model, shapes={})
    assert not found.skips
    (site,) = found.sites
    assert (site.key, site.name, site.op, site.dtype) == (WeightKey("w"), "n", op.op_type, "float32")
    assert (site.layout.shape, site.layout.axis, site.layout.reduction) == (shape, axis, reduction)
    assert site.layout.conv_groups == parts
    assert site.params == found.params == np.prod(shape)
    assert site.macs == counted_macs(model, x, run_ort)
    made = run_ort(model, {"x": np.ones(x, np.float32)})[0].shape
    assert site.operand == list(op.input).index("w")
    matrix = 1 if len(shape) == 1 else made[-1 if site.operand else -2]
    assert site.outputs == (made[1] if op.op_type.startswith("Conv") else matrix)
    assert site.conv_groups == next((attribute.i for attribute in op.attribute if attribute.name == "group"), 1)
    assert not site.nested


def counted_macs(model: onnx.ModelProto, x: tuple[int, ...], run_ort: Callable[..., list[Any]]) -> int:
    """With ones everywhere each output is the number of products that it sums, whatever the operator."""
    ones = onnx.ModelProto()
    ones.CopyFrom(model)
    shape = tuple(model.graph.initializer[0].dims)
    ones.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.ones(shape, np.float32), "w"))
    return int(run_ort(ones, {"x": np.ones(x, np.float32)})[0].astype(np.float64).sum())


def test_macs_of_strides_pads_and_dilations_are_weights_times_positions(make_model: Make, inventory: Take) -> None:
    # 224 with kernel 7, stride 2, padding 3: ResNet's first layer, 118,013,952 MACs as its papers count them.
    op = node("Conv", ["x", "w"], ["y"], strides=[2, 2], pads=[3, 3, 3, 3])
    model = make_model([op], {"x": (1, 3, 224, 224)}, {"y": None}, {"w": values(64, 3, 7, 7)})
    (skip,) = inventory(model, shapes={}).skips
    assert skip.macs == 118_013_952
    dilated = node("Conv", ["x", "w"], ["y"], dilations=[2, 2])
    model = make_model([dilated], {"x": (2, 4, 9, 9)}, {"y": None}, {"w": values(8, 4, 3, 3)})
    assert inventory(model, shapes={}).macs == 2 * 8 * 4 * 9 * 25


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_every_float_type_is_a_site(dtype: Any, make_model: Make, inventory: Take) -> None:
    tensor = numpy_helper.from_array(values(16, 4, dtype=dtype), "w")
    model = make_model(
        [node("MatMul", ["x", "w"], ["y"])], {"x": (1, 16)}, {"y": None}, {"w": tensor}, dtype=tensor.data_type
    )
    (site,) = inventory(model).sites
    assert site.dtype == np.dtype(dtype).name


CHAINS = [
    ([node("Transpose", ["w"], ["v"], perm=[1, 0]), node("MatMul", ["x", "v"], ["y"])], (5, 16), 1),
    ([node("Transpose", ["w"], ["v"]), node("MatMul", ["x", "v"], ["y"])], (5, 16), 1),
    ([node("Transpose", ["w"], ["u"]), node("Transpose", ["u"], ["v"]), node("MatMul", ["x", "v"], ["y"])], (16, 5), 0),
    (
        [
            node("Identity", ["w"], ["a"]),
            node("Transpose", ["a"], ["b"]),
            node("Cast", ["b"], ["c"], to=1),
            node("Gemm", ["x", "c"], ["y"]),
        ],
        (5, 16),
        1,
    ),
    ([node("Transpose", ["w"], ["v"], perm=[2, 0, 1]), node("MatMul", ["x", "v"], ["y"])], (16, 5, 1), 0),
]


@pytest.mark.parametrize(("nodes", "shape", "axis"), CHAINS)
def test_chains_of_copies_and_transposes_are_followed_to_the_stored_axis(
    nodes: list[onnx.NodeProto],
    shape: tuple[int, ...],
    axis: int,
    make_model: Make,
    inventory: Take,
    run_ort: Callable[..., list[Any]],
) -> None:
    weight = values(*shape)
    model = make_model(nodes, {"x": (1, 16)}, {"y": None}, {"w": weight})
    (site,) = inventory(model).sites
    assert site.layout.axis == axis
    # Zeros along the axis at one place: no output may see the input of that place any more.
    where = tuple(3 if position == axis else slice(None) for position in range(len(shape)))
    weight[where] = 0
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "w"))
    x = values(1, 16)
    other = x.copy()
    other[0, 3] += 100
    np.testing.assert_array_equal(run_ort(model, {"x": x})[0], run_ort(model, {"x": other})[0])


def test_constant_nodes_are_weights_like_initializers(make_model: Make, inventory: Take) -> None:
    constant = node("Constant", [], ["w"], value=numpy_helper.from_array(values(16, 4), ""))
    model = make_model([constant, node("MatMul", ["x", "w"], ["y"])], {"x": (1, 16)}, {"y": None}, {})
    (site,) = inventory(model).sites
    assert site.key == WeightKey("w")


def test_a_weight_shared_along_the_same_axis_is_one_site(make_model: Make, inventory: Take) -> None:
    nodes = [
        node("MatMul", ["x", "w"], ["a"], name="first"),
        node("MatMul", ["a", "w"], ["b"], name="second"),
        node("Gemm", ["b", "w"], ["y"], name="third"),
    ]
    model = make_model(nodes, {"x": (2, 16)}, {"y": None}, {"w": values(16, 16)})
    found = inventory(model, shapes={})
    (site,) = found.sites
    assert site.consumers == ("first", "second", "third")
    assert found.params == 256
    assert site.macs == 3 * 2 * 256


def test_a_weight_shared_along_different_axes_is_left_alone(make_model: Make, inventory: Take) -> None:
    nodes = [
        node("MatMul", ["x", "w"], ["a"], name="first"),
        node("Gemm", ["a", "w"], ["y"], transB=1, name="second"),
    ]
    model = make_model(nodes, {"x": (2, 16)}, {"y": None}, {"w": values(16, 16)})
    found = inventory(model)
    assert not found.sites
    assert "first" in found.skips[0].reason
    assert "different axes" in found.skips[0].reason
    assert found.params == 256


@pytest.mark.parametrize(
    ("extra", "outputs", "says"),
    [
        (node("Gather", ["w", "i"], ["z"], name="embed"), ["z"], "Gather 'embed'"),
        (node("Identity", ["w"], ["z"]), ["z"], "graph output"),
        (None, ["w"], "graph output"),
        (node("Add", ["w", "one"], ["z"], name="plus"), ["z"], "Add 'plus'"),
        (node("Transpose", ["w"], ["z"]), ["z"], "graph output"),
    ],
)
def test_a_weight_that_something_else_reads_is_left_alone(
    extra: onnx.NodeProto | None, outputs: list[str], says: str, make_model: Make, inventory: Take
) -> None:
    nodes = [node("MatMul", ["x", "w"], ["y"]), *([extra] if extra else [])]
    arrays = {"w": values(16, 4), "i": np.array([1], np.int64), "one": np.float32(1)}
    model = make_model(nodes, {"x": (1, 16)}, dict.fromkeys(["y", *outputs]), arrays)
    found = inventory(model, check=False)
    assert not found.sites
    assert says in found.skips[0].reason


def test_weights_computed_by_other_operators_are_left_alone_and_counted(make_model: Make, inventory: Take) -> None:
    nodes = [node("Reshape", ["w", "shape"], ["v"]), node("MatMul", ["x", "v"], ["y"])]
    model = make_model(nodes, {"x": (1, 16)}, {"y": None}, {"w": values(64), "shape": np.array([16, 4])})
    found = inventory(model)
    assert [(skip.key.name, skip.params) for skip in found.skips] == [("w", 64)]
    assert "Reshape" in found.skips[0].reason
    assert found.params == 64


def test_recurrent_weights_are_listed_and_counted(make_model: Make, inventory: Take) -> None:
    lstm = node("LSTM", ["x", "w", "r"], ["h"], hidden_size=4)
    model = make_model([lstm], {"x": (3, 1, 8)}, {"h": None}, {"w": values(1, 16, 8), "r": values(1, 16, 4)})
    found = inventory(model, shapes={})
    assert not found.sites
    assert {skip.key.name: skip.params for skip in found.counted} == {"w": 128, "r": 64}
    assert found.macs == 3 * (128 + 64)
    assert "100.0 % of the weights can't be pruned (LSTM 100.0 %)" in found.notes[0]


def test_activations_times_activations_have_no_weight(make_model: Make, inventory: Take) -> None:
    model = make_model([node("MatMul", ["x", "z"], ["y"])], {"x": (1, 16), "z": (16, 4)}, {"y": None}, {})
    found = inventory(model)
    assert not found.counted


def test_two_constant_operands_are_no_weight(make_model: Make, inventory: Take) -> None:
    nodes = [node("MatMul", ["a", "b"], ["c"]), node("Add", ["x", "c"], ["y"])]
    model = make_model(nodes, {"x": (16, 4)}, {"y": None}, {"a": values(16, 16), "b": values(16, 4)})
    found = inventory(model)
    assert not found.sites
    assert all("constant" in skip.reason for skip in found.skips)


def test_sparse_weights_of_subgraphs_are_skipped(make_model: Make, inventory: Take) -> None:
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(np.array([1.0, 2.0], np.float32), "w"),
        numpy_helper.from_array(np.array([3, 9], np.int64), "i"),
        [16, 4],
    )
    branch = helper.make_graph(
        [node("MatMul", ["x", "w"], ["b"])],
        "branch",
        [],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, None)],
        sparse_initializer=[sparse],
    )
    other = helper.make_graph(
        [node("Identity", ["x"], ["o"])], "other", [], [helper.make_tensor_value_info("o", TensorProto.FLOAT, None)]
    )
    model = make_model(
        [node("If", ["c"], ["y"], then_branch=branch, else_branch=other)],
        {"x": (1, 16)},
        {"y": None},
        {"c": np.array(True)},
    )
    (skip,) = inventory(model, check=False).skips
    assert "sparse" in skip.reason
    assert skip.params == 64


def test_overridable_initializers_are_noted_where_the_format_lets_inputs_replace_them(
    make_model: Make, inventory: Take
) -> None:
    op = node("MatMul", ["x", "w"], ["y"])
    for ir, noted in ((3, False), (8, True)):
        model = make_model([op], {"x": (1, 16), "w": (16, 4)}, {"y": None}, {"w": values(16, 4)}, ir=ir)
        found = inventory(model)
        assert len(found.sites) == 1
        assert any("w" in note for note in found.notes) == noted


def test_depthwise_and_narrow_convolutions_say_why(make_model: Make, inventory: Take) -> None:
    nodes = [
        node("Conv", ["x", "deep"], ["a"], group=6),
        node("Conv", ["a", "narrow"], ["b"]),
        node("Conv", ["b", "twenty"], ["y"]),
    ]
    arrays = {"deep": values(6, 1, 3, 3), "narrow": values(20, 6, 1, 1), "twenty": values(4, 20, 1, 1)}
    found = inventory(make_model(nodes, {"x": (1, 6, 9, 9)}, {"y": None}, arrays))
    reasons = {skip.key.name: skip.reason for skip in found.skips}
    assert "depthwise" in reasons["deep"]
    assert "6 input channels" in reasons["narrow"]
    assert not any(skip.by_options for skip in found.skips)
    (site,) = found.sites
    assert {scheme.m for scheme in site.schemes} == {4}


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ({"include": ("enc/*",)}, {"w1"}),
        ({"include": ("w[12]",)}, {"w1", "w2"}),
        ({"exclude": ("*/matmul",)}, {"w3"}),
        ({"include": ("w*",), "exclude": ("w2",)}, {"w1", "w3"}),
    ],
)
def test_include_and_exclude_match_weights_and_nodes(
    selection: dict[str, Any], expected: set[str], make_model: Make, inventory: Take
) -> None:
    nodes = [
        node("MatMul", ["x", "w1"], ["a"], name="enc/matmul"),
        node("MatMul", ["a", "w2"], ["b"], name="dec/matmul"),
        node("MatMul", ["b", "w3"], ["y"], name="head"),
    ]
    model = make_model(nodes, {"x": (1, 16)}, {"y": None}, {name: values(16, 16) for name in ("w1", "w2", "w3")})
    found = inventory(model, **selection)
    assert {site.key.name for site in found.sites} == expected
    assert found.params == 768
    assert len(found.sites) + len(found.skips) == 3
    assert all(skip.by_options for skip in found.skips)


@pytest.mark.parametrize("selection", [{"exclude": ("W1",)}, {"include": ("nothing",)}])
def test_a_pattern_that_matches_nothing_is_an_error(
    selection: dict[str, Any], make_model: Make, inventory: Take
) -> None:
    model = make_model([node("MatMul", ["x", "w1"], ["y"])], {"x": (1, 16)}, {"y": None}, {"w1": values(16, 16)})
    with pytest.raises(PlanError, match="matches no weight"):
        inventory(model, **selection)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_weights_that_are_not_finite_are_refused(bad: float, dtype: Any, make_model: Make, inventory: Take) -> None:
    weight = values(16, 4, dtype=dtype)
    weight[3, 1] = bad
    tensor = numpy_helper.from_array(weight, "w")
    model = make_model(
        [node("MatMul", ["x", "w"], ["y"], name="bad")],
        {"x": (1, 16)},
        {"y": None},
        {"w": tensor},
        dtype=tensor.data_type,
    )
    with pytest.raises(ModelError, match=r"'w' of 'bad' holds NaN or infinity in 1 of "):
        inventory(model)


def test_zeros_and_the_scheme_that_holds_already_are_reported(make_model: Make, inventory: Take) -> None:
    weight = np.abs(values(4, 32)) + 1
    weight[:, [i for i in range(32) if i % 4 > 1]] = 0
    op = node("Gemm", ["x", "w"], ["y"], transB=1)
    (site,) = inventory(make_model([op], {"x": (1, 32)}, {"y": None}, {"w": weight})).sites
    assert site.zeros == 64
    assert str(site.holds) == "2:4"
    (site,) = inventory(make_model([op], {"x": (1, 32)}, {"y": None}, {"w": np.abs(weight) + 1})).sites
    assert site.holds is None


def test_unnamed_nodes_are_told_apart(make_model: Make, inventory: Take) -> None:
    nodes = [node("MatMul", ["x", "a"], ["t"]), node("MatMul", ["t", "b"], ["y"])]
    found = inventory(make_model(nodes, {"x": (1, 16)}, {"y": None}, {"a": values(16, 16), "b": values(16, 4)}))
    names = [site.name for site in found.sites]
    assert len(set(names)) == 2
    assert all("MatMul" in name for name in names)


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 17, 18, 21, 22])
def test_every_opset_has_the_same_sites(opset: int, make_model: Make, inventory: Take) -> None:
    nodes = [
        node("Conv", ["x", "k"], ["a"]),
        node("Flatten", ["a"], ["b"]),
        node("Gemm", ["b", "w", "c"], ["y"], transB=1),
    ]
    arrays = {"k": values(16, 8, 3, 3), "w": values(4, 16), "c": values(4)}
    found = inventory(make_model(nodes, {"x": (1, 8, 3, 3)}, {"y": None}, arrays, opset=opset), shapes={})
    assert [(site.key.name, site.layout.axis) for site in found.sites] == [("k", 1), ("w", 1)]
    assert found.macs == 16 * 8 * 9 + 64


def test_both_spellings_of_the_standard_domain_are_one(make_model: Make, inventory: Take) -> None:
    model = make_model([node("MatMul", ["x", "w"], ["y"])], {"x": (1, 16)}, {"y": None}, {"w": values(16, 4)})
    model.graph.node[0].domain = "ai.onnx"
    assert len(inventory(model, check=False).sites) == 1


def test_a_foreign_operator_named_conv_is_not_a_convolution(make_model: Make, inventory: Take) -> None:
    op = node("Conv", ["x", "w"], ["y"], domain="my.domain")
    model = make_model([op], {"x": (1, 16, 3, 3)}, {"y": None}, {"w": values(4, 16, 3, 3)}, domains={"my.domain": 1})
    assert not inventory(model).counted


def test_empty_and_misshapen_weights_are_skips(make_model: Make, inventory: Take) -> None:
    for shape in ((0, 16, 1, 1), (16,), (4, 4)):
        model = make_model(
            [node("Conv", ["x", "w"], ["y"])], {"x": (1, 16, 3, 3)}, {"y": None}, {"w": np.zeros(shape, np.float32)}
        )
        found = inventory(model, check=False)
        assert not found.sites
        assert found.skips[0].reason


@pytest.mark.shared
def test_sites_of_real_models_are_those_of_the_raw_protobuf(shared: Any, inventory: Take) -> None:
    """Counted by the initializers that Conv, Gemm and MatMul read directly, no more."""
    for path in sorted((shared / "models").glob("*.onnx")):
        model = onnx.load(path, load_external_data=False)
        if any(attribute.HasField("g") for n in model.graph.node for attribute in n.attribute):
            continue
        stored = {t.name: t for t in model.graph.initializer}
        direct = {
            n.input[1]
            for n in model.graph.node
            if n.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul") and n.input[1] in stored
        }
        found = inventory(path)
        listed = {weight.key.name for weight in found.counted}
        assert direct <= listed, path.name
        divisible = {
            name
            for name in direct
            for n in model.graph.node
            if n.op_type == "Conv" and n.input[1] == name and stored[name].dims[1] % 4 == 0 and stored[name].dims[1]
        }
        assert divisible <= {site.key.name for site in found.sites}, path.name
