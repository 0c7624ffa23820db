"""The help: short enough to be read, cut off nowhere, and true to the options that Python knows."""

from __future__ import annotations

import collections.abc
import dataclasses
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from domino_onnx.cli.group import cli
from domino_onnx.errors import DominoError
from domino_onnx.options import CompressOptions, TimingOptions, overridden

Run = Callable[..., Any]
TWO_SCREENS = 66
GROUPS = {**typing.get_type_hints(CompressOptions), "timing": TimingOptions}
FIELD_OPTIONS = sorted(
    (name, parameter.name, parameter.opts[0])
    for name, command in cli.commands.items()
    for parameter in command.params
    if parameter.name is not None and "__" in parameter.name
)
"""Command, field and option, for every option that stands for a field."""


def parameters(command: str) -> dict[str, click.Parameter]:
    """The parameters of a command, by name."""
    return {str(parameter.name): parameter for parameter in cli.commands[command].params}


def field_of(name: str) -> tuple[Any, Any, dataclasses.Field[Any]]:
    """Annotation, bare type and dataclass field behind ``group__field``."""
    group, attribute = name.split("__")
    kind = GROUPS[group]
    whole, bare = (typing.get_type_hints(kind, include_extras=extras)[attribute] for extras in (True, False))
    return whole, bare, next(field for field in dataclasses.fields(kind) if field.name == attribute)


def choices_of(kind: Any) -> tuple[str, ...]:
    """The values of a Literal, also inside a union."""
    if typing.get_origin(kind) is typing.Literal:
        return typing.get_args(kind)
    return tuple(value for inner in typing.get_args(kind) for value in choices_of(inner))


def shown(command: str, option: str, domino: Run) -> str:
    """What the help says of one option, on one line."""
    lines = domino(command, "--help").out.splitlines()
    start = next(place for place, line in enumerate(lines) if option in line.replace(",", " ").split()[:3])
    rest = lines[start + 1 :]
    more = next((place for place, line in enumerate(rest) if not line.startswith(" " * 8)), len(rest))
    return " ".join(" ".join([lines[start], *rest[:more]]).split())


