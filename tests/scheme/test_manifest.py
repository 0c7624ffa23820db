"""The manifest's text, and the hash of a mask."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

import numpy as np
import pytest

from domino_onnx.errors import CheckFailed
from domino_onnx.scheme import Budget, Manifest, ManifestEntry, NMScheme, WeightKey, WeightLayout, mask_sha256

MANIFEST = Manifest(
    tool="domino-onnx 0",
    source_sha256="00",
    strategy="erk",
    budgets=(Budget(measure="params", reduction=0.5), Budget(measure="flops", reduction=0.25)),
    target="generic",
    seed=3,
    entries=(
        ManifestEntry(
            key=WeightKey("w", ("7.then_branch",)),
            layout=WeightLayout((32, 4), 0, 2),
            scheme=NMScheme(2, 16),
            zeros=112,
            mask_sha256="11",
        ),
        ManifestEntry(
            key=WeightKey("v"), layout=WeightLayout((4, 8), 1), scheme=NMScheme(1, 4), zeros=24, mask_sha256="22"
        ),
    ),
)


def test_manifests_come_back_from_their_text() -> None:
    assert Manifest.from_json(MANIFEST.to_json()) == MANIFEST


def test_the_text_is_always_the_same() -> None:
    assert MANIFEST.to_json() == (
        '{"version":1,"tool":"domino-onnx 0","source_sha256":"00","strategy":"erk",'
        '"budgets":[{"measure":"params","reduction":0.5},{"measure":"flops","reduction":0.25}],'
        '"target":"generic","seed":3,"weights":['
        '{"name":"w","scope":["7.then_branch"],"n":2,"m":16,"axis":0,"conv_groups":2,"shape":[32,4],'
        '"sparsity":0.875,"zeros":112,"mask_sha256":"11"},'
        '{"name":"v","n":1,"m":4,"axis":1,"shape":[4,8],"sparsity":0.75,"zeros":24,"mask_sha256":"22"}],'
        '"also_changed":[]}'
    )
    converted = dataclasses.replace(MANIFEST, also_changed=(WeightKey("b"),), precision="fp16", weight_type="int8")
    assert converted.to_json().endswith('"also_changed":[{"name":"b"}],"precision":"fp16","weight_type":"int8"}')


def test_keys_of_newer_versions_are_left_alone() -> None:
    document = json.loads(MANIFEST.to_json())
    document["newer"] = document["weights"][0]["newer"] = 1
    assert Manifest.from_json(json.dumps(document)) == MANIFEST


def test_the_mask_hash_is_sha256_of_packed_bits_first_weight_highest() -> None:
    kept = np.zeros((2, 5), np.bool_)
    kept[0, 0] = kept[1, 4] = kept[1, 3] = True  # bits 1000 0000 11 -> 0x80, 0xC0
    assert mask_sha256(kept) == hashlib.sha256(b"\x80\xc0").hexdigest()
    assert mask_sha256(np.asfortranarray(kept)) == mask_sha256(kept)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", "3", '"x"', "[" * 100_000, json.dumps({"version": 1}), json.dumps({"version": 2})]
)
def test_garbage_is_a_failed_check_and_nothing_worse(text: str) -> None:
    with pytest.raises(CheckFailed, match="manifest"):
        Manifest.from_json(text)


@pytest.mark.parametrize(
    "change",
    [
        {"n": 0},
        {"n": 9},
        {"zeros": float("inf")},
        {"zeros": 23},
        {"zeros": -1},
        {"sparsity": 0.749},
        {"sparsity": -0.75},
        {"sparsity": float("nan")},
        {"sparsity": None},
        {"m": 3},
        {"axis": 2},
        {"axis": -1},
        {"shape": []},
        {"shape": [0, 8]},
        {"shape": [4, -8]},
        {"conv_groups": 0},
        {"conv_groups": 3},
        {"shape": None},
        {"n": None},
        {"zeros": "x"},
        {"scope": 3},
    ],
)
def test_impossible_entries_are_failed_checks(change: dict[str, Any]) -> None:
    document = json.loads(MANIFEST.to_json())
    document["weights"][1].update(change)
    with pytest.raises(CheckFailed, match=r"the manifest: 'weights\[1\]"):
        Manifest.from_json(json.dumps(document))


@pytest.mark.parametrize(("zeros", "sparsity"), [(10, 0.666667), (5, 0.333333), (5, None)])
def test_the_share_of_zeros_is_rounded_or_left_out(zeros: int, sparsity: float | None) -> None:
    document = json.loads(MANIFEST.to_json())
    entry = {"name": "u", "n": 1, "m": 3, "axis": 1, "shape": [5, 3], "zeros": zeros, "mask_sha256": "33"}
    document["weights"] = [entry if sparsity is None else entry | {"sparsity": sparsity}]
    assert Manifest.from_json(json.dumps(document)).entries[0].zeros == zeros
