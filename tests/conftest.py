"""What all tests share: small models, ONNX Runtime as the oracle, and the command line in this process."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import settings
from onnx import ModelProto, TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parent.parent
FIRST = (
    "docs/test_snippets.py",
    "e2e/test_compress.py",
    "e2e/test_processes.py",
    "e2e/test_no_data.py",
    "e2e/test_measured.py",
    "finetuning/test_blocks.py",
    "api/test_functions.py",
    "e2e/test_interrupted.py",
    "reconstruction/test_in_order.py",
    "e2e/test_integer_weights.py",
    "stages/test_resuming.py",
    "stages/test_memory.py",
    "stages/test_placed.py",
    "cli/test_target.py",
    "hostile/test_hardcases.py",
    "e2e/test_output_kinds.py",
)
"""The files that take longest. They start first, so that all workers end together."""
settings.register_profile("tests", deadline=None, derandomize=True)  # however busy the machine is, the same outcome
settings.load_profile("tests")
Array = np.ndarray[Any, np.dtype[Any]]
SMALL = """
<ir_version: 8, opset_import: ["" : 17]>
digits (float[batch, 1, 8, 8] image) => (float[batch, 10] logits) {
    a = Conv <pads = [1, 1, 1, 1]> (image, stem, stem_bias)
    b = Relu (a)
    c = Conv <pads = [1, 1, 1, 1]> (b, left, left_bias)
    d = Relu (c)
    e = Conv <pads = [1, 1, 1, 1]> (d, right, right_bias)
    f = Add (b, e)
    g = Relu (f)
    h = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (g, down, down_bias)
    i = Relu (h)
    j = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (i, last, last_bias)
    k = Relu (j)
    features = Flatten (k)
    logits = Gemm <transB = 1> (features, head, head_bias)
}
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the tests that are marked long, too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long files first; tests that are marked long are skipped unless they are asked for."""
    places = {ROOT / "tests" / name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.path, len(FIRST)))
    if not config.getoption("--long"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="it takes long: scripts/test --long runs it"))


@pytest.fixture(scope="module", autouse=True)
def _old_objects_stay() -> None:
    """Later collections don't look again at what imports and earlier files have left: most commands end with one."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def samples() -> Path:
    """The trained sample models and their data."""
    folder = ROOT / "sample_models"
    if not folder.is_dir():
        pytest.skip("sample_models/ is not in this copy of the project")
    return folder


