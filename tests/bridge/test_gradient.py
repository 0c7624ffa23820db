"""A gradient reaches every weight, through whatever stands before it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from domino_onnx.bridge import build
from domino_onnx.scheme.key import WeightKey

REAL_MODELS = (
    "ch_PP-OCRv4_rec_infer",
    "ch_ppocr_mobile_v2.0_cls_infer",
    "crepe-tiny",
    "efficientnet-lite0",
    "magika_standard_v3_3",
    "mobilenet_v1_0.25_224_float",
    "pretrainedResnet",
    "resemblyzer",
    "resnet20_cifar10jpg",
    "silero_vad_op18_ifless",
    "squeezenet1.1",
)
PIXELS = {"ch_PP-OCRv4_rec_infer": (1, 3, 48, 64), "ch_ppocr_mobile_v2.0_cls_infer": (1, 3, 48, 192)}
LENGTHS = {"crepe-tiny": 1024, "magika_standard_v3_3": 2048, "resemblyzer": 20, "silero_vad_op18_ifless": 512}
KERNELS = {"Conv", "ConvTranspose", "Gemm", "LSTM", "MatMul"}


def parse(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> {text}')


@pytest.mark.parametrize(
    "path",
    [
        "v = Transpose<perm = [1, 0]>(w)",
        "v = Identity(w)",
        "d = Cast<to = 11>(w)  v = Cast<to = 1>(d)",
        "n = Constant<value = int64[2] {2, 2}>()  v = Reshape(w, n)",
        "s = Constant<value = float {0.1}>()  z = Constant<value = int8 {0}>()"
        "  q = QuantizeLinear(w, s, z)  v = DequantizeLinear(q, s, z)",
    ],
)
def test_a_weight_is_reached_behind(path: str) -> None:
    signature = "g (float[1, 2] x) => (float[1, 2] y) <float[2, 2] w = {1, 2, 3, 4}>"
    module = build(parse(f"{signature} {{ {path} y = MatMul(x, v) }}"))
    weight = module.weights[WeightKey("w")].requires_grad_(True)
    y = module({"x": torch.ones(1, 2)})["y"]
    (y * torch.tensor([[1.0, 10.0]])).sum().backward()
    columns = torch.tensor([[1.0, 10.0], [1.0, 10.0]])
    torch.testing.assert_close(weight.grad, columns.T if "Transpose" in path else columns)


def test_a_clipped_value_gets_no_gradient() -> None:
    module = build(
        parse("""g (float[3] x) => (float[3] y)
        <float s = {0.1}, int8 z = {0}, float[3] w = {-99, 0.52, 99}>
        { q = QuantizeLinear(w, s, z)  d = DequantizeLinear(q, s, z)  y = Mul(x, d) }""")
    )
    weight = module.weights[WeightKey("w")].requires_grad_(True)
    y = module({"x": torch.ones(3)})["y"]
    y.sum().backward()
    torch.testing.assert_close(y.detach(), torch.tensor([-12.8, 0.5, 12.7]))
    assert weight.grad.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("opset", "attention"),
    [
        (23, "y = Attention<q_num_heads = 1, kv_num_heads = 1, scale = 1.0>(q, x, x, seen)"),
        (13, "p = Softmax(s)  n = IsNaN(p)  t = Where(n, zero, p)  y = MatMul(t, x)"),
        (11, "p = Softmax<axis = 2>(s)  n = IsNaN(p)  t = Where(n, zero, p)  y = MatMul(t, x)"),
        (13, "l = LogSoftmax(s)  p = Exp(l)  n = IsNaN(p)  t = Where(n, zero, p)  y = MatMul(t, x)"),
    ],
)
def test_a_row_that_may_look_at_nothing_leaves_the_gradient_finite(opset: int, attention: str, reference, rng) -> None:
    masked = "" if opset == 23 else "a = Where(seen, zero, hidden)  r = MatMul(q, k)  s = Add(r, a)"
    model = onnx.parser.parse_model(
        f"""<ir_version: 10, opset_import: ["" : {opset}]> g (float[1, 3, 4] x, bool[3, 3] seen) => (float[1, 3, 4] y)
        <float zero = {{0}}> {{ q = MatMul(x, w)  k = Transpose<perm = [0, 2, 1]>(x)  {masked}  {attention} }}"""
    )
    stored = {"w": rng.standard_normal((4, 4)).astype(np.float32), "hidden": np.array(-np.inf, np.float32)}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in stored.items())
    seen = np.array([[True, True, False], [True, False, True], [False, False, False]])
    inputs = {"x": rng.standard_normal((1, 3, 4)).astype(np.float32), "seen": seen}

    module = build(model)
    weight = module.weights[WeightKey("w")].requires_grad_(True)
    y = module({name: torch.from_numpy(array) for name, array in inputs.items()})["y"]
    y.square().sum().backward()

    np.testing.assert_allclose(y.detach().numpy(), reference(model, inputs)["y"], rtol=1e-5, atol=1e-6)
    x, alone = torch.from_numpy(inputs["x"][0]), torch.from_numpy(stored["w"]).requires_grad_(True)
    for query, keys in ((x[0], x[[0, 1]]), (x[1], x[[0, 2]])):
        (torch.softmax(keys @ (query @ alone), -1) @ keys).square().sum().backward()
    torch.testing.assert_close(weight.grad, alone.grad)


def test_softmax_of_a_row_of_minus_infinity_stays_nan() -> None:
    module = build(parse("g (float[2, 2] x) => (float[2, 2] y) { y = Softmax(x) }"))
    x = torch.tensor([[-torch.inf, -torch.inf], [0.0, 0.0]], requires_grad=True)
    y = module({"x": x})["y"]
    torch.testing.assert_close(y, torch.tensor([[torch.nan] * 2, [0.5, 0.5]]), equal_nan=True)


@pytest.mark.parametrize(
    "normalised",
    [
        "i = Constant<value = int64[1] {-1}>()  n = ReduceL2(h, i)  c = Clip(n, least)  y = Div(h, c)",
        "y = LpNormalization<axis = -1>(h)",
        "y = GlobalLpPool(h)",
        "y = LpPool<kernel_shape = [3], strides = [3]>(h)",
    ],
)
def test_a_vector_of_zeros_leaves_the_gradient_finite(normalised: str, reference) -> None:
    model = parse(f"""g (float[1, 2, 3] x) => (float[1, 2, k] y)
        <float[3, 3] w = {{1, 2, 3, -4, 5, 6, 7, -8, 10}}, float least = {{0.001}}>
        {{ h = MatMul(x, w)  {normalised} }}""")
    x = np.array([[[1, 2, -1], [0, 0, 0]]], np.float32)
    module = build(model)
    weight = module.weights[WeightKey("w")].requires_grad_(True)
    y = module({"x": torch.from_numpy(x)})["y"]
    y.square().sum().backward()
    np.testing.assert_allclose(y.detach().numpy(), reference(model, {"x": x})["y"], rtol=1e-5)
    assert weight.grad.isfinite().all()


@pytest.mark.parametrize(("code", "largest"), [("FLOAT8E4M3FN", 448), ("FLOAT8E5M2", 57344)])
def test_a_float8_gets_a_gradient_over_its_whole_range(code: str, largest: float) -> None:
    model = parse("""g (float[n] x) => (float[n] y) <float s = {0.5}>
        { q = QuantizeLinear(x, s, z)  y = DequantizeLinear(q, s, z) }""")
    zero = onnx.helper.make_tensor("z", getattr(onnx.TensorProto, code), [], b"\0", raw=True)
    model.graph.initializer.append(zero)
    limit = 0.5 * largest
    x = torch.tensor([-2 * limit, -limit, -0.7 * limit, 0.01, 0.3, 0.9 * limit, limit, 2 * limit], requires_grad=True)
    build(model)({"x": x})["y"].sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 1, 1, 1, 0]


def test_a_shared_weight_gets_the_sum() -> None:
    module = build(parse("g (float[1] x) => (float[1] y) <float[1] w = {3}> { a = Mul(x, w)  y = Mul(a, w) }"))
    weight = module.weights[WeightKey("w")].requires_grad_(True)
    module({"x": torch.tensor([2.0])})["y"].sum().backward()
    assert weight.grad.item() == 12


@pytest.mark.parametrize("condition", [True, False])
def test_only_the_branch_taken_is_trained(condition: bool) -> None:
    module = build(
        parse("""g (float[1] x, bool c) => (float[1] y)
        { y = If (c) <then_branch = t () => (float[1] p) <float[1] w = {2}> { p = Mul(x, w) },
                      else_branch = e () => (float[1] q) <float[1] w = {3}> { q = Mul(x, w) }> }""")
    )
    for weight in module.weights.values():
        weight.requires_grad_(True)
    module({"x": torch.tensor([5.0]), "c": torch.tensor(condition)})["y"].sum().backward()
    gradients = {key.scope[0]: weight.grad for key, weight in module.weights.items()}
    taken, other = ("0.then_branch", "0.else_branch") if condition else ("0.else_branch", "0.then_branch")
    assert gradients[taken].item() == 5
    assert gradients[other] is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_keep_their_type(dtype: torch.dtype) -> None:
    name = "float16" if dtype == torch.float16 else "bfloat16"
    text = f"g ({name}[1, 2, 4, 4] x) => ({name}[1, 3, n, m] y) {{ c = Conv(x, w)  y = Relu(c) }}"
    model = parse(text)
    values = np.linspace(-1, 1, 3 * 2 * 3 * 3).tolist()
    code = onnx.TensorProto.FLOAT16 if dtype == torch.float16 else onnx.TensorProto.BFLOAT16
    model.graph.initializer.append(onnx.helper.make_tensor("w", code, [3, 2, 3, 3], values))
    module = build(model)
    weight = module.weights[WeightKey("w")].requires_grad_(True)
    assert weight.dtype == dtype
    x = torch.rand(1, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    y = module({"x": x.to(dtype)})["y"]
    y.sum().backward()
    assert y.dtype == weight.grad.dtype == dtype
    expected = torch.relu(torch.nn.functional.conv2d(x, weight.detach().float()))
    torch.testing.assert_close(y.detach().float(), expected, rtol=0.03, atol=0.03)


@pytest.mark.shared
@pytest.mark.parametrize("name", REAL_MODELS)
def test_real_models_agree_and_every_kernel_is_reached(name: str, shared: Path, reference, rng) -> None:
    model = onnx.load(shared / "models" / f"{name}.onnx")
    inputs = {i.name: _plausible(i, name, rng) for i in model.graph.input if i.name not in _stored(model)}
    module = build(model)
    names = _kernels(model.graph)
    kernels = [weight for key, weight in module.weights.items() if key.name in names]
    for kernel in kernels:
        kernel.requires_grad_(True)
    outputs = module({key: torch.from_numpy(value) for key, value in inputs.items()})
    for key, expected in reference(model, inputs).items():
        np.testing.assert_allclose(outputs[key].detach().numpy(), expected, rtol=1e-3, atol=1e-4)
    sum(o.square().sum() for o in outputs.values() if o.is_floating_point()).backward()
    reached = [kernel for kernel in kernels if kernel.grad is not None and kernel.grad.isfinite().all()]
    assert len(reached) == (len(kernels) // 2 if name == "silero_vad_op18_ifless" else len(kernels)) > 0


def _stored(model: onnx.ModelProto) -> set[str]:
    return {tensor.name for tensor in model.graph.initializer}


def _kernels(graph: onnx.GraphProto) -> set[str]:
    names = {node.input[1] for node in graph.node if node.op_type in KERNELS}
    return names.union(*(_kernels(a.g) for node in graph.node for a in node.attribute if a.HasField("g")))


def _plausible(value: onnx.ValueInfoProto, name: str, rng: np.random.Generator) -> np.ndarray:
    kind = value.type.tensor_type
    dims = [d.dim_value or 1 for d in kind.shape.dim]
    if name in PIXELS:
        dims = list(PIXELS[name])
    elif name in LENGTHS and len(dims) > 1 and value.name not in ("state", "h", "c"):
        dims = [d if d > 1 or axis != 1 else LENGTHS[name] for axis, d in enumerate(dims)]
    if kind.elem_type == onnx.TensorProto.FLOAT:
        return rng.random(dims, dtype=np.float32)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    return np.full(dims, 16000, dtype) if not dims else rng.integers(0, 256, dims).astype(dtype)
