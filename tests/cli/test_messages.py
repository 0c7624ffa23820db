"""No message names an option that the command which prints it lacks."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

import domino_onnx
from domino_onnx.cli.group import cli
from domino_onnx.options import CompressOptions

Run = Callable[..., Any]
PACKAGE = Path(domino_onnx.__file__).parent
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
EXAMPLE = re.compile(r"domino-onnx ([a-z]+)([^;`'\"\n]*)")
FOREIGN = (
    "cp --reflink=never",
    "--sparsity=enable",
    "--onnx=model.onnx",
    "trtexec --verbose",
    "--verbose > build.log",
    "--nproc-per-node",
)
"""Options of other programs, as messages name them."""

_WITH_DOCSTRINGS = (ast.Module, ast.ClassDef, ast.FunctionDef)
FIELD = re.compile(r"\b(\w+)\.([a-z_]+)(?:\.([a-z_]+))?(?= in (?:a|the) recipe| = ')")
"""A field of a recipe, as messages name it."""
ALL = frozenset(cli.commands)
WORK = frozenset({"compress", "search", "sweep", "apply", "finetune"})
"""Commands that choose, prune or train; a module that isn't named below may print to each of them."""
KEEPERS = frozenset({"compress", "apply", "finetune", "sweep"})
WRITERS = frozenset({"compress", "search", "sweep", "apply", "finetune", "convert"})
FILES = frozenset({"compress", "apply", "finetune"})
READERS = WORK | {"inspect", "evaluate"}
SEARCHERS = frozenset({"compress", "search", "sweep"})
TIMERS = frozenset({"deploy", "benchmark"})
REACHED_BY: dict[str, frozenset[str]] = {
    "__main__": ALL,
    "cli/group": ALL,
    "cli/options": ALL,
    "cli/fields": ALL,
    "cli/console": ALL,
    "cli/types": ALL,
    "cli/interrupting": KEEPERS,
    "cli/files": FILES | {"sweep"},
    "cli/files:folder_for": frozenset({"sweep"}),
    "bridge/readiness": frozenset({"inspect"}),
    "data": READERS | TIMERS,
    "data/split": frozenset({"compress", "sweep"}),
    "evaluate/evaluate": FILES | {"sweep", "evaluate", "inspect"},
    "evaluate/evaluate:meanings_on": WORK | {"evaluate"},
    "cli/options:SHAPE_TO_TIME": TIMERS,
    "evaluate/metric": WORK | {"evaluate"},
    "evaluate/verify": frozenset({"verify"}),
    "files": WRITERS,
    "finetuning": FILES | {"search", "sweep"},
    "graph": ALL,
    "graph/io/write": WRITERS,
    "graph/selection": WORK | {"inspect"},
    "graph/shapes": SEARCHERS | {"inspect"} | TIMERS,
    "options/compress": frozenset({"compress", "search"}),
    "options/groups:_answers": frozenset({"compress"}),
    "options/groups:_require_one_length": frozenset({"compress", "finetune"}),
    "outputs": WORK | {"evaluate"},
    "pipeline/checking:inspect": frozenset({"inspect"}),
    "precision": FILES | {"sweep", "convert"},
    "precision/integer:float_notes": FILES | {"convert"},
    "report/forecast:_time": frozenset({"compress"}),
    "report/compressed": FILES,
    "report/doctor": frozenset({"doctor"}),
    "report/page": FILES,
    "report/inspected": frozenset({"inspect"}),
    "report/readiness": frozenset({"inspect"}),
    "runtime/session": WORK | {"evaluate"},
    "scheme/budget:require_reachable": SEARCHERS,
    "search": SEARCHERS,
    "stages/reading/aim": SEARCHERS | {"apply"},
    "stages/deploying/benchmarking": frozenset({"benchmark"}),
    "stages/checkpoints/checkpoint": KEEPERS,
    "stages/writing/converting": frozenset({"convert"}),
    "stages/deploying/deploy": frozenset({"deploy"}),
    "stages/finetuning/finetune": frozenset({"compress", "finetune"}),
    "stages/finetuning/notes": frozenset({"compress", "finetune"}),
    "stages/reading/idle": frozenset({"compress"}),
    "stages/reading/idle:_without_samples": WORK,
    "stages/reading/idle:_of_shapes": SEARCHERS | {"inspect"} | TIMERS,
    "stages/reading/idle:idle_to_time": TIMERS,
    "stages/planning:_gradients": SEARCHERS,
    "stages/planning:require_plan": frozenset({"compress"}),
    "stages/planning:chosen_strategy": SEARCHERS,
    "stages/reading/doubts": frozenset({"compress", "sweep"}),
    "stages/reading/doubts:doubts_of_labels": WORK | {"evaluate"},
    "stages/checkpoints/pieces": KEEPERS,
    "stages/resuming": KEEPERS,
    "stages/reading/read:_split": FILES | {"sweep"},
    "stages/finetuning/pruned_file": frozenset({"finetune"}),
    "stages/reading/purpose:manifest_to_finetune": frozenset({"finetune"}),
    "stages/deploying/words": frozenset({"deploy"}),
    "stages/deploying/sampling": TIMERS,
    "stages/trials/sparsest": frozenset({"compress"}),
    "stages/finetuning/teachers": frozenset({"finetune"}),
    "stages/trials/goals": frozenset({"compress", "sweep"}),
    "stages/trials/goals:reachable_shares": frozenset({"sweep"}),
    "stages/trials/trying": frozenset({"compress", "sweep"}),
    "stages/writing/form_notes": FILES | {"convert"},
    "targets/diagnosis": frozenset({"doctor"}),
}
"""Who prints the texts of a module or a folder, or of one function in it; the longest entry that fits counts."""
VALUES = {"cli/group:_print_document", "options/recipe:_FILES", "scheme/budget:OPTION"}
"""Names of options as data, or looked for on the command line; no message shows them there."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """One literal of the source, and the function or constant that it is in."""

    module: str
    place: str
    line: int
    text: str

    @property
    def commands(self) -> frozenset[str]:
        """The commands that may print it."""
        own = re.fullmatch(r"cli/(\w+)", self.module)
        if own is not None and own[1] in ALL:
            return frozenset({own[1]})
        parts = self.module.split("/")
        names = [f"{self.module}:{self.place}", *("/".join(parts[:end]) for end in range(len(parts), 0, -1))]
        return next((REACHED_BY[name] for name in names if name in REACHED_BY), WORK)


def texts() -> Iterator[Text]:
    """All literals of the package but docstrings; adjacent parts of a message as one text."""
    for path in sorted(PACKAGE.rglob("*.py")):
        module = path.relative_to(PACKAGE).with_suffix("").as_posix()
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docstrings = {id(text) for text in _docstrings(tree, module)}
        for top in tree.body:
            yield from _within(top, _named(top), module, docstrings)


def _docstrings(tree: ast.AST, module: str) -> Iterator[ast.Constant]:
    """The texts that are only read in the source. The docstrings of commands are shown: they are their help."""
    for node in ast.walk(tree):
        is_help = module.startswith("cli/") and _named(node) in ("command", "cli")
        for inner in () if is_help else getattr(node, "body", ()) if isinstance(node, _WITH_DOCSTRINGS) else ():
            if isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Constant):
                yield inner.value


def _named(node: ast.AST) -> str:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return node.name
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return next((target.id for target in targets if isinstance(target, ast.Name)), "")


def _within(node: ast.AST, place: str, module: str, skipped: set[int]) -> Iterator[Text]:
    if isinstance(node, ast.JoinedStr):
        parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        yield Text(module=module, place=place, line=node.lineno, text="".join(map(str, parts)))
        nested = [part for part in node.values if isinstance(part, ast.FormattedValue)]
        for part in nested:
            yield from _within(part, place, module, skipped)
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
        yield Text(module=module, place=place, line=node.lineno, text=node.value)
    for child in ast.iter_child_nodes(node):
        yield from _within(child, _named(child) if isinstance(child, ast.FunctionDef) else place, module, skipped)


def options_of(command: str) -> set[str]:
    """All names of a command's options."""
    declared = (each for each in cli.commands[command].params if isinstance(each, click.Option))
    own = {name for option in declared for name in (*option.opts, *option.secondary_opts)}
    return own | {"--help", "--version"}