@pytest.fixture(scope="session")
def small_digits(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A twentieth of the sample networks: random convolutions, and a last layer by least squares, right at 96 of 100.

    It is for tests that are about what happens around a network. Its file has the inputs and outputs of the samples'.
    """
    import onnxruntime as ort

    rng, model = np.random.default_rng(0), onnx.parser.parse_model(SMALL)
    shapes = {"stem": (16, 1), "left": (16, 16), "right": (16, 16), "down": (32, 16), "last": (32, 32)}
    for name, (outputs, inputs) in shapes.items():
        weight = rng.standard_normal((outputs, inputs, 3, 3)) * np.sqrt(2 / 9 / inputs)
        bias = rng.standard_normal(outputs) / 10
        for value, key in ((weight, name), (bias, f"{name}_bias")):
            model.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), key))
    start = ModelProto()
    start.CopyFrom(model)
    start.graph.node.pop()
    start.graph.output[0].CopyFrom(helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 128]))
    with np.load(samples / "digits_evaluation.npz") as arrays:
        images, labels = arrays["image"][:500], arrays["labels"][:500]
    (features,) = ort.InferenceSession(start.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        None, {"image": images}
    )
    x, y = np.c_[features, np.ones(len(features))].astype(np.float64), 6 * np.eye(10)[labels] - 1
    head = np.linalg.solve(x.T @ x + 0.01 * x.var() * len(x) * np.eye(x.shape[1]), x.T @ y)
    head = (head + rng.normal(0, 1e-3, head.shape)).astype(np.float32)  # no weight is 0 by itself
    for value, key in ((np.ascontiguousarray(head[:-1].T), "head"), (head[-1], "head_bias")):
        model.graph.initializer.append(numpy_helper.from_array(value, key))
    path = tmp_path_factory.mktemp("small") / "small_digits.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of larger models and hostile files that isn't part of the project."""
    given = os.environ.get("DOMINO_ONNX_SHARED")
    folder = Path(given) if given else ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("DOMINO_ONNX_SHARED names no folder of models, data and hard cases")
    return folder


@pytest.fixture(scope="session")
def make_sparse() -> Callable[[ModelProto], ModelProto]:
    """The same model with each initializer and Constant of two axes or more as a sparse tensor."""

    def sparse(tensor: TensorProto, name: str) -> onnx.SparseTensorProto:
        array = numpy_helper.to_array(tensor)
        places = np.flatnonzero(array.view(f"u{array.dtype.itemsize}"))
        values = numpy_helper.from_array(array.reshape(-1)[places], name)
        return helper.make_sparse_tensor(values, numpy_helper.from_array(places.astype(np.int64)), array.shape)

    def make(model: ModelProto) -> ModelProto:
        copy = ModelProto()
        copy.CopyFrom(model)
        del copy.graph.initializer[:]
        for tensor in model.graph.initializer:
            if len(tensor.dims) > 1:
                copy.graph.sparse_initializer.append(sparse(tensor, tensor.name))
            else:
                copy.graph.initializer.append(tensor)
        for node in copy.graph.node:
            if node.op_type == "Constant" and len(node.attribute[0].t.dims) > 1:
                value = sparse(node.attribute[0].t, node.output[0])
                node.attribute[0].CopyFrom(helper.make_attribute("sparse_value", value))
        return copy

    return make


Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Write a model under a name in the test's folder; the standard checker must accept it unless `check=False`."""

    def write(model: ModelProto, name: str = "model.onnx", *, check: bool = True) -> Path:
        if check:
            try:
                onnx.checker.check_model(model)
            except onnx.checker.ValidationError as error:
                if "Field 'shape' of 'type' is required" not in str(error):  # and where it can't be inferred, be it
                    raise
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(model.SerializeToString())
        return path

    return write


@pytest.fixture(scope="session")
def make_model() -> Callable[..., ModelProto]:
    """`make_model(nodes, inputs, outputs, arrays)`: nodes as NodeProtos, inputs and outputs as name to shape."""

    def make(
        nodes: Sequence[onnx.NodeProto],
        inputs: Mapping[str, Sequence[int | str] | None],
        outputs: Mapping[str, Sequence[int | str] | None],
        arrays: Mapping[str, Array | TensorProto],
        *,
        opset: int = 17,
        ir: int = 8,
        dtype: int = TensorProto.FLOAT,
        domains: Mapping[str, int] | None = None,
        **graph: Any,
    ) -> ModelProto:
        stored = [
            value if isinstance(value, TensorProto) else numpy_helper.from_array(value, name)
            for name, value in arrays.items()
        ]
        body = helper.make_graph(
            list(nodes),
            "g",
            [helper.make_tensor_value_info(name, dtype, shape) for name, shape in inputs.items()],
            [helper.make_tensor_value_info(name, dtype, shape) for name, shape in outputs.items()],
            stored,
            **graph,
        )
        imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(*item) for item in (domains or {}).items())]
        model = helper.make_model(body, opset_imports=imports, ir_version=ir, producer_name="tests")
        with contextlib.suppress(onnx.shape_inference.InferenceError):
            inferred = {value.name: value for value in onnx.shape_inference.infer_shapes(model).graph.output}
            for value in model.graph.output:  # the checker wants the shape of an output, tests rarely do
                if not value.type.tensor_type.HasField("shape"):
                    value.CopyFrom(inferred[value.name])
        return model

    return make


