"""The programs in examples/ and the notebook run, and are typed."""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest

import domino_onnx

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SAMPLES = ROOT / "sample_models"
NOTEBOOK = ROOT / "docs" / "quickstart.ipynb"
Array = np.ndarray[Any, np.dtype[Any]]

pytestmark = pytest.mark.skipif(not EXAMPLES.is_dir(), reason="examples/ is not in this copy of the project")


@pytest.fixture(scope="module")
def folder(small_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dense model, one that is pruned by magnitude, and samples."""
    path = tmp_path_factory.mktemp("examples")
    shutil.copy(small_digits, path / "model.onnx")
    for name in ("calibration", "evaluation"):
        with np.load(SAMPLES / f"digits_{name}.npz") as arrays:
            np.savez(path / f"{name}.npz", **{key: array[:128] for key, array in arrays.items()})
    pruned = domino_onnx.compress(path / "model.onnx", sparsity=0.25, strategy="uniform", data="none", finetune=False)
    pruned.save(path / "model.sparse.onnx")
    return path


def run(name: str, *arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    """An example as a program."""
    return subprocess.run(
        [sys.executable, str(EXAMPLES / name), *map(str, arguments)],
        cwd=folder, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[str]:
    """The address of the service, on a free port."""
    module = _loaded("onnxruntime_service")
    with module.server(folder / "model.sparse.onnx", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()
        thread.join()


def _loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tensorrt_pipeline_gives_a_legal_file_in_half_precision(folder: Path) -> None:
    pytest.importorskip("onnx_graphsurgeon", reason="onnx-graphsurgeon is not installed")
    ran = run("tensorrt_pipeline.py", "model.onnx", "calibration.npz", "fast.onnx", folder=folder)
    assert ran.returncode == 0, ran.stderr
    model = onnx.load(folder / "fast.onnx")
    assert onnx.TensorProto.FLOAT16 in {tensor.data_type for tensor in model.graph.initializer}
    assert domino_onnx.doctor(model).passes


def test_the_service_answers_as_the_model_does(service: str, folder: Path, run_ort: Any) -> None:
    with np.load(folder / "evaluation.npz") as arrays:
        images = arrays["image"][:3]
    body = io.BytesIO()
    np.savez(body, image=images)
    with urllib.request.urlopen(service, data=body.getvalue(), timeout=60) as reply:
        got = np.load(io.BytesIO(reply.read()))["logits"]
    np.testing.assert_allclose(got, run_ort(folder / "model.sparse.onnx", {"image": images})[0], rtol=1e-4, atol=1e-5)
    with pytest.raises(urllib.error.HTTPError, match="400") as refused:
        urllib.request.urlopen(service, data=b"no archive", timeout=60)
    refused.value.close()


@pytest.mark.parametrize(("allowed", "code"), [(1.0, 0), (-1.0, 3)])
def test_the_gate_ends_with_three_where_too_much_is_lost(allowed: float, code: int, folder: Path) -> None:
    words = ("model.onnx", "model.sparse.onnx", "evaluation.npz", "--max-drop", allowed)
    assert run("accuracy_gate.py", *words, folder=folder).returncode == code


def test_the_gate_ends_with_three_where_a_promise_is_broken(folder: Path) -> None:
    model = onnx.load(folder / "model.sparse.onnx")
    name = domino_onnx.verify(model).findings[0].weight
    tensor = next(each for each in model.graph.initializer if each.name == name)
    tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) + 1, name))
    onnx.save(model, folder / "broken.onnx")
    ran = run("accuracy_gate.py", "model.onnx", "broken.onnx", "evaluation.npz", "--max-drop", 1.0, folder=folder)
    assert ran.returncode == 3
    assert f"broken: {name}" in ran.stdout


@pytest.mark.filterwarnings("ignore::domino_onnx.DominoWarning")
def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("digits_transformer.onnx", "digits_calibration.npz", "digits_evaluation.npz"):
        shutil.copy(SAMPLES / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    for code in _cells():
        exec(compile(code, str(NOTEBOOK), "exec"), names)
    assert (tmp_path / "digits.sparse.onnx").exists()


@pytest.mark.long  # scripts/check runs it, as it does for the types of the package
def test_examples_and_notebook_are_typed(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed")
    (tmp_path / "notebook.py").write_text("\n".join(_cells()), encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "pyproject.toml"), str(EXAMPLES),
         str(tmp_path / "notebook.py")],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout


def _cells() -> list[str]:
    document = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in document["cells"] if cell["cell_type"] == "code"]