def mistakes(text: Text) -> Iterator[str]:
    """Each option that a command which may print the text doesn't have."""
    left = text.text
    for foreign in FOREIGN:
        left = left.replace(foreign, "")
    for command, rest in EXAMPLE.findall(left):
        if command in ALL:
            for option in OPTION.findall(rest):
                if option not in options_of(command):
                    yield f"{text.module}:{text.line}: `domino-onnx {command}` has no {option}"
            left = left.replace(f"domino-onnx {command}{rest}", "")
    for option in OPTION.findall(left):
        lacking = sorted(command for command in text.commands if option not in options_of(command))
        if lacking:
            yield f"{text.module}:{text.line} ({text.place}): {', '.join(lacking)} lack {option}"


def declared_for_some(text: Text) -> bool:
    """Whether a text of cli/options.py is a declaration: it has to be of one command at least."""
    words = [word for part in text.text.split("/") for word in part.split()]
    return text.module == "cli/options" and any(set(words) & options_of(command) for command in ALL)


def test_every_option_that_a_message_names_exists_where_it_is_printed() -> None:
    found = [
        mistake
        for text in texts()
        if f"{text.module}:{text.place}" not in VALUES and not declared_for_some(text)
        for mistake in mistakes(text)
    ]
    assert found == []


def test_the_walk_sees_messages_descriptions_and_parts_of_messages() -> None:
    named = {option for text in texts() for option in OPTION.findall(text.text)}
    assert named >= {"--data", "--resume", "--max-drop", "--force", "--pool", "--sparsity", "--target", "--weights"}
    descriptions = [
        text for text in texts() if text.module == "options/groups" and "Exactly so many steps" in text.text
    ]
    assert descriptions
    assert descriptions[0].commands == WORK


