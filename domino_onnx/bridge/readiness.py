"""Can a model be finetuned? Asked of its operators, of ONNX Runtime and of its gradients, before any long work."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch

from domino_onnx.bridge.module import GraphModule, build
from domino_onnx.bridge.parity import first_difference, mismatch, prove_parity
from domino_onnx.bridge.values import to_tensor
from domino_onnx.data import Dataset, input_specs, with_shapes
from domino_onnx.errors import DataError, DependencyError, ModelError, UnsupportedOperatorError
from domino_onnx.evaluate import random_inputs
from domino_onnx.graph import OnnxFile
from domino_onnx.plurals import quantity
from domino_onnx.runtime import ChildSession
from domino_onnx.scheme import WeightKey

__all__ = ["Readiness", "check_readiness"]

Array = np.ndarray[Any, np.dtype[Any]]
Inputs = Mapping[str, Array]

_SECONDS = 20.0
_FEW = 4
_MADE_UP = "; sizes of 1 were made up for open axes: give --data or --input-shape"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """Whether a model can be finetuned, and what is in the way.

    Attributes
    ----------
    supported
        Whether it can be built in torch.
    missing
        Operators without a torch counterpart.
    inputs
        What parity and gradients were tried on: the user's data, or random values.
    parity_ok
        Whether the torch module reproduces ONNX Runtime; None if that couldn't be tried.
    max_abs, max_rel
        As in :class:`BridgeParity`; None if parity couldn't be tried.
    worst
        Where parity fails, the first tensor in graph order that differs (an output, if that can't be told).
    trainable
        Sites whose weight was seen to get a gradient that is finite and not zero.
    sites
        How many sites there are.
    reason
        What is in the way, or couldn't be tried, in words; None if nothing.
    """

    supported: bool
    missing: tuple[str, ...] = ()
    inputs: Literal["data", "random"]
    parity_ok: bool | None = None
    max_abs: float | None = None
    max_rel: float | None = None
    worst: str | None = None
    trainable: frozenset[WeightKey] = frozenset()
    sites: int
    reason: str | None = None


def check_readiness(
    file: OnnxFile,
    keys: Collection[WeightKey],
    data: Dataset | None = None,
    *,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    seed: int = 0,
    threads: int = 0,
) -> Readiness:
    """Build the model in torch, compare it with ONNX Runtime, and see which weights get a gradient.

    Parameters
    ----------
    keys
        The weights of the sites.
    data
        Without, random inputs of the declared shapes are made up; open axes are 1 or as `shapes` say.
    """
    if threads:
        torch.set_num_threads(threads)
    so_far = Readiness(supported=False, inputs="random" if data is None else "data", sites=len(keys))
    try:
        module = build(file.proto, load=file.array)
    except ModelError as error:
        missing = error.operators if isinstance(error, UnsupportedOperatorError) else ()
        return dataclasses.replace(so_far, missing=missing, reason=str(error))
    so_far = dataclasses.replace(so_far, supported=True)
    hint = ""
    try:
        hint = "" if data is not None else _hint(file, shapes or {})
        trials = _few_of(data) if data is not None else _made_up(file, shapes or {}, seed)
        with ChildSession(file.path, threads=threads) as session:
            inputs, expected = _answered(session, trials[:2])
            so_far = _with_parity(so_far, file, module, inputs, expected, threads)
            if data is not None and so_far.parity_ok:
                so_far = _of_other_shapes(so_far, file, module, session, trials[1:], threads)
            if so_far.max_abs is None and hint:
                so_far = dataclasses.replace(so_far, parity_ok=None, reason=f"{so_far.reason}{hint}")
            further = (more for more in trials[2:] if not isinstance(_answer(session, more), ModelError))
            return _with_gradients(so_far, module, keys, itertools.chain([inputs], further), seed)
    except (DataError, DependencyError) as error:
        return dataclasses.replace(so_far, reason=str(error))
    except ModelError as error:
        return dataclasses.replace(so_far, reason=f"{error}{hint}")


def _hint(file: OnnxFile, shapes: Mapping[str, tuple[int, ...]]) -> str:
    """What to add to an error if the shapes of the inputs had to be guessed."""
    guessed = any(None in (spec.shape or ()) for spec in with_shapes(input_specs(file.proto), shapes))
    return _MADE_UP if guessed else ""


def _few_of(data: Dataset) -> list[Inputs]:
    return [data.take(samples) for samples in data.extremes(_FEW)]


def _made_up(file: OnnxFile, shapes: Mapping[str, tuple[int, ...]], seed: int) -> list[Inputs]:
    """Integers of 0, which is always an index; of 0 and 1, for models that refuse it as a length; then more of all.

    The last has open axes of a few: attention over one position gives its queries and keys a gradient of zero.
    """
    specs = input_specs(file.proto)
    return [
        random_inputs(specs, dict(shapes), seed),
        random_inputs(specs, dict(shapes), seed, integers=2),
        random_inputs(specs, dict(shapes), seed, integers=2, free=_FEW),
    ]


def _with_parity(
    so_far: Readiness, file: OnnxFile, module: GraphModule, inputs: Inputs, expected: Inputs, threads: int
) -> Readiness:
    try:
        parity = prove_parity(file, module, inputs, expected, threads=threads)
    except ModelError as error:
        return dataclasses.replace(so_far, parity_ok=False, reason=str(error))
    so_far = dataclasses.replace(so_far, parity_ok=parity.ok, max_abs=parity.max_abs, max_rel=parity.max_rel)
    if parity.ok:
        return so_far
    first = first_difference(file, module, inputs, threads=threads)
    worst = parity.worst_output if first is None else first.tensor
    return dataclasses.replace(so_far, worst=worst, reason=mismatch(parity, first))


def _of_other_shapes(
    so_far: Readiness,
    file: OnnxFile,
    module: GraphModule,
    session: ChildSession,
    trials: Sequence[Inputs],
    threads: int,
) -> Readiness:
    """With the parity of the worst of these inputs, too."""
    for inputs in trials:
        answer = _answer(session, inputs)
        if isinstance(answer, ModelError):
            return dataclasses.replace(so_far, reason=str(answer))
        found = _with_parity(so_far, file, module, inputs, answer, threads)
        if not found.parity_ok or (found.max_abs or 0.0) > (so_far.max_abs or 0.0):
            so_far = found
    return so_far


def _answered(session: ChildSession, trials: Iterable[Inputs]) -> tuple[Inputs, Inputs]:
    """The first inputs that ONNX Runtime accepts, with its outputs; its first objection if it accepts none."""
    objection: ModelError | None = None
    for inputs in trials:
        answer = _answer(session, inputs)
        if not isinstance(answer, ModelError):
            return inputs, answer
        objection = objection or answer
    raise objection or ModelError("there is nothing to run the model on")


def _answer(session: ChildSession, inputs: Inputs) -> Inputs | ModelError:
    """Its outputs in good time: torch has no way out of a loop that never ends, so it is let at nothing else."""
    try:
        outputs = session.run(inputs, seconds=_SECONDS)
    except ModelError as error:
        return error
    if any(_tells(output) for output in outputs.values()):
        return outputs
    return ModelError("all outputs of ONNX Runtime are empty or NaN")


def _tells(output: Array) -> bool:
    """Whether there is anything to compare: an image that is pooled away leaves nothing, or NaN."""
    output = np.asarray(output)
    return output.size > 0 and not (output.dtype.kind == "f" and bool(np.isnan(output).all()))


def _with_gradients(
    so_far: Readiness, module: GraphModule, keys: Collection[WeightKey], trials: Iterable[Inputs], seed: int
) -> Readiness:
    trainable: set[WeightKey] = set()
    endless: set[WeightKey] = set()
    for found in _gradients(module, keys, trials, seed):
        trainable |= {key for key, is_finite in found.items() if is_finite}
        endless |= {key for key, is_finite in found.items() if not is_finite}
        if trainable.issuperset(keys):
            break
    endless -= trainable
    so_far = dataclasses.replace(so_far, trainable=frozenset(trainable))
    if so_far.reason is not None:
        return so_far
    unreached = [key for key in keys if key not in trainable and key not in endless]
    told = (
        [_told("the gradient isn't finite in", [key for key in keys if key in endless], len(keys))] if endless else []
    )
    told += [_told("no gradient reaches", unreached, len(keys))] if unreached else []
    return dataclasses.replace(so_far, reason="; ".join(told) or None)


def _told(what: str, these: Sequence[WeightKey], of: int) -> str:
    names = ", ".join(repr(str(key)) for key in these[:3]) + (", ..." if len(these) > 3 else "")
    return f"{what} {len(these)} of {quantity(of, 'site')}: {names}"


def _gradients(
    module: GraphModule, keys: Collection[WeightKey], trials: Iterable[Inputs], seed: int
) -> Iterator[dict[WeightKey, bool]]:
    """The weights that get a gradient on each of the inputs, and whether it is finite."""
    for inputs in trials:
        try:
            yield _reached(module, keys, inputs, seed)
        except (ModelError, RuntimeError):  # these inputs don't fit, or torch has no derivative
            continue


def _reached(module: GraphModule, keys: Collection[WeightKey], inputs: Inputs, seed: int) -> dict[WeightKey, bool]:
    """The weights with a gradient of a random projection of the float outputs, not zero; whether it is finite."""
    weights = module.learn(key for key in keys if key in module.weights)
    try:
        outputs = module({name: to_tensor(array) for name, array in inputs.items()})
        generator = torch.Generator().manual_seed(seed)
        losses = [
            (output * torch.randn(output.shape, generator=generator).to(output.dtype)).sum()
            for output in outputs.values()
            if output.requires_grad
        ]
        if losses:
            torch.autograd.backward(losses)
        gradients = {key: weight.grad for key, weight in weights.items() if weight.grad is not None}
        return {key: bool(grad.isfinite().all()) for key, grad in gradients.items() if bool(grad.any())}
    finally:
        module.requires_grad_(False)
        module.zero_grad(set_to_none=True)
