"""The first stage: the model and its data are read and checked before any work."""

from __future__ import annotations

import dataclasses
import filecmp
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from domino_onnx.files import NOTHING, Replacing, check_model_ending, check_output
from domino_onnx.graph import OnnxFile, Selection, check_data_name, check_input_shapes, read_manifest, read_model
from domino_onnx.options import NO_DATA, CompressOptions
from domino_onnx.outputs import require_outputs
from domino_onnx.precision import Conversion, check_conversion, try_conversion
from domino_onnx.scheme import Plan
from domino_onnx.stages.devices import require_devices
from domino_onnx.stages.journal import Journal
from domino_onnx.stages.reading.doubts import doubts_of_samples
from domino_onnx.stages.reading.drawing import drawn_samples, filled_up
from domino_onnx.stages.reading.purpose import Purpose, doubt_of_pruned, require_suited
from domino_onnx.stages.reading.shapes import note_of_shapes
from domino_onnx.stages.reading.source import Source, open_source

if TYPE_CHECKING:
    from domino_onnx.data import Dataset, Split
    from domino_onnx.evaluate import Metric

__all__ = ["Output", "conversion", "load_chosen_metric", "load_samples", "read"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """The file that is to be written, and what of all that exists may be replaced."""

    path: Path
    replacing: Replacing = NOTHING

    def check(self, inputs: Iterable[Path]) -> None:
        """Refuse the name before any work is done.

        Raises
        ------
        OutputError
            If it is one of the inputs, exists and may not be replaced, or can't be written.
        """
        check_output(self.path, inputs, self.replacing)


def read(
    model: Path,
    options: CompressOptions,
    journal: Journal,
    purpose: Purpose,
    *,
    output: Output | None = None,
    also: tuple[Path, ...] = (),
    judged: bool = False,
    plan: Plan | None = None,
    metric: Metric | None = None,
    finetunes: bool = False,
) -> Source:
    """Read the model and the data, and take the inventory.

    Parameters
    ----------
    purpose
        Samples may be drawn where no data are given, or few, unless the file is only looked at.
    output
        What is going to be written; it must be none of the inputs. Only then is a conversion tried, if the options ask
        for one; else the model is merely looked at for what would stop it.
    also
        Other models that are read.
    judged
        Whether plans are compared, as `--max-drop` and `sweep` do: then samples to judge by are a must.
    plan
        Names weights that are to be pruned whatever they hold.
    metric
        Judges instead of the one that the options name.
    finetunes
        Whether a command that prunes finetunes as well.

    Raises
    ------
    OutputError
        If the output can't be written, is an input, or isn't named as an ONNX file is.
    ModelError
        If the model can't be read, doesn't suit the purpose, or can't be written as the options ask for.
    PlanError
        If the file is to be finetuned, and its manifest doesn't allow that.
    DataError
        If the data don't fit the model.
    MetricError
        If the user's metric can't be loaded.
    DependencyError
        If the options ask for a device or a package that is missing.
    """
    if output is not None:
        output.check((model, *also, *options.inputs))
    lines: tuple[str, ...] = ()
    with journal.stage("read"):
        file = read_model(model)
        _require_suited(file, purpose, journal)
        if output is not None:
            output.check((*file.data_files, *_data_files(also if output.path.exists() else ())))
            check_data_name(file, output.path)
            check_model_ending(output.path, (model, *also))
        if output is not None:
            try_conversion(file, conversion(options))
        else:
            check_conversion(file, conversion(options))
        _check_names(file, options)
        require_devices(options)
        metric = metric or load_chosen_metric(options)
        split = _split(file, options, journal, metric, judged=judged)
        if split is not None and purpose != "look":
            fits = purpose == "prune"
            split = filled_up(file, options, split, journal, fits=fits, finetunes=finetunes or not fits)
    for doubt in () if split is None else doubts_of_samples(split.fit):
        journal.warn(doubt)
    if split is not None and (note := note_of_shapes(split.fit)) is not None:
        journal.note(note)
    if split is None and purpose != "look" and options.data.draws:
        split, lines = _drawn(file, options, journal, metric, judged=judged)
    with journal.stage("read"):
        evaluation = _evaluation(file, options, metric) if split is None else None
        source = open_source(
            file,
            pool=options.pool,
            selection=_selection(file, options, plan),
            input_shapes={} if options.data.tells_shapes else options.data.input_shapes,
            samples=evaluation if split is None else split.fit,
            seed=options.run.seed,
        )
    for note in source.inventory.notes:
        journal.warn(note)
    return dataclasses.replace(source, split=split, evaluation=evaluation, metric=metric, drawn=lines)


def _require_suited(file: OnnxFile, purpose: Purpose, journal: Journal) -> None:
    """Refuse a file by what it is, or say what is forgotten of it."""
    require_suited(file, purpose)
    if purpose == "prune" and (doubt := doubt_of_pruned(file)) is not None:
        journal.warn(doubt)


def _check_names(file: OnnxFile, options: CompressOptions) -> None:
    """Refuse names of inputs and outputs that the model hasn't got, whether or not anything comes of them."""
    require_outputs(options.data.output_kinds, [value.name for value in file.proto.graph.output])
    check_input_shapes(file.proto, options.data.input_shapes)
    if options.data.batch_axes:
        from domino_onnx.data import batching_of, input_specs

        batching_of(file.proto, input_specs(file.proto), options.data.batch_axes)


def conversion(options: CompressOptions) -> Conversion:
    """What the file is converted to when it is written."""
    return Conversion(precision=options.output.precision, weights=options.output.weights)


def _data_files(models: Iterable[Path]) -> Iterator[Path]:
    """The files that hold the models' external data."""
    for model in models:
        yield from read_model(model).data_files


def _selection(file: OnnxFile, options: CompressOptions, plan: Plan | None) -> Selection:
    """What the options say. What a plan or the file's manifest prunes is a site, though it may be a fixed function."""
    manifest = read_manifest(file.proto)
    pruned = {entry.key for entry in manifest.entries} if manifest is not None else set()
    if plan is not None:
        pruned |= {key for key, scheme in plan.schemes.items() if not scheme.is_dense}
    return Selection(include=options.target.include, exclude=options.target.exclude, pruned=frozenset(pruned))


def load_samples(path: Path, file: OnnxFile, options: CompressOptions, metric: Metric | None) -> Dataset:
    """Read data for a model, with the labels that the user's metric takes, or else class indices."""
    from domino_onnx.data import load_data

    return load_data(path, file.proto, options.data.batch_axes, any_labels=metric is not None)


def _split(
    file: OnnxFile, options: CompressOptions, journal: Journal, metric: Metric | None, *, judged: bool
) -> Split | None:
    calibration = options.data.path
    if calibration is None:
        if options.data.calibration == NO_DATA and NO_DATA.exists():
            journal.warn(f"--data {NO_DATA} means no samples. Give the whole path to read {NO_DATA.absolute()}")
        return None
    from domino_onnx.data import Split

    evaluation = None if _is_the_same(calibration, options.data.evaluation) else _evaluation(file, options, metric)
    if evaluation is None and options.data.evaluation is not None:
        journal.warn(
            f"--data and --eval-data are the same, {calibration}: weights would be judged by what they were fitted "
            "to. A part is set apart to judge by instead"
        )
    data = load_samples(calibration, file, options, metric)
    return Split.of(data, evaluation=evaluation, judged=judged, seed=options.run.seed)


def _drawn(
    file: OnnxFile, options: CompressOptions, journal: Journal, metric: Metric | None, *, judged: bool
) -> tuple[Split | None, tuple[str, ...]]:
    """A split of drawn samples, and what the inputs were taken to be."""
    with journal.stage("draw"):
        made = drawn_samples(file, options, journal)
        if made is None:
            return None, ()
        from domino_onnx.data import Split

        evaluation, seed = _evaluation(file, options, metric), options.run.seed
        split = Split.of(made.data, evaluation=evaluation, judged=judged, seed=seed, stream=made.stream)
        return split, made.lines


def _is_the_same(calibration: Path, evaluation: Path | None) -> bool:
    """Whether both name one file or folder, or two files with the same bytes."""
    if evaluation is None or not calibration.exists() or not evaluation.exists():
        return False
    if calibration.samefile(evaluation):
        return True
    return calibration.is_file() and evaluation.is_file() and filecmp.cmp(calibration, evaluation, shallow=False)


def _evaluation(file: OnnxFile, options: CompressOptions, metric: Metric | None) -> Dataset | None:
    path = options.data.evaluation
    return None if path is None else load_samples(path, file, options, metric)


def load_chosen_metric(options: CompressOptions) -> Metric | None:
    """The user's own metric; None without one.

    Raises
    ------
    MetricError
        If it can't be loaded.
    """
    if options.data.metric is None:
        return None
    from domino_onnx.evaluate import load_metric

    return load_metric(options.data.metric)