def test_every_field_of_a_recipe_that_a_message_names_exists() -> None:
    options = CompressOptions()
    named = {found for text in texts() for found in FIELD.findall(text.text)}
    assert {("finetune", "lr", ""), ("data", "input_shapes", "")} <= named
    for group, field, inner in named:
        value = getattr(getattr(options, group), field)
        assert not inner or hasattr(value, inner)


def test_an_option_that_is_missing_is_found() -> None:
    def of(text: str, module: str = "stages/trials/goals", place: str = "") -> list[str]:
        return list(mistakes(Text(module=module, place=place, line=1, text=text)))

    assert of("give --data") == []
    assert "compress, sweep lack --strategy" in of("take --strategy erk")[0]
    assert "sweep lack --max-drop" in of("within --max-drop {}")[0]
    assert of("within --max-drop {}", "stages/trials/sparsest") == []
    assert of("`domino-onnx compress MODEL --scheme 2:4`", "targets/diagnosis") == []
    assert of("domino-onnx search MODEL --plan x") == ["stages/trials/goals:1: `domino-onnx search` has no --plan"]
    assert of("copy it (cp --reflink=never)") == []


def test_the_table_names_what_there_is() -> None:
    for entry in [*REACHED_BY, *VALUES]:
        module, _, place = entry.partition(":")
        path = PACKAGE / f"{module}.py"
        assert path.is_file() or (PACKAGE / module).is_dir(), entry
        if place:
            defined = {_named(node) for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))}
            assert place in defined, entry


def advised(line: str) -> list[str]:
    """The words of the command in a line of advice, without the program's name."""
    return shlex.split(line.split("domino-onnx ", 1)[1].split(";", maxsplit=1)[0])


@pytest.mark.parametrize("scheme", [None, "8:16"])
def test_what_doctor_advises_works(scheme: str | None, domino: Run, samples: Path, tmp_path: Path) -> None:
    dense = model = samples / "digits_resnet.onnx"
    if scheme is not None:
        model = tmp_path / "pruned.onnx"
        assert domino("compress", dense, "--scheme", scheme, "-o", model).code == 0
    weights = json.loads(domino("doctor", model, "--json").out)["weights"]
    commands = sorted({weight["advice"] for weight in weights if "domino-onnx " in (weight["advice"] or "")})
    assert commands
    for number, line in enumerate(commands):
        output = tmp_path / f"out{number}.onnx"
        words = [dense if word in ("MODEL", "DENSE") else word for word in advised(line)]
        ran = domino(*words, "-o", output)
        assert ran.code == 0, (line, ran.err)
        assert domino("doctor", output, "--strict").code == 0