@pytest.fixture(autouse=True)
def nothing_drawn_beside_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests have few samples, and are about something else than drawn ones."""
    from domino_onnx.stages.reading import drawing

    monkeypatch.setattr(drawing, "_ENOUGH", 0)


@pytest.fixture(scope="session")
def run_ort() -> Callable[..., list[Array]]:
    """Outputs of a model (a ModelProto or a path) in ONNX Runtime."""
    import onnxruntime as ort

    def run(model: ModelProto | Path, inputs: Mapping[str, Array]) -> list[Array]:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        source = model.SerializeToString() if isinstance(model, ModelProto) else str(model)
        session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        return list(session.run(None, dict(inputs)))

    return run


@dataclasses.dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str


@pytest.fixture
def domino(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Ran]:
    """Run `domino-onnx` with these arguments, through the border that turns errors into exit codes.

    `recipe` holds fields that have no option, by ``group.field``: they go into a recipe file. Most tests are about
    something else than drawn samples, so that nothing is drawn unless `draws` says so.
    """
    from domino_onnx.cli import main

    def run(*arguments: object, recipe: Mapping[str, Any] | None = None, draws: bool = False) -> Ran:
        if not draws and _would_draw(arguments, recipe or {}):
            arguments = (*arguments, "--data", "none")
        if recipe is not None:
            arguments = (*arguments, "--recipe", _recipe(tmp_path_factory.mktemp("recipe"), recipe))
        monkeypatch.setattr(sys, "argv", ["domino-onnx", *map(str, arguments)])
        monkeypatch.delenv("DOMINO_ONNX_DEBUG", raising=False)
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        code = left.value.code
        captured = capsys.readouterr()
        return Ran(code if isinstance(code, int) else int(code is not None), captured.out, captured.err)

    return run


@pytest.fixture
def brief_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    """`deploy` times each form of a model for moments: no test asks which one is the fastest."""
    for seconds in ("_SECONDS", "_GLANCE"):
        monkeypatch.setattr(f"domino_onnx.stages.deploying.bench.{seconds}", 0.01)
    monkeypatch.setattr("domino_onnx.deployment.timing._SECONDS", 0.01)


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], contextlib.AbstractContextManager[None]]:
    """Within `interrupt("stages.finetuning.name")` a call of that function of the package is interrupted."""

    @contextlib.contextmanager
    def at(name: str) -> Iterator[None]:
        def stop(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(f"domino_onnx.{name}", stop)
            yield

    return at


def _would_draw(arguments: Sequence[object], recipe: Mapping[str, Any]) -> bool:
    known = {"--data", "--recipe", "--help"}.intersection(map(str, arguments)) or "data.calibration" in recipe
    return bool(arguments) and arguments[0] in ("compress", "search", "apply") and not known


def _recipe(folder: Path, fields: Mapping[str, Any]) -> Path:
    path = folder / "recipe.toml"
    lines = (f"{name} = {json.dumps(value)}" for name, value in fields.items())
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def wrong_operator(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the bridge's counterparts of these standard operators give one more than they should."""

    def replace(*names: str) -> None:
        from domino_onnx.bridge import compile as compiler
        from domino_onnx.bridge.registry import Operator

        def wrong(operator: Operator) -> Operator:
            return dataclasses.replace(operator, function=lambda *x, **given: operator.function(*x, **given) + 1)

        table = dict(compiler.OPERATORS)
        table.update({("", name): tuple(map(wrong, table["", name])) for name in names})
        monkeypatch.setattr(compiler, "OPERATORS", table)

    return replace


@pytest.fixture(scope="session")
def groups_of() -> Callable[..., list[list[int]]]:
    """Flat indices of every group of a stored tensor, by plain loops: the project's layout code is not asked."""

    def groups(shape: Sequence[int], axis: int, m: int, parts: int = 1) -> list[list[int]]:
        strides = [1] * len(shape)
        for position in reversed(range(len(shape) - 1)):
            strides[position] = strides[position + 1] * shape[position + 1]
        others = [position for position in range(len(shape)) if position != axis]
        found = []
        for place in np.ndindex(*(shape[position] for position in others)):
            base = sum(strides[position] * where for position, where in zip(others, place, strict=True))
            length = shape[axis] // parts
            for part in range(parts):
                for start in range(0, length, m):
                    first = part * length + start
                    found.append([base + strides[axis] * (first + offset) for offset in range(m)])
        return found

    return groups


@pytest.fixture
def hears_ctrl_c() -> None:
    """Skip where SIGINT is ignored from the start, as shells do it for jobs in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        pytest.skip("SIGINT is ignored, as in a job in the background")
