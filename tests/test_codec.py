"""Documents read and written: what comes back, and what is said of what doesn't fit."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import subprocess
import sys
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from string import ascii_lowercase
from types import MappingProxyType
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domino_onnx import codec
from domino_onnx.errors import CheckpointError, DataError, DependencyError, PlanError
from domino_onnx.scheme import NMScheme, SchemePool


class Layer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    name: str
    scheme: NMScheme
    scope: tuple[str, ...] = ()


class Lenient(msgspec.Struct, frozen=True, kw_only=True):
    name: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    lr: Annotated[float, msgspec.Meta(gt=0, le=1, description="peak rate")] = 0.5
    method: Literal["fixed", "sr-ste"] = "fixed"
    steps: Annotated[int, msgspec.Meta(ge=1, le=9)] = 3


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    scheme: NMScheme | None = None
    pool: SchemePool = dataclasses.field(default_factory=SchemePool.fixed_m)
    data: Path | None = None
    training: Training | None = None
    always: Training = Training()
    layers: tuple[Layer, ...] = ()
    sizes: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    side: Annotated[int | tuple[int, int] | None, msgspec.Meta(extra={"wanted": "a side, or [height, width]"})] = None
    strict: bool = False

    def __post_init__(self) -> None:
        if self.strict and self.data is None:
            raise DataError("strict without data")


def read(text: str | bytes, kind: Any = Recipe, **options: Any) -> Any:
    return codec.decode(text, kind, what="r.json", error=PlanError, **options)


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
schemes = st.tuples(st.integers(1, 16), st.integers(16, 32)).map(lambda pair: NMScheme(*pair))
trainings = st.builds(
    Training,
    lr=st.floats(0.001, 1),
    method=st.sampled_from(["fixed", "sr-ste"]),
    steps=st.integers(1, 9),
)
recipes = st.builds(
    Recipe,
    scheme=st.none() | schemes,
    pool=st.lists(schemes.filter(lambda scheme: not scheme.is_dense), min_size=1, max_size=3).map(SchemePool.of),
    data=st.none() | names.filter(lambda name: bool(name) and "\0" not in name).map(Path),
    training=st.none() | trainings,
    layers=st.lists(
        st.builds(Layer, name=names, scheme=schemes, scope=st.lists(names, max_size=2).map(tuple)), max_size=2
    ).map(tuple),
    sizes=st.dictionaries(names, st.lists(st.integers(), max_size=2).map(tuple), max_size=2),
    side=st.none() | st.integers() | st.tuples(st.integers(), st.integers()),
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
fields = st.sampled_from([field.name for field in dataclasses.fields(Recipe)])


@given(recipes, st.sampled_from([None, 1, 2]), st.booleans())
@settings(deadline=None, derandomize=True)
def test_what_is_written_comes_back(recipe: Recipe, indent: int | None, spaced: bool) -> None:
    text = codec.encode(recipe, indent=indent, spaced=spaced)
    assert read(text) == recipe
    assert json.loads(text) == codec.plain(recipe)
    codec.check_fields(recipe, PlanError)


@given(anything)
@settings(deadline=None, derandomize=True)
def test_plain_values_are_written_as_the_standard_library_writes_them(value: Any) -> None:
    assert codec.encode(value, finite=False) == json.dumps(value, separators=(",", ":"), ensure_ascii=False)


@given(anything | st.dictionaries(fields, anything))
@settings(deadline=None, derandomize=True, max_examples=300)
def test_any_json_is_read_or_refused_in_words(value: Any) -> None:
    try:
        codec.check_fields(read(json.dumps(value)), PlanError)
    except PlanError as refused:
        str(refused).encode()


@given(st.text(max_size=30) | st.binary(max_size=30), st.sampled_from(["json", "toml", "yaml"]))
@settings(deadline=None, derandomize=True, max_examples=300)
def test_any_text_is_read_or_refused_in_words(text: str | bytes, syntax: codec.Syntax) -> None:
    if syntax == "yaml":
        pytest.importorskip("yaml")
    with contextlib.suppress(PlanError):
        read(text, syntax=syntax)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([], "r.json holds []; it must hold keys and values (scheme, pool, "),
        (3, "r.json holds 3; it must hold keys"),
        (None, "r.json holds None"),
        ({"scheme": "2;4"}, "'scheme': '2;4' is not an N:M scheme"),
        ({"scheme": 3}, "'scheme' is 3; it must be text"),
        ({"scheme": {"n": 2, "m": 4}}, "'scheme' is {'m': 4, 'n': 2}; it must be text"),
        ({"pool": None}, "'pool' is None; it must be text"),
        ({"data": 3}, "'data' is 3; it must be the path of a file"),
        ({"data": "a\0b"}, "'data': 'a\\x00b' is no path"),
        ({"skeme": "2:4"}, "unknown key 'skeme'; did you mean 'scheme'? known are scheme, pool, data"),
        ({"xyzzy": 1}, "unknown key 'xyzzy'; known are scheme"),
        ({"training": {"lrr": 1}}, "unknown key 'lrr' in 'training'; did you mean 'lr'? known are lr, method, steps"),
        ({"training": {"lr": 2}}, "'training.lr' is 2; it must be a number above 0 and at most 1"),
        ({"training": {"lr": "2"}}, "'training.lr' is '2'; it must be a number above 0"),
        ({"training": {"lr": True}}, "'training.lr' is True; it must be a number"),
        ({"training": {"steps": 0}}, "'training.steps' is 0; it must be a whole number from 1 to 9"),
        ({"training": {"steps": 2.0}}, "'training.steps' is 2.0; it must be a whole number"),
        (
            {"training": {"method": "fix"}},
            "'training.method' is 'fix'; did you mean 'fixed'? it must be 'fixed' or 'sr-ste'",
        ),
        ({"training": {"method": []}}, "'training.method' is []; it must be 'fixed' or 'sr-ste'"),
        ({"training": 3}, "'training' is 3; it must be keys and values (lr, method, steps)"),
        ({"always": None}, "'always' is None; it must be keys and values"),
        ({"layers": [{"name": "a", "scheme": "1:4"}, {"name": "b"}]}, "'layers[1]' lacks the key 'scheme'"),
        ({"layers": [{"name": "a", "scheme": "4:2"}]}, "'layers[0].scheme': scheme 4:2 is impossible"),
        ({"layers": [{"name": "a", "scheme": "1:4", "scop": 1}]}, "unknown key 'scop' in 'layers[0]'"),
        ({"layers": [{"name": "a", "scheme": "1:4", "scope": [1]}]}, "'layers[0].scope[0]' is 1; it must be text"),
        ({"layers": {}}, "'layers' is {}; it must be a list"),
        ({"sizes": {"x": 3}}, "'sizes' has a value that doesn't fit: "),
        ({"side": [1, 2, 3]}, "'side' is [1, 2, 3]; it must be a side, or [height, width]"),
        ({"side": [1, "a"]}, "'side[1]' is 'a'; it must be a whole number"),
        ({"strict": True}, "r.json: strict without data"),
        ({"side": float("nan")}, "'side' is nan; it must be a finite number"),
        ({"training": {"lr": float("-inf")}}, "'training.lr' is -inf; it must be a finite number"),
        ({"data": "\ud800"}, r"'data' holds '\ud800', which is no valid Unicode"),
        ({"\udfff": 1}, r"'\udfff', which is no valid Unicode"),
    ],
)
def test_what_is_wrong_is_named(document: Any, says: str) -> None:
    with pytest.raises(PlanError) as refused:
        read(json.dumps(document))
    assert says in str(refused.value)
    assert str(refused.value).startswith("r.json")
    assert type(refused.value) is PlanError


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not readable JSON: Expecting value: line 1"),
        (b"\xff\xfe{}", "not readable JSON: 'utf-8' codec"),
        ("[" * 100_000, "nested too deeply"),
        ('{"training":' * 100_000, "nested too deeply"),
        ('{"layers": ' + "[" * 700 + "]" * 700 + "}", "'layers[0]' is [["),
        ('{"side": ' + "1" * 5000 + "}", "not readable JSON: Exceeds the limit"),
        ('{"training": {"lr": 1' + "0" * 4000 + "}}", "'training.lr' is 1000"),
        ('{"training": {"lr": 1e999}}', "'training.lr' is inf"),
        ('{"side": 1, "side": 2}', "the key 'side' is given twice"),
        ('{"training": {"lr": 1, "steps": 2, "lr": 1}}', "the key 'lr' is given twice"),
    ],
)
def test_hostile_json_is_refused(text: str | bytes, says: str) -> None:
    with pytest.raises(PlanError) as refused:
        read(text)
    assert says in str(refused.value)
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("side = nan", "'side' is nan"),
        ("side = " + "[" * 100_000, "not readable TOML: it is nested too deeply"),
        ("side = " + "1" * 5000, "not readable TOML: Exceeds the limit"),
        ("side = 1\nside = 2", "not readable TOML: Cannot overwrite a value"),
        ("side = 2026-13-45", "not readable TOML"),
        ("side = 2026-01-01", "'side' is datetime.date(2026, 1, 1); it must be a side"),
        ("[training]\nsteps = 2\nmetod = 'fixed'", "unknown key 'metod' in 'training'; did you mean 'method'?"),
    ],
)
def test_hostile_toml_is_refused(text: str, says: str) -> None:
    with pytest.raises(PlanError) as refused:
        read(text, syntax="toml")
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("side: .nan", "'side' is nan"),
        ("side: 1\nside: 2", "not readable YAML: a key is given twice"),
        ("training: {lr: 1, lr: 1}", "not readable YAML: a key is given twice"),
        ("[" * 5000, "not readable YAML: it is nested too deeply"),
        ("&a [*a]", "an alias (*name) isn't followed: write out what it means (line 1)"),
        (
            "a: &a {k: 1}\n" + "".join(f"{b}: &{b} {{<<: [*{a}, *{a}]}}\n" for a, b in pairwise(ascii_lowercase)),
            "an alias (*name) isn't followed: write out what it means (line 2)",
        ),
        ("\nalways: {<<: {lr: 0.25}, steps: 4}", "a merge (<<) isn't followed: write out its keys (line 2)"),
        (
            "training: {steps: 0x" + "f" * 20_000 + "}",
            "'training.steps' is a number of thousands of digits; it must be",
        ),
        ("1: 3", "unknown key 1"),
        ("side: !!python/object/apply:os.mkdir [pwned]", "not readable YAML"),
        ("a: 1\nb: [1,\nc", "not readable YAML: expected ',' or ']', but got the end of the text while parsing a flow"),
        ("a: 1\nb: c: d", "not readable YAML: mapping values are not allowed here (line 2, column 5)"),
        ("a: 1\nb: \x01", "not readable YAML: the character U+0001 is not allowed (line 2)"),
        ("a: 1\na: 2", "not readable YAML: a key is given twice in one mapping (line 1)"),
        ("side: 2026-01-01", "'side' is datetime.date(2026, 1, 1)"),
        ("b: &x {y: [*x]}", "an alias (*name)"),
    ],
)
def test_hostile_yaml_is_refused(text: str, says: str) -> None:
    pytest.importorskip("yaml")
    with pytest.raises(PlanError) as refused:
        read(text, syntax="yaml")
    assert says in str(refused.value)


def test_yaml_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(DependencyError, match=r"domino-onnx\[images\]"):
        read("side: 1", syntax="yaml")


def test_numbers_that_are_not_finite_are_read_where_they_are_expected() -> None:
    text = codec.encode({"loss": float("inf")}, finite=False)
    assert codec.parse(text, what="c", error=CheckpointError, finite=False) == {"loss": float("inf")}
    with pytest.raises(ValueError, match="JSON"):
        codec.encode({"loss": float("inf")})


def test_a_lenient_struct_ignores_what_it_does_not_know() -> None:
    assert read('{"name": "a", "newer": 1}', kind=Lenient) == Lenient(name="a")


def test_defaults_are_left_out_where_the_struct_says_so() -> None:
    assert codec.encode(Layer(name="é", scheme=NMScheme(2, 4))) == '{"name":"é","scheme":"2:4"}'


def test_classes_of_the_caller_go_through_its_hooks() -> None:
    def dtype(cls: type, value: Any) -> Any:
        return np.dtype(value)

    kinds = dict[str, np.dtype]  # type: ignore[type-arg]
    assert read('{"a": "float16"}', kind=kinds, dec_hook=dtype) == {"a": np.dtype("float16")}
    assert codec.encode({"a": np.dtype("float16")}, enc_hook=str) == '{"a":"float16"}'
    with pytest.raises(PlanError, match="'a': data type 'float15' not understood"):
        read('{"a": "float15"}', kind=kinds, dec_hook=dtype)
    with pytest.raises(TypeError, match="has no form"):
        codec.encode(object())


def test_versions_are_told_apart_first() -> None:
    codec.require_version({"version": 1}, "version", 1, what="w", error=PlanError)
    for document, says in (
        ({"version": 2}, "w has the version 2, which is unknown; this program reads 1"),
        ({"version": True}, "version True"),
        ({}, "w lacks the key 'version'"),
        ([], r"w holds \[\]"),
    ):
        with pytest.raises(PlanError, match=says):
            codec.require_version(document, "version", 1, what="w", error=PlanError)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"scheme": "2:4"}, "Recipe: 'scheme' is '2:4'; it must be NMScheme or None"),
        ({"data": "x"}, "'data' is 'x'; it must be Path"),
        ({"training": {"lr": 1}}, "'training' is {'lr': 1}; it must be Training"),
        ({"training": Training(lr=3)}, "'training.lr' is 3; it must be a number above 0 and at most 1"),
        ({"training": Training(lr=float("nan"))}, "'training.lr' is nan"),
        ({"training": Training(lr=np.float64(3))}, "'training.lr' is 3.0"),
        ({"training": Training(method="z")}, "'training.method' is 'z'; it must be 'fixed' or 'sr-ste'"),  # type: ignore[arg-type]
        ({"training": Training(steps=2.5)}, "'training.steps' is 2.5; it must be a whole number"),  # type: ignore[arg-type]
        ({"always": None}, "'always' is None; it must be Training"),
        ({"sizes": {3: (1,)}}, "'sizes': a key: Expected `str`, got `int`"),
        ({"strict": 1, "data": Path("x")}, "'strict' is 1; it must be true or false"),
    ],
)
def test_fields_given_in_python_are_checked(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(PlanError) as refused:
        codec.check_fields(Recipe(**changes), PlanError)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"training": Training(lr=1)},
        {"training": Training(lr=np.float64(0.5), steps=np.int64(4))},  # type: ignore[arg-type]
        {"training": Training(lr=np.float32(0.5))},  # type: ignore[arg-type]
        {"training": Training(lr=np.float16(0.5))},  # type: ignore[arg-type]
        {"sizes": MappingProxyType({"x": (1, 2)}), "data": Path("x"), "side": (1, 2)},
        {"layers": [Layer(name="a", scheme=NMScheme(1, 4))]},
    ],
)
def test_fields_that_fit_are_left_alone(changes: dict[str, Any]) -> None:
    codec.check_fields(Recipe(**changes), PlanError)


def test_scalars_of_numpy_are_written_as_numbers() -> None:
    given = [np.float32(0.5), np.float64(0.25), np.int64(3), np.uint8(7), True]
    assert codec.encode(given) == "[0.5,0.25,3,7,true]"


def test_a_class_that_nothing_reads_is_a_mistake_of_the_program() -> None:
    with pytest.raises(TypeError, match="can't hold a dtype: give a dec_hook"):
        read('{"a": "float16"}', kind=dict[str, np.dtype])  # type: ignore[type-arg]


_LOOK_AT_ALL = """
import dataclasses, gc, importlib, pkgutil, sys
import msgspec
import msgspec.inspect
import domino_onnx

seen = 0
for module in pkgutil.walk_packages(domino_onnx.__path__, "domino_onnx."):
    if module.name.endswith("__main__"):
        continue
    try:
        found = vars(importlib.import_module(module.name))
    except ImportError:
        continue
    kinds = [each for each in found.values() if isinstance(each, type) and each.__module__ == module.name]
    gc.set_threshold(1)
    for kind in kinds:
        if issubclass(kind, msgspec.Struct) or (dataclasses.is_dataclass(kind) and {"msgspec", "Meta"} & set(found)):
            print(kind, flush=True)
            msgspec.inspect.type_info(kind)
            seen += 1
    gc.set_threshold(700)
print("looked at", seen)
"""


def test_no_type_of_a_document_makes_msgspec_crash() -> None:
    looked = subprocess.run([sys.executable, "-c", _LOOK_AT_ALL], capture_output=True, text=True, check=False)
    assert looked.returncode == 0, looked.stdout[-300:] + looked.stderr[-1000:]
    assert int(looked.stdout.split()[-1]) > 5
