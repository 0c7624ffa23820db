"""One call of a function: files in place of the caller's objects, and messages in the caller's words."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from domino_onnx.api.models import Model, WrittenModel, model_file
from domino_onnx.api.options import Recipe, chosen_options, refuse_unknown_keywords
from domino_onnx.api.progress import ProgressFunction, Spokesman, require_listeners
from domino_onnx.api.samples import samples_file
from domino_onnx.api.words import in_python
from domino_onnx.codec import shown
from domino_onnx.errors import DominoError, OptionError
from domino_onnx.evaluate import Metric
from domino_onnx.options import KEYWORDS, CompressOptions, overridden, with_files
from domino_onnx.scheme import Plan
from domino_onnx.stages import Observer, name_for_cpu

__all__ = ["Call"]


class Call:
    """What a function does before and behind its stages. Use it in a `with` block: its files go at the end.

    Parameters
    ----------
    function
        Its name.
    given
        The keywords that it was called with.
    keywords
        The TypedDict of those that it takes.

    Raises
    ------
    TypeError
        For a keyword that the function doesn't take.
    OptionError
        For a `progress` or a `metric` that can't be called, and an `observer` that is none.
    """

    def __init__(
        self,
        function: str,
        given: Mapping[str, Any],
        keywords: type,
        progress: ProgressFunction | None = None,
        observer: Observer | None = None,
    ) -> None:
        refuse_unknown_keywords(function, given, keywords)
        require_listeners(function, progress, observer)
        self._function = function
        self._given = given
        self._taken = {KEYWORDS[name] for name in keywords.__annotations__ if name in KEYWORDS}
        self._places: dict[Path, str] = {}
        self._files = contextlib.ExitStack()
        self._outputs: list[Path] = []
        self._inputs: list[Path] = []
        self.observer = Spokesman(observer, progress, self.in_words)
        self.metric = _metric(given.get("metric"))

    def __enter__(self) -> Call:
        self._folder = Path(self._files.enter_context(tempfile.TemporaryDirectory(prefix="domino-onnx-")))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._files.close()
        if error is not None:
            for folder in self._outputs:
                shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, DominoError):
            error.args = tuple(self.in_words(each) if isinstance(each, str) else each for each in error.args)

    @property
    def places(self) -> Mapping[Path, str]:
        """Names for paths that the caller never gave."""
        return self._places

    @property
    def inputs(self) -> tuple[Path, ...]:
        """The caller's files and folders that were read; a result is never saved over them."""
        return tuple(self._inputs)

    def in_words(self, message: str) -> str:
        """The message as the caller speaks."""
        return in_python(message, self._places)

    def model(self, model: Model, name: str = "model") -> Path:
        """The model's file."""
        folder = self._folder / name
        folder.mkdir()
        path = model_file(model, folder)
        self._inputs += model.made_of if isinstance(model, WrittenModel) else [path]
        if isinstance(model, WrittenModel) or folder in path.parents:
            self._places[path] = name
        return path

    def options(self, model: Path, recipe: Recipe | None = None, *, has_goal: bool = True) -> CompressOptions:
        """The options that the keywords and the recipe say. Samples and a plan are in files that they name."""
        given = {name: value for name, value in self._given.items() if name != "metric" or isinstance(value, str)}
        samples = {name: given.pop(name) for name in ("data", "eval_data") if name in given}
        if given.get("plan") is not None:
            given["plan"] = self.plan(given["plan"])
        options = chosen_options(self._function, given, recipe, has_goal=has_goal)
        options = with_files(options, self._taken, given=[KEYWORDS[name] for name in samples])
        axes = options.data.batch_axes
        files = {KEYWORDS[name]: self.samples(value, name, model, axes) for name, value in samples.items()}
        options = overridden(options, files)
        self._inputs += [*options.inputs, *([Path(recipe)] if isinstance(recipe, str | os.PathLike) else [])]
        return options

    def samples(self, value: Any, name: str, model: Path, batch_axes: Any) -> Path | None:
        """The file or folder of samples."""
        if value is None:
            return None
        path = samples_file(value, name, self._folder, model, batch_axes)
        if self._folder in path.parents:
            self._places[path] = name
        return path

    def plan(self, given: Any) -> Path:
        """The plan's file; one that is in memory is written."""
        if isinstance(given, str | os.PathLike):
            path = Path(given)
            self._inputs.append(path)
            return path
        plan = given if isinstance(given, Plan) else getattr(given, "plan", None)
        if not isinstance(plan, Plan):
            raise OptionError(
                f"{self._function}(): 'plan' is {shown(given)}; give a Plan, its file, or a result that has a plan"
            )
        path = self._folder / "plan.json"
        path.write_text(plan.to_json(), encoding="utf-8")
        self._places[path] = "the plan"
        return path

    def output(self, name: str) -> Path:
        """Where a model is written that outlives the call, in a folder of its own."""
        folder = Path(tempfile.mkdtemp(prefix="domino-onnx-"))
        self._outputs.append(folder)
        path = folder / name
        self._places |= {path: "result", name_for_cpu(path): "result.deployed"}
        return path


def _metric(given: Any) -> Metric | None:
    """A function of the caller's; a text is left to the options."""
    if given is None or isinstance(given, str):
        return None
    if not callable(given):
        raise OptionError(f"'metric' is {given!r}; it must be a function, or 'FILE.py:FUNCTION'")
    return Metric(getattr(given, "__name__", "metric"), given)
