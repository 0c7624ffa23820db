"""In which form does an array hold the samples of an input? Decided from its shape and the input's batch axis."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from domino_onnx.data.batching import Batching
from domino_onnx.data.inputs import InputSpec
from domino_onnx.errors import DataError

__all__ = ["Form", "choose_forms", "is_one_number", "run_size"]

Shape = tuple[int, ...]
Sizes = Sequence[int | None]
_CHANNELS_SECOND, _CHANNELS_LAST = (0, 3, 1, 2), (0, 2, 3, 1)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How an array holds samples.

    Attributes
    ----------
    count
        How many; None if the array is one value, which all samples share.
    source
        The axis of the array that counts them.
    axis
        The batch axis of the input in a run; None if it has none there.
    size
        How many samples a run must have then, None if any.
    """

    count: int | None = None
    source: int = 0
    axis: int | None = None
    size: int | None = None


def is_one_number(spec: InputSpec, axis: int | None) -> bool:
    """Whether an input is a lone number, for instance a sampling rate, and has no batch axis."""
    return axis is None and spec.shape is not None and all(size == 1 for size in spec.shape)


def choose_forms(
    path: Path,
    shapes: Mapping[str, Shape],
    specs: Sequence[InputSpec],
    batching: Batching,
    samples_first: Collection[str] = (),
) -> dict[str, Form]:
    """The form of each input's array, so that all have the same number of samples.

    Parameters
    ----------
    samples_first
        Inputs whose arrays have samples along the first axis wherever that fits. For others the batch axis comes first.

    Raises
    ------
    DataError
        If a shape fits no form, or the numbers of samples differ. It names the arrays, and the shapes that would fit.
    """
    forms = {spec.name: _forms(spec, shapes[spec.name], batching.axis(spec.name)) for spec in specs}
    forms |= {name: sorted(forms[name], key=lambda form: form.source) for name in samples_first}
    counted = Counter(each[0].count for each in forms.values() if each and each[0].count is not None)
    count = counted.most_common(1)[0][0] if counted else None
    wrong = [spec for spec in specs if not forms[spec.name]]
    if wrong:
        said = "; ".join(
            f"array {spec.name!r} of shape {shapes[spec.name]} doesn't fit the input {spec}: give "
            f"{_fitting(spec, batching.axis(spec.name), count)}"
            f"{_transposed(spec, shapes[spec.name], batching.axis(spec.name))}"
            for spec in wrong
        )
        raise DataError(f"{path}: {said}")
    if count is None:
        told = "; ".join(_told(spec, batching.axis(spec.name), None) for spec in specs)
        raise DataError(f"{path} tells no samples apart: no array has an axis that counts samples; give {told}")
    chosen: dict[str, Form] = {}
    for spec in specs:
        found = next((form for form in forms[spec.name] if form.count in (None, count)), None)
        if found is None:
            raise DataError(_uneven(path, spec, shapes, forms, batching, count))
        chosen[spec.name] = found
    return chosen


def run_size(path: Path, forms: Mapping[str, Form]) -> int | None:
    """How many samples a run must have, None if any.

    Raises
    ------
    DataError
        If two inputs disagree.
    """
    sizes = {name: form.size for name, form in forms.items() if form.size is not None}
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{name!r} {size}" for name, size in sizes.items())
        raise DataError(f"{path}: the inputs ask for different numbers of samples in a run: {told}")
    return next(iter(sizes.values()), None)


def _forms(spec: InputSpec, shape: Shape, axis: int | None) -> list[Form]:
    """The forms that a shape may be, the likeliest first."""
    if is_one_number(spec, axis):
        return _forms_of_number(spec, shape)
    declared = spec.shape
    if declared is None:
        if axis is None:
            return [Form()]
        return [Form(count=shape[axis], source=axis, axis=axis)] if len(shape) > axis else []
    found = _without_axis(declared, shape) if axis is None else _along(declared, shape, axis)
    if _fits(declared, shape[1:]) and shape:
        found.append(Form(count=shape[0], size=1))
    return found


