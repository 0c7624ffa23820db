"""Real recurrent and fixed-batch models with their data in every form, from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

Run = Callable[..., Any]
COUNT = 12


@pytest.fixture
def voice(shared: Path) -> Path:
    return shared / "models" / "silero_vad_op18_ifless.onnx"


@pytest.fixture
def sounds() -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    x = 0.1 * rng.standard_normal((COUNT, 512))
    state = 0.1 * rng.standard_normal((2, COUNT, 128))
    return {"input": x.astype(np.float32), "sr": np.array(16000), "state": state.astype(np.float32)}


METRIC = """
import numpy as np

def by_itself(reference, candidate, labels):
    wanted = np.load({wanted!r})
    return -float(max(np.abs(wanted[name] - reference[name]).max() for name in ("output", "stateN")))
"""


@pytest.mark.parametrize("form", ["as it is", "samples first", "a rate each", "one by one", "rates that differ"])
def test_silero_gets_each_sample(
    form: str, voice: Path, sounds: dict[str, np.ndarray[Any, Any]], domino: Run, tmp_path: Path
) -> None:
    """A metric compares what the program's runs give with each sample's own run in ONNX Runtime."""
    rates = np.where(np.arange(COUNT) % 2, 8000, 16000) if form == "rates that differ" else np.full(COUNT, 16000)
    x, state = sounds["input"], sounds["state"]
    given = {
        "as it is": sounds,
        "samples first": sounds | {"state": state.transpose(1, 0, 2)},
        "a rate each": sounds | {"sr": rates},
        "one by one": {"input": x[:, None], "sr": rates, "state": state.transpose(1, 0, 2)[:, :, None]},
        "rates that differ": sounds | {"input": x[:, :256], "sr": rates},
    }[form]
    session = ort.InferenceSession(str(voice), providers=["CPUExecutionProvider"])
    length = 256 if form == "rates that differ" else 512
    runs = [
        session.run(
            ["output", "stateN"],
            {"input": x[[n], :length], "sr": np.array(rates[n]), "state": np.ascontiguousarray(state[:, [n]])},
        )
        for n in range(COUNT)
    ]
    wanted = {"output": np.concatenate([run[0] for run in runs]), "stateN": np.concatenate([run[1] for run in runs], 1)}
    np.savez(tmp_path / "wanted.npz", **wanted)
    np.savez(tmp_path / "data.npz", **given)
    (tmp_path / "metric.py").write_text(METRIC.format(wanted=str(tmp_path / "wanted.npz")), encoding="utf-8")
    words = ["--data", tmp_path / "data.npz", "--metric", f"{tmp_path / 'metric.py'}:by_itself", "--threads", "1"]
    ran = domino("evaluate", voice, voice, *words, "--batch-size", "5", "--json")
    assert ran.code == 0, ran.err
    assert -1e-4 < json.loads(ran.out)["custom"]["reference"] <= 0


@pytest.mark.parametrize("batch", [1, 4])
def test_a_fixed_batch_gives_what_a_free_one_gives(batch: int, shared: Path, tmp_path: Path) -> None:
    from domino_onnx.data import load_data
    from domino_onnx.runtime import Session

    path = shared / "models" / "crepe-tiny.onnx"
    model = onnx.load(path)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = batch
    del model.graph.value_info[:]
    sounds = np.random.default_rng(0).standard_normal((8, 1024)).astype(np.float32)
    np.savez(tmp_path / "data.npz", frames=sounds)
    runs = list(load_data(tmp_path / "data.npz", model).batches(32))
    assert [run["frames"].shape for run in runs] == [(batch, 1024)] * (8 // batch)
    session = Session(model.SerializeToString(), threads=1)
    found = np.concatenate([session.run(run)["pitch_prob"] for run in runs])
    (wanted,) = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"frames": sounds})
    np.testing.assert_allclose(found, wanted, atol=1e-5)
