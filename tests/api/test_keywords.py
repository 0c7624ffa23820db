"""The keywords are the fields of the option groups, no more and no less."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

import numpy as np
import pytest

from domino_onnx.api import keywords
from domino_onnx.api.options import chosen_options, shares_of, timing_options
from domino_onnx.errors import OptionError
from domino_onnx.options import KEYWORDS, ByteSize, CompressOptions, Duration, TimingOptions
from domino_onnx.scheme import NMScheme, SchemePool


def test_compress_takes_every_field_of_a_recipe() -> None:
    groups = typing.get_type_hints(CompressOptions)
    fields = {f"{group}.{field.name}" for group in groups for field in dataclasses.fields(groups[group])}
    assert set(KEYWORDS.values()) == fields
    assert set(typing.get_type_hints(keywords.CompressKeywords)) == set(KEYWORDS)


@pytest.mark.parametrize("name", [name for name in keywords.__all__ if name.endswith("Keywords")])
def test_other_functions_take_some_of_them(name: str) -> None:
    assert set(typing.get_type_hints(getattr(keywords, name))) <= set(KEYWORDS)


@pytest.mark.parametrize(
    ("keyword", "value", "expected"),
    [
        ("sparsity", "87.5%", 0.875),
        ("sparsity", 1 / 2, 0.5),
        ("max_drop", "1 %", 0.01),
        ("scheme", "2:4", NMScheme(2, 4)),
        ("scheme", NMScheme(1, 4), NMScheme(1, 4)),
        ("pool", ["2:4", NMScheme(1, 4)], SchemePool.parse("2:4,1:4")),
        ("pool", "2:4,1:4", SchemePool.parse("2:4,1:4")),
        ("memory", "4GB", ByteSize(4_000_000_000)),
        ("memory", 1 << 30, ByteSize(1 << 30)),
        ("memory", 4e9, ByteSize(4_000_000_000)),
        ("pool", NMScheme(2, 4), SchemePool.parse("2:4")),
        ("finetune_time", "90s", Duration(90)),
        ("finetune_time", 90, Duration(90)),
        ("include", "head.*", ("head.*",)),
        ("exclude", ["a", "b"], ("a", "b")),
        ("input_shapes", {"x": [1, 3]}, {"x": (1, 3)}),
    ],
)
def test_values_may_be_written_as_python_has_them(keyword: str, value: Any, expected: Any) -> None:
    group, field = KEYWORDS[keyword].split(".")
    options = chosen_options("compress", {keyword: value}, None)
    assert getattr(getattr(options, group), field) == expected


@pytest.mark.parametrize(
    ("keyword", "value", "said"),
    [
        ("strategy", "sensitivty", "'strategy' is 'sensitivty'; did you mean 'sensitivity'?"),
        ("target", "TensorRT", "did you mean 'tensorrt'? it must be 'generic' or 'tensorrt' or None"),
        ("scheme", "2/4", "write for instance 2:4"),
        ("scheme", (2, 4), "'scheme': (2, 4) is no scheme; write '2:4', or NMScheme(2, 4)"),
        ("sparsity", "half", "write for instance 0.5 or 50%"),
        ("threads", "two", "'threads' is 'two'; it must be a whole number"),
        ("batch_size", 0, "'batch_size' is 0"),
        ("memory", "4 apples", "write a number and a unit"),
        ("memory", 0, "'memory': 0 is less than one byte"),
        ("memory", float("nan"), "'memory' is nan; it must be a finite number"),
        ("finetune_lr", float("inf"), "'finetune_lr' is inf; it must be a finite number"),
        ("pool", 4, "'pool': 4 is no scheme; write '2:4', or NMScheme(2, 4)"),
        ("pool", [(2, 4)], "'pool': (2, 4) is no scheme"),
        ("pool", object(), "is no pool; write '2:4,1:4', or a list of schemes"),
    ],
)
def test_a_wrong_value_names_the_keyword_and_what_was_meant(keyword: str, value: Any, said: str) -> None:
    with pytest.raises(OptionError) as caught:
        chosen_options("compress", {keyword: value}, None)
    assert str(caught.value).startswith("compress(): ")
    assert said in str(caught.value)


@pytest.mark.parametrize("recipe", [3, [], object(), b"[goal]"])
def test_what_is_no_recipe_is_said(recipe: Any) -> None:
    with pytest.raises(OptionError, match=r"compress\(\): 'recipe' is .*; give a TOML file, a JSON report, or what"):
        chosen_options("compress", {}, recipe)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, TimingOptions()),
        ({"threads": 2, "batch_sizes": np.array([1, 8])}, TimingOptions(threads=(2,), batch_sizes=(1, 8))),
        ({"threads": range(2), "seconds": 1}, TimingOptions(threads=(0, 1), seconds=1.0)),
    ],
)
def test_one_number_will_do_for_several(given: Any, expected: TimingOptions) -> None:
    assert timing_options("benchmark", given) == expected


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"threads": []}, "'threads' is []; it must be a list, each item a whole number from 0 to 1024"),
        ({"threads": -1}, "'threads[0]' is -1; it must be a whole number from 0 to 1024"),
        ({"threads": [1, 10**6]}, "'threads[1]' is 1000000; it must be a whole number from 0 to 1024"),
        ({"threads": None}, "'threads' is None; it must be a list"),
        ({"batch_sizes": [0]}, "'batch_sizes[0]' is 0; it must be a whole number at least 1"),
        ({"seconds": -1}, "'seconds' is -1; it must be a number above 0"),
        ({"seconds": float("inf")}, "'seconds' is inf; it must be a finite number"),
    ],
)
def test_how_models_are_timed_has_ranges(given: Any, said: str) -> None:
    with pytest.raises(OptionError) as caught:
        timing_options("benchmark", given)
    assert str(caught.value).startswith(f"benchmark(): {said}")


@pytest.mark.parametrize("given", [0.5, "50%", np.float32(0.5), [np.float32(0.5)], (share for share in ("50%",))])
def test_one_share_will_do_for_several(given: Any) -> None:
    assert shares_of("sweep", "sparsities", given) == [0.5]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "'sparsities' is None; it must be a list, each item a number"),
        ([], "'sparsities' is empty; give a share at least"),
        ([None], "'sparsities[0]' is None; it must be a number"),
        (["half"], "'sparsities': 'half' is no share"),
    ],
)
def test_what_is_no_share_is_said(given: Any, said: str) -> None:
    with pytest.raises(OptionError) as caught:
        shares_of("sweep", "sparsities", given)
    assert str(caught.value).startswith(f"sweep(): {said}")


def test_keywords_replace_a_recipe() -> None:
    options = chosen_options("compress", {"sparsity": 0.5}, {"goal": {"scheme": "2:4"}, "run": {"seed": 3}})
    assert (options.goal.sparsity, options.goal.scheme, options.run.seed) == (0.5, None, 3)