def _forms_of_number(spec: InputSpec, shape: Shape) -> list[Form]:
    """One number for all samples, or one a sample."""
    rank = len(spec.shape or ())
    if shape in ((), (1,), spec.shape):
        return [Form()]
    if len(shape) <= rank + 1 and all(size == 1 for size in shape[1:]):
        return [Form(count=shape[0], size=1)]
    return []


def _along(declared: Sizes, shape: Shape, axis: int) -> list[Form]:
    """Samples along the batch axis, along another of its fixed size, or along the first one in its place.

    Where the batch axis is 1, it may be one value for all samples.
    """
    if len(shape) != len(declared):
        return []
    size = declared[axis]
    alike = [place for place, other in enumerate(declared) if other == size and size is not None and place != axis]
    places = [(axis, axis), *((place, place) for place in alike), *([] if axis == 0 else [(axis, 0)])]
    found = [
        Form(count=shape[source], source=source, axis=place, size=size)
        for place, source in places
        if _fits(_without(declared, place), _without(shape, source))
    ]
    return [*found, Form()] if size == 1 and _fits(declared, shape) else found


def _without_axis(declared: Sizes, shape: Shape) -> list[Form]:
    """One value for all samples. Where the first axis has a fixed size, an array of more holds several of it."""
    if _fits(declared, shape):
        return [Form()]
    if len(shape) == len(declared) and declared[0] is not None and _fits(declared[1:], shape[1:]):
        return [Form(count=shape[0], axis=0, size=declared[0])]
    return []


def _fits(declared: Sizes, shape: Sizes) -> bool:
    return len(declared) == len(shape) and all(
        want is None or want == have for want, have in zip(declared, shape, strict=True)
    )


def _without(sizes: Sizes, axis: int) -> Sizes:
    return [*sizes[:axis], *sizes[axis + 1 :]]


def _uneven(
    path: Path,
    spec: InputSpec,
    shapes: Mapping[str, Shape],
    forms: Mapping[str, Sequence[Form]],
    batching: Batching,
    count: int,
) -> str:
    like = next(name for name, each in forms.items() if each[0].count == count)
    form = forms[spec.name][0]
    axis = batching.axis(spec.name)
    named = batching.certain and axis is not None and isinstance((spec.axes or (None,))[axis], str)
    shared = "" if named else f"; if all samples share it, say --batch-axis {spec.name}=none"
    return (
        f"{path}: the inputs have different numbers of samples: array {spec.name!r} of shape {shapes[spec.name]} holds "
        f"{form.count} along axis {form.source}, but {like!r} of shape {shapes[like]} holds {count}; give "
        f"{_fitting(spec, axis, count)}{shared}"
    )


def _told(spec: InputSpec, axis: int | None, count: int | None) -> str:
    return f"{spec.name!r} as {_fitting(spec, axis, count)}"


def _fitting(spec: InputSpec, axis: int | None, count: int | None) -> str:
    """The shapes that an input's array may have, for this many samples."""
    return _shapes(spec, axis, "N") + " for N samples" if count is None else _shapes(spec, axis, str(count))


def _transposed(spec: InputSpec, shape: Shape, axis: int | None) -> str:
    """What to do where an array has its channels last and the input has them second, or the other way round."""
    if len(shape) != len(_CHANNELS_LAST):
        return ""
    orders = (order for order in (_CHANNELS_SECOND, _CHANNELS_LAST) if _forms(spec, _ordered(shape, order), axis))
    return next((f"; array.transpose{order} fits" for order in orders), "")


def _ordered(shape: Shape, order: Sequence[int]) -> Shape:
    return tuple(shape[place] for place in order)


def _shapes(spec: InputSpec, axis: int | None, samples: str) -> str:
    if is_one_number(spec, axis):
        return f"one number for all samples, or one for each: shape ({samples},)"
    if spec.shape is None:
        return f"an array with {samples} samples along axis {axis}"
    sizes = ["?" if size is None else str(size) for size in spec.shape]
    if axis is None:
        return f"{_written(sizes)} for all samples, or {_written([samples, *sizes])}"
    return _written([*sizes[:axis], samples, *sizes[axis + 1 :]])


def _written(sizes: Sequence[str]) -> str:
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"
