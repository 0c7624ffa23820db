"""Which weights of foreign models are taken for fixed functions? Each of the list was looked at."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from domino_onnx.graph import read_model, take_inventory
from domino_onnx.scheme import SchemePool

WAVES, EVEN, CONSTANT = "sines or cosines", "evenly spaced", "one value everywhere"
WHOLE = "a few small whole numbers"

NETWORKS = {
    "silero_vad_op18_ifless.onnx": {  # (258, 1, 256) and (130, 1, 128): a Fourier transform in a Hann window
        "model.stft.forward_basis_buffer": WAVES,
        "model_8k.stft.forward_basis_buffer": WAVES,
    },
    "doc320.onnx": {"model.22.dfl.conv.weight": EVEN},  # 0 to 15
}
"""Trained networks; all others have none."""

TRAINED_IN_CORPUS = {  # three editions of the same network
    "pypi_real__1e0b195ad480.onnx": {"stft.forward_basis_buffer": WAVES},
    "pypi_real__7776b81ad1b0.onnx": {"stft.forward_basis_buffer": WAVES},
    "pypi_real__7ed98ddbad84.onnx": {"model.stft.forward_basis_buffer": WAVES},
}

TOYS = {
    "burn_onnx__0748f0275c58.onnx": (CONSTANT, CONSTANT, CONSTANT),  # ones
    "burn_onnx__5f16f396e16a.onnx": (CONSTANT,),  # ones
    "burn_onnx__70f2176db2d6.onnx": (WHOLE,),  # 1, 0.5, 2, twice
    "glow__05a3e99a987c.onnx": (CONSTANT,),  # ones
    "glow__1933661fd5a8.onnx": (WHOLE,),  # 1, 2, 1 in each direction, over 4
    "glow__552fcaaace80.onnx": (EVEN,),  # 2 to 10
    "glow__5af7fc04a9c6.onnx": (WHOLE,),  # 1, 2, 1 in each direction, over 4
    "glow__7f6e22c83662.onnx": (EVEN,),  # 2 to 10
    "onnx2c__740a5049eeb2.onnx": (CONSTANT,),  # ones
    "onnx2c__f695e4de9844.onnx": (CONSTANT,),  # ones
    "ort_testdata__2f4df4643938.onnx": (EVEN, EVEN),  # 0, 0.01, 0.02, ...
    "ort_testdata__34a96e02754c.onnx": (CONSTANT,),  # ones
    "ort_testdata__4060f30c5b48.onnx": (CONSTANT,),  # ones
    "ort_testdata__4926b6a30624.onnx": (WHOLE,),  # 1, 2, 3, 4, four times
    "ort_testdata__576a2835afb6.onnx": (WHOLE,),  # the same
    "ort_testdata__618bc76b8c9c.onnx": (WHOLE,),  # 1, 2
    "ort_testdata__656e76e257bc.onnx": (CONSTANT,),  # ones
    "ort_testdata__92f93fdbee22.onnx": (WHOLE,),  # 1, 2, 3, 4, four times
    "ort_testdata__994b2b8ed4bc.onnx": (WHOLE,),  # the same
    "ort_testdata__aa3fca05471c.onnx": (EVEN,),  # 0 to 8
    "ort_testdata__c2cb0dadd692.onnx": (EVEN, EVEN, EVEN, EVEN),  # 0, 0.01, 0.02, ...
    "ort_testdata__c529594119de.onnx": (WHOLE,),  # 1, 2, 3, 4, four times
    "ort_testdata__c8c57003801a.onnx": (WHOLE,),  # the same
    "ort_testdata__dc4380e8a558.onnx": (CONSTANT,),  # ones
    "ort_testdata__df8803f11ab2.onnx": (WHOLE,),  # 1, 2, 3, 4, four times
    "ort_testdata__e10201606f72.onnx": (CONSTANT,),  # ones
    "ort_testdata__e1c21917e560.onnx": (EVEN,),  # 0 to 9
    "ort_testdata__f0b97ba0b816.onnx": (EVEN, EVEN),  # 0, 0.01, 0.02, ...
    "ort_testdata__f491ad986626.onnx": (EVEN,),  # 0 to 7
    "polygraphy__44f562728f1c.onnx": (CONSTANT, CONSTANT),  # ones
    "polygraphy__7a32c7bf8e82.onnx": (CONSTANT, CONSTANT),  # ones
}
"""Models of other tools' tests, which were never trained, and the kinds of their weights."""


def recognised(path: Path) -> dict[str, str]:
    """The weights of a model that are taken for fixed functions, by the ends of their names, with the reason."""
    skips = take_inventory(read_model(path), SchemePool.fixed_m(), {}).skips
    return {skip.key.name.rpartition("__")[2]: skip.reason for skip in skips if "fixed function" in skip.reason}


def check(path: Path, expected: dict[str, str]) -> None:
    found = recognised(path)
    assert found.keys() == expected.keys(), path.name
    assert all(kind in found[name] for name, kind in expected.items()), path.name


@pytest.mark.shared
def test_trained_networks_have_none_but_those_that_were_looked_at(shared: Path) -> None:
    models = [*sorted((shared / "models").glob("*.onnx")), shared / "cases" / "detector" / "doc320.onnx"]
    assert {path.name for path in models} >= NETWORKS.keys()
    for path in models:
        check(path, NETWORKS.get(path.name, {}))


@pytest.mark.shared
def test_the_corpus_has_none_but_those_that_were_looked_at(shared: Path) -> None:
    models = sorted((shared / "corpus").glob("*.onnx"))
    assert {path.name for path in models} >= {*TRAINED_IN_CORPUS, *TOYS}
    for path in models:
        if path.name in TOYS:
            kinds = [
                next(kind for kind in (EVEN, CONSTANT, WHOLE) if kind in reason) for reason in recognised(path).values()
            ]
            assert Counter(kinds) == Counter(TOYS[path.name]), path.name
        else:
            check(path, TRAINED_IN_CORPUS.get(path.name, {}))


def test_the_sample_networks_have_none(samples: Path) -> None:
    models = sorted(samples.rglob("*.onnx"))
    assert models
    for path in models:
        check(path, {})
