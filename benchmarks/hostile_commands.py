"""Commands that write files, what they read, and what is whole of what they have written."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from hostile_runs import run
from interrupting import OF_THE_ATTEMPT
from onnx import TensorProto, helper, numpy_helper

from domino_onnx.runtime import open_session

__all__ = ["COMMANDS", "Command", "contents", "make_model", "make_source", "meaning"]

_WIDTH, _SAMPLES = 64, 128
_FILES = ("model.onnx", "whole.onnx", "pruned.onnx", "samples.npz", "recipe.toml")
_ONE = ("--threads", "1")
_PRUNED = ("--scheme", "2:4", "--data", "none", "--no-finetune", *_ONE)
_COMPRESS = ("compress", "{model}", *_PRUNED, "-o", "{out}/written.onnx")
_REFITTED = ("compress", "{model}", "--sparsity", "0.5", "--data", "{samples}", "--no-finetune", *_ONE)
_FINETUNE = ("finetune", "{pruned}", "--teacher", "{whole}", "--data", "{samples}", "--finetune-steps", "2")
_SEARCH = ("search", "{model}", "--sparsity", "0.5", "--data", "{samples}", *_ONE)
_SWEEP = ("sweep", "{model}", "--sparsity", "0.5", "--sparsity", "0.75", "--data", "{samples}", *_ONE)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """The words of a command; a folder that it keeps on purpose when it doesn't come to its end; and the start of the
    names of files at which it is disturbed, where another command has the same for the other files.
    """

    template: tuple[str, ...]
    keeps: str | None = None
    at: str = ""

    def words(self, source: Path, place: Path) -> list[str]:
        """What is given to `domino-onnx`: it reads from the one folder, and writes to the other."""
        given = {"out": str(place), **{Path(name).stem: str(source / name) for name in _FILES}}
        return [*(word.format(**given) for word in self.template), "--force", "--quiet"]


COMMANDS: Mapping[str, Command] = {
    "convert": Command(template=("convert", "{model}", "--format", "packed", "-o", "{out}/written.onnx")),
    "compress": Command(template=_COMPRESS),
    "compress --report .json": Command(template=(*_COMPRESS, "--report", "{out}/report.json"), at="report"),
    "compress --report .html": Command(template=(*_COMPRESS, "--report", "{out}/report.html"), at="report"),
    "search": Command(template=(*_SEARCH, "-o", "{out}/plan.json")),
    "sweep --plans": Command(template=(*_SWEEP, "--plans", "{out}/plans", "--report", "{out}/report.json")),
    "sweep --report .html": Command(template=(*_SWEEP, "--report", "{out}/report.html")),
    "finetune": Command(template=(*_FINETUNE, *_ONE, "-o", "{out}/written.onnx", "--report", "{out}/report.json")),
    "deploy": Command(template=("deploy", "{pruned}", "--precision", "float32", *_ONE, "-o", "{out}/cpu.onnx")),
    "compress, resumable": Command(
        template=(*_REFITTED, "-o", "{out}/written.onnx", "--recipe", "{recipe}"), keeps="written.onnx.partial"
    ),
    "finetune, resumable": Command(
        template=(*_FINETUNE, *_ONE, "-o", "{out}/written.onnx", "--recipe", "{recipe}"),
        keeps="written.onnx.partial",
    ),
}


def make_model(path: Path, seed: int, *, external: bool = True) -> Path:
    """Two products; the weights are in a file of their own if `external`."""
    generator = np.random.default_rng(seed)
    weights = {name: generator.standard_normal((_WIDTH, _WIDTH)).astype(np.float32) for name in ("a", "b")}
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "a"], ["h"]), helper.make_node("MatMul", ["h", "b"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", _WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", _WIDTH])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, path, save_as_external_data=external, location=f"{path.stem}.data", size_threshold=0)
    return path


def make_source(folder: Path, seed: int) -> Path:
    """A model with external data, the same in one file, that one pruned, samples, and a recipe that keeps all."""
    folder.mkdir(parents=True)
    whole = make_model(folder / "whole.onnx", seed, external=False)
    words = ("compress", whole, *_PRUNED, "--quiet", "-o", folder / "pruned.onnx")
    if run(*words).code:
        raise RuntimeError("compress fails without any fault")
    make_model(folder / "model.onnx", seed)
    whole_samples = np.random.default_rng(seed + 100).standard_normal((_SAMPLES, _WIDTH)).astype(np.float32)
    np.savez(folder / "samples.npz", x=whole_samples)
    (folder / "recipe.toml").write_text("run.checkpoint_after = 0\nrun.checkpoint_every = 0\n", encoding="utf-8")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """All files in a folder and below, by their paths in it."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def meaning(name: str, files: Mapping[str, bytes]) -> Any:
    """What an output holds, the same for each run that came to the same; None if there is none."""
    if name not in files:
        return None
    if name.endswith(".onnx"):
        return _of_deployed(files[name]) if name == "cpu.onnx" else _of_model(files[name], files)
    text = files[name].decode()
    if name.endswith(".html"):
        whole = text.startswith("<!doctype html>") and text.rstrip().endswith("</html>")
        return _without_numbers(text) if whole else f"torn: {text[-50:]}"
    try:
        document = json.loads(text)
    except ValueError:
        return f"torn: {text[-50:]}"
    return {key: value for key, value in document.items() if key not in OF_THE_ATTEMPT}


def _without_numbers(text: str) -> str:
    """Sentences and names: times and sizes of memory differ."""
    return " ".join(re.findall(r"[A-Za-z]{3,}", re.sub(r"<[^>]*>", " ", text)))


def _of_model(content: bytes, files: Mapping[str, bytes]) -> str:
    """A hash of all that a model holds, data files included."""
    model = onnx.ModelProto.FromString(content)
    digest = hashlib.sha256()
    for tensor in model.graph.initializer:
        given = {entry.key: entry.value for entry in tensor.external_data}
        if given:
            start, length = int(given.get("offset", 0)), int(given["length"])
            data = files.get(given["location"], b"")[start : start + length]
            digest.update(b"torn" if len(data) != length else data)
        else:
            digest.update(tensor.raw_data)
        digest.update(tensor.name.encode())
    return digest.hexdigest()


def _of_deployed(content: bytes) -> list[float]:
    """What the model computes: which layers skip their zeros is a matter of the times that were measured."""
    session = open_session(content)
    (output,) = session.run(["y"], {"x": np.ones((1, _WIDTH), np.float32)})
    return [float(value) for value in np.round(output, 2).ravel()]