def test_compress_fits_on_two_screens(domino: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    lines = domino("compress", "--help").out.splitlines()
    assert len(lines) <= TWO_SCREENS
    assert max(map(len, lines)) <= 100


def test_compress_has_its_sections(domino: Run) -> None:
    heads = [line.rstrip(":") for line in domino("compress", "--help").out.splitlines() if line[:1].strip()]
    assert [head.split(" (")[0] for head in heads][1:] == [
        *("Goal", "Data", "Target", "Output", "Finetuning", "Run"),
        "Other options",
    ]


@pytest.mark.parametrize("columns", ["60", "80", "100", "200"])
@pytest.mark.parametrize("command", ["", *cli.commands])
def test_nothing_is_cut_off(command: str, columns: str, domino: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    ran = domino(*filter(None, [command]), "--help")
    lines = [line.rstrip() for line in ran.out.split("\n\n", 1)[1].splitlines()]  # without the usage: COMMAND [ARGS]...
    assert [line for line in lines if line.endswith(("…", "..."))] == []


def test_the_width_follows_the_terminal(domino: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    heights = []
    for columns in (70, 100):
        monkeypatch.setenv("COLUMNS", str(columns))
        lines = domino("compress", "--help").out.splitlines()
        options = [line for line in lines if not line.startswith("  domino-onnx")]  # examples aren't wrapped
        assert columns - 12 <= max(map(len, options)) <= columns
        heights.append(len(lines))
    assert heights[0] > heights[1]


def test_what_is_misspelt_is_suggested(domino: Run) -> None:
    ran = domino("compres", "model.onnx")
    assert (ran.code, "Did you mean 'compress'?" in ran.err) == (2, True)
    ran = domino("compress", "model.onnx", "--sparsty", "0.5")
    assert (ran.code, "Did you mean '--sparsity'?" in ran.err) == (2, True)


@pytest.mark.parametrize("command", list(cli.commands))
def test_every_option_says_what_it_does(command: str) -> None:
    options = [each for each in cli.commands[command].params if isinstance(each, click.Option)]
    assert options or command == "completion"
    assert [each.opts for each in options if not (each.help or "").strip(" .")] == []


TOLD_OTHERWISE = {
    *((command, "data__calibration") for command in ("inspect", "deploy", "benchmark", "finetune")),
    *((command, "target__runtime") for command in ("search", "sweep")),
    *((command, "data__input_shapes") for command in ("deploy", "benchmark")),
    ("convert", "output__format"),
    ("sweep", "run__checkpoint"),
}
"""Options that mean something else to a command, or have another default there: its help says what."""


def test_every_kind_of_output_is_in_the_help(domino: Run) -> None:
    kinds = ("scores", "probabilities", "embedding", "values", "exact", "ignored")
    assert ", ".join(kinds) in shown("compress", "--output-kind", domino)


@pytest.mark.parametrize(
    ("command", "has_plan"), [("compress", True), ("apply", True), ("search", False), ("sweep", False)]
)
def test_a_plan_gives_the_target_where_there_is_one(command: str, has_plan: bool, domino: Run) -> None:
    assert ("the plan's" in shown(command, "--target", domino)) is has_plan


def test_finetuning_offers_no_run_without_samples(domino: Run) -> None:
    assert "no samples" in shown("compress", "--data", domino)
    assert "no samples" not in shown("finetune", "--data", domino)


@pytest.mark.parametrize(("command", "field", "option"), FIELD_OPTIONS)
def test_the_help_shows_the_dataclass_fields(command: str, field: str, option: str, domino: Run) -> None:
    annotation, bare, declared = field_of(field)
    said = shown(command, option, domino)
    description = next(meta.description for meta in annotation.__metadata__ if meta.description)
    assert (description in said) is not ((command, field) in TOLD_OTHERWISE)
    if choices_of(bare) and typing.get_origin(bare) is not collections.abc.Mapping:
        assert f"[{'|'.join(choices_of(bare))}]" in said
    default = None if (command, field) == ("convert", "output__format") else declared.default  # MODEL has the form
    if default is None or isinstance(default, bool) or default in ((), dataclasses.MISSING):
        assert "[default:" not in said
    else:
        values = default if isinstance(default, tuple) else (default,)
        written = " ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)
        assert f"[default: {written}]" in said


def python_value(bare: Any, text: str) -> Any:
    """What Python code would give for the same text: a number where the field has numbers, else the text."""
    kinds = {bare, *typing.get_args(bare)}
    if int in kinds or float in kinds:
        number = float(text) if float in kinds or "." in text else int(text)
        return (number,) if typing.get_origin(bare) is tuple else number
    return text


def made(field: str, value: Any) -> object:
    """The options that Python code would make with this value."""
    group, name = field.split("__")
    if group == "timing":
        return TimingOptions(**{name: value})
    return overridden(CompressOptions(), {f"{group}.{name}": value})


def wrong_values(annotation: Any, bare: Any) -> list[str]:
    """Values that a field can't take, as they are typed."""
    kinds = {bare, *typing.get_args(bare)}
    any_text = bare == str | None
    if bool in kinds or Path in kinds or any_text or bare == tuple[str, ...]:
        return []
    if not {int, float} & kinds:
        return ["nonsense"]
    limits = [meta for meta in _metas(annotation) if meta.description is None] or _metas(annotation)
    low = next((bound for meta in limits for bound in (meta.ge, meta.gt) if bound is not None), 0)
    high = next((bound for meta in limits for bound in (meta.le, meta.lt) if bound is not None), None)
    return [str(low - 1), *([] if high is None else [str(high + 1)])]


def _metas(annotation: Any) -> list[Any]:
    own = list(getattr(annotation, "__metadata__", ()))
    inner = getattr(annotation, "__origin__", None) if own else None
    return own + [meta for each in (inner, *typing.get_args(annotation)) if each is not None for meta in _metas(each)]


WRONG = [
    (command, field, option, value)
    for command, field, option in FIELD_OPTIONS
    for value in wrong_values(*field_of(field)[:2])
]


def test_wrong_values_are_tried_of_every_kind_of_field() -> None:
    fields = {field for _, field, _, _ in WRONG}
    numbers = {"goal__sparsity", "goal__flops_reduction", "goal__max_drop", "finetune__steps", "run__batch_size"}
    texts = {"goal__scheme", "search__pool", "target__runtime", "output__format", "run__device", "data__input_shapes"}
    assert fields >= numbers | texts | {"run__seed", "run__threads", "output__precision", "output__weights"}
    assert fields >= {"timing__threads", "timing__batch_sizes", "timing__seconds"}


@pytest.mark.parametrize(("command", "field", "option", "value"), WRONG)
def test_command_line_and_python_refuse_the_same(
    command: str, field: str, option: str, value: str, domino: Run
) -> None:
    with pytest.raises(DominoError):
        made(field, python_value(field_of(field)[1], value))
    positional = [each for each in cli.commands[command].params if isinstance(each, click.Argument)]
    ran = domino(command, *("missing.onnx" for _ in positional), *_required(command), option, value)
    assert ran.code in (1, 2)
    assert option in ran.err or field.split("__")[1] in ran.err or "between 0 and 1" in ran.err
    assert "missing.onnx" not in ran.err


def _required(command: str) -> list[str]:
    needed = [each for each in cli.commands[command].params if isinstance(each, click.Option) and each.required]
    return [word for each in needed for word in (each.opts[0], "missing.npz")]
