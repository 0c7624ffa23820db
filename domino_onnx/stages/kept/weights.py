"""Solved weights in a checkpoint, and whether they can be those of a plan."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.codec import convert, plain
from domino_onnx.errors import CheckpointError
from domino_onnx.scheme import NamedArrays, NMScheme, Plan, WeightArrays, WeightKey
from domino_onnx.solve import obeys
from domino_onnx.stages.laboratory import Laboratory
from domino_onnx.stages.solving import Solved, Solver, solve

__all__ = ["SolvedDocument", "pack_solved", "restore_solved", "solve_once"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SolvedDocument:
    """A `Solved` without its arrays."""

    weights: tuple[WeightKey, ...]
    biases: tuple[WeightKey, ...]
    solver: Solver
    errors: tuple[tuple[WeightKey, float], ...]
    divergence: float | None

    @property
    def names(self) -> dict[str, WeightKey]:
        """The key of each array, by the array's name."""
        weights = {f"weight.{place}": key for place, key in enumerate(self.weights)}
        return weights | {f"bias.{place}": key for place, key in enumerate(self.biases)}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """The document where weights alone are kept, with the text of their plan."""

    plan: str
    solved: SolvedDocument


def solve_once(lab: Laboratory, plan: Plan) -> Solved:
    """As `solve`; what it gives is kept.

    Raises
    ------
    CheckpointError
        If what was kept can't be gone on from.
    """
    text = plan.to_json()

    def pack(solved: Solved) -> tuple[dict[str, Any], NamedArrays]:
        document, arrays = pack_solved(solved)
        return plain(_Kept(plan=text, solved=document)), arrays

    def restore(document: Mapping[str, Any], arrays: NamedArrays) -> Solved:
        kept = convert(document, _Kept, what="its document", error=CheckpointError)
        if kept.plan != text:
            raise CheckpointError("it is of another plan")
        return restore_solved(lab, plan, kept.solved, arrays)

    name = f"solved-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    return lab.checkpoint.once(name, functools.partial(solve, lab, plan), pack, restore)


def pack_solved(solved: Solved) -> tuple[SolvedDocument, NamedArrays]:
    """A document and arrays that `restore_solved` makes the same of. No array is asked for yet."""
    document = SolvedDocument(
        weights=tuple(solved.weights),
        biases=tuple(solved.biases),
        solver=solved.solver,
        errors=tuple(solved.errors.items()),
        divergence=solved.divergence,
    )
    return document, _Named(document.names, solved)


def restore_solved(lab: Laboratory, plan: Plan, kept: SolvedDocument, arrays: NamedArrays) -> Solved:
    """What `pack_solved` packed.

    Raises
    ------
    CheckpointError, ModelError
        If these can't be the weights of the plan: arrays of other weights, shapes or dtypes, values that aren't finite,
        a mask that breaks its scheme.
    """
    _check_arrays(lab, plan, kept, arrays)
    return Solved(
        weights={key: arrays[f"weight.{place}"] for place, key in enumerate(kept.weights)},
        biases={key: arrays[f"bias.{place}"] for place, key in enumerate(kept.biases)},
        solver=kept.solver,
        errors=dict(kept.errors),
        divergence=kept.divergence,
    )


class _Named(Mapping[str, NDArray[Any]]):
    """Weights and biases under the names of a document's arrays; none is asked for before it is needed."""

    def __init__(self, names: Mapping[str, WeightKey], solved: Solved) -> None:
        self._names = names
        self._weights: WeightArrays = solved.weights
        self._biases: WeightArrays = solved.biases

    def __getitem__(self, name: str) -> NDArray[Any]:
        arrays = self._weights if name.startswith("weight.") else self._biases
        return np.asarray(arrays[self._names[name]])

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _check_arrays(lab: Laboratory, plan: Plan, kept: SolvedDocument, arrays: NamedArrays) -> None:
    """Raise CheckpointError for arrays that can't be pruned weights of this plan, with their biases."""
    names = kept.names
    _require_same("the arrays", names, arrays)
    pruned = [key for key, scheme in plan.schemes.items() if not scheme.is_dense]
    _require_same("the weights that its plan prunes", map(str, pruned), map(str, kept.weights))
    if len(set(names.values())) < len(names):
        raise CheckpointError("it names a weight twice")
    for name, key in names.items():
        _require_like(str(key), arrays[name], lab.source.load(key))
        if name.startswith("weight."):
            _require_scheme(lab, key, plan.schemes[key], arrays[name])
        elif lab.aim.inventory.site(key) is not None:
            raise CheckpointError(f"it changes {str(key)!r}, which is no bias")


def _require_same(what: str, wanted: Iterable[str], found: Iterable[str]) -> None:
    others = sorted({*wanted} ^ {*found})
    if others:
        raise CheckpointError(f"it doesn't hold {what} and no others: look at {', '.join(map(repr, others[:3]))}")


def _require_like(name: str, array: NDArray[Any], stored: NDArray[np.generic]) -> None:
    if (array.dtype, array.shape) != (stored.dtype, stored.shape):
        raise CheckpointError(
            f"its {name!r} is {array.dtype} {array.shape}, the model's is {stored.dtype} {stored.shape}"
        )
    if not np.isfinite(array).all():
        raise CheckpointError(f"its {name!r} holds values that aren't finite")


def _require_scheme(lab: Laboratory, key: WeightKey, scheme: NMScheme, array: NDArray[Any]) -> None:
    site = lab.aim.inventory.site(key)
    if site is None or not obeys(array, site.layout, scheme):
        raise CheckpointError(f"its {str(key)!r} doesn't keep at most {scheme.n} of every {scheme.m} weights")
