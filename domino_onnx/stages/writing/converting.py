"""The stage that writes a file in another form or precision, with everything else as it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from domino_onnx.errors import OptionError
from domino_onnx.files import Replacing, check_model_ending, check_output
from domino_onnx.graph import OnnxFile, Written, check_data_name, read_manifest, read_model, write_model
from domino_onnx.precision import Conversion, Converted, check_conversion, converted
from domino_onnx.report.results import ConvertResult
from domino_onnx.stages.reading.purpose import require_suited
from domino_onnx.stages.writing.form_notes import dense_notes, ir_notes
from domino_onnx.storage import Form

__all__ = ["rewritten"]


def rewritten(
    model: Path, output: Path, form: Form | None, conversion: Conversion, replacing: Replacing
) -> ConvertResult:
    """Write `model` with its weights in another form.

    Raises
    ------
    OptionError
        If the form isn't known.
    ModelError
        If the model can't be read, or not converted; to fewer bits also if it was deployed.
    CheckFailed
        If its manifest can't be read, where that has to be written again.
    OutputError
        If the output can't be written.
    """
    if form not in (None, *get_args(Form)):
        raise OptionError(f"the form is {form!r}; it must be {' or '.join(map(repr, get_args(Form)))}")
    file = read_model(model, for_conversion=True)
    check_output(output, file.data_files, replacing)
    check_data_name(file, output)
    check_model_ending(output, (model,))
    if conversion.is_needed:
        require_suited(file, "convert")
    check_conversion(file, conversion)
    ir_version = file.proto.ir_version
    before = sum(path.stat().st_size for path in (model, *file.data_files))
    made = Converted(file=file)
    if conversion.is_needed:
        made = converted(file, {}, read_manifest(file.proto), conversion)
    wanted: Form = form or ("packed" if file.form == "packed" else "dense")
    written = write_model(made.file, {}, made.manifest, output, form=wanted, replacing=replacing)
    return ConvertResult(
        model=model,
        output=output,
        before=file.form,
        form=wanted,
        conversion=conversion,
        bytes_before=before,
        bytes_after=written.nbytes,
        weight_forms=written.weight_forms,
        warnings=(*file.notes, *made.notes, *ir_notes(ir_version, made.file), *_warnings(file, form, wanted, written)),
    )


def _warnings(file: OnnxFile, form: Form | None, wanted: Form, written: Written) -> Iterator[str]:
    if form is None and file.form == "sparse":
        yield "sparse tensors are only read: the weights are written dense; --format packed is smaller"
    yield from dense_notes(wanted, written.weight_forms)
