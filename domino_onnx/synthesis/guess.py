"""How does a network want its inputs prepared?

In the way that gives its first layer what it had in training, where the file tells; else in the way under which the
network tells most samples apart.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domino_onnx.outputs import OutputKind, OutputMeaning, Outputs, Survey, class_output
from domino_onnx.synthesis.first_layer import FirstLayer
from domino_onnx.synthesis.preparation import Preparation

__all__ = ["Guess", "guess_preparation", "information", "nearest_preparation", "spread", "variety"]

Planes = NDArray[np.float32]

_TINY = 1e-12
_NEARLY = 0.05
"""By which share of the best criterion others may lie below and still be as good."""
_AS_STRONG = 1.25
"""By which factor strengths may differ and still be alike."""
_MANY = 10
"""Columns from which on values that nothing else is known of may be classes."""
_MOST_ROWS = 1 << 14
_WIDEST = 1 << 15
"""Columns of a row, at most."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """The preparation that was chosen.

    Attributes
    ----------
    criteria
        Of each preparation by its words, the chosen one first, then the best. They are nats for ``answers``, a number
        of samples for ``variety``, and nats below 0 for ``normalisation``.
    measure
        ``answers``: information and spread of class scores. ``variety``: of outputs that are no scores.
        ``normalisation``: how near the first layer's results are to those of training.
    """

    chosen: Preparation
    runner_up: Preparation | None
    criteria: Mapping[str, float]
    measure: str

    @property
    def words(self) -> str:
        """One line for a report."""
        second = "" if self.runner_up is None else f" (2nd: {self.runner_up.words})"
        return f"inputs look like {self.chosen.words}{second}"


def nearest_preparation(layer: FirstLayer, planes: Planes, candidates: Sequence[Preparation]) -> Guess:
    """The candidate that gives a first layer the results that it had in training; of equal ones the first.

    Parameters
    ----------
    planes
        (images, channels, height, width) pixels of 0 to 255.
    """
    criteria = {candidate: -layer.misfit(candidate(planes)) for candidate in candidates}
    chosen = max(candidates, key=criteria.__getitem__)
    return _guess(chosen, criteria, "normalisation")


def guess_preparation(
    run: Callable[[Preparation], Outputs],
    candidates: Sequence[Preparation],
    strength: Callable[[Preparation], float] | None = None,
) -> Guess:
    """The candidate whose outputs differ most from sample to sample; of nearly equal ones the first.

    A network that is given what it was trained on is sure of its answers, and gives different ones. Too small inputs
    look alike to it, and too large ones saturate it. Outputs that aren't scores of many classes show that less clearly.
    There only candidates count whose strength is nearest to 1.

    Parameters
    ----------
    run
        The network's outputs on the same samples, 32 or more, prepared in this way.
    candidates
        The most usual first.
    strength
        As `FirstLayer.strength` has it.
    """
    outputs = {candidate: run(candidate) for candidate in candidates}
    name = _answers([_narrow(each) for each in outputs.values()])
    measure: Callable[[Outputs], float] = variety if name is None else functools.partial(_told_apart, name)
    criteria = {candidate: measure(each) for candidate, each in outputs.items()}
    clear = name is not None and next(iter(outputs.values()))[name].shape[-1] >= _MANY
    likely = candidates if clear or strength is None else _likely(strength, candidates)
    best = max(criteria[each] for each in likely)
    chosen = next(each for each in likely if criteria[each] >= best * (1 - _NEARLY))
    return _guess(chosen, criteria, "variety" if name is None else "answers")


def _likely(strength: Callable[[Preparation], float], candidates: Sequence[Preparation]) -> list[Preparation]:
    """Those whose strength is nearest to 1, and those that are as near."""
    distances = {candidate: abs(math.log(strength(candidate))) for candidate in candidates}
    limit = min(distances.values()) + math.log(_AS_STRONG)
    return [candidate for candidate in candidates if distances[candidate] <= limit]


def _guess(chosen: Preparation, criteria: Mapping[Preparation, float], measure: str) -> Guess:
    others = sorted((each for each in criteria if each is not chosen), key=lambda each: -criteria[each])
    return Guess(
        chosen=chosen,
        runner_up=others[0] if others else None,
        criteria={each.words: criteria[each] for each in (chosen, *others)},
        measure=measure,
    )


def information(scores: NDArray[Any], kind: OutputKind) -> float:
    """Mutual information of sample and answer in nats: the mean answer's entropy, less the answers' mean entropy.

    Parameters
    ----------
    scores
        (samples, ..., classes) logits, or probabilities if `kind` says so.
    """
    rows = _probabilities(scores, kind)
    return float(_entropy(rows.mean(axis=0)) - _entropy(rows).mean())


def spread(scores: NDArray[Any], kind: OutputKind) -> float:
    """The mean answer's entropy in nats: how evenly the answers spread over the classes."""
    return float(_entropy(_probabilities(scores, kind).mean(axis=0)))


def variety(outputs: Outputs) -> float:
    """How many different samples the outputs show: the Vendi score (Friedman and Dieng 2023) of their cosines.

    1 where all samples give outputs of one direction, and the number of samples where no two have anything in common.
    An output that isn't finite counts as 1. Several outputs count with their mean.
    """
    scores = [_vendi(output) for output in outputs.values() if _has_samples(output)]
    return float(np.mean(scores)) if scores else 1.0


def _vendi(output: NDArray[Any]) -> float:
    rows = output.reshape(len(output), -1).astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not np.isfinite(lengths).all():
        return 1.0
    rows = rows / np.maximum(lengths, _TINY)
    shares = np.clip(np.linalg.eigvalsh(rows @ rows.T / len(rows)), 0, None)
    return float(np.exp(_entropy(shares / (shares.sum() + _TINY))))


def _has_samples(output: Any) -> bool:
    return isinstance(output, np.ndarray) and output.dtype.kind == "f" and output.ndim >= 1 and output.size > 0


def _narrow(outputs: Outputs) -> Outputs:
    """Without outputs whose rows are too wide for classes: comparing those with chance would take gigabytes."""
    return {name: value for name, value in outputs.items() if value.ndim and value.shape[-1] <= _WIDEST}


def _answers(outputs: Sequence[Outputs]) -> str | None:
    """The output that holds classes.

    Drawn samples show it less clearly than real ones. So a row of many values a sample counts as classes as well, if it
    is no embedding.
    """
    if not outputs[0]:
        return None
    meanings = [_meanings(each) for each in outputs]
    found = [_classes_last(each, meaning) for each, meaning in zip(outputs, meanings, strict=True)]
    sure = [name for name in found if name is not None]
    if sure:
        return sure[0]
    wide = (name for name, value in outputs[0].items() if value.ndim == 2 and value.shape[1] >= _MANY)
    return next((name for name in wide if all(each[name].kind == "values" for each in meanings)), None)


def _meanings(outputs: Outputs) -> dict[str, OutputMeaning]:
    survey = Survey(1)
    survey.add(outputs, max((len(each) for each in outputs.values() if np.ndim(each)), default=1))
    return survey.meanings()


def _classes_last(outputs: Outputs, meanings: Mapping[str, OutputMeaning]) -> str | None:
    """The output that tells classes apart, if they lie along its last axis."""
    name = class_output(meanings)
    return name if name is not None and meanings[name].axis == outputs[name].ndim - 1 else None


def _told_apart(name: str, outputs: Outputs) -> float:
    """Information and spread together: inputs that are too large are answered surely, but with few classes."""
    scores, kind = outputs[name], _meanings({name: outputs[name]})[name].kind
    return information(scores, kind) + spread(scores, kind) if np.isfinite(scores).all() else 0.0


def _probabilities(scores: NDArray[Any], kind: OutputKind) -> NDArray[np.float64]:
    """(rows, classes) of the scores, at most 16,384 rows."""
    rows = scores.reshape(-1, scores.shape[-1])[:_MOST_ROWS].astype(np.float64)
    if kind != "probabilities":
        rows = np.exp(rows - rows.max(axis=-1, keepdims=True))
    shares: NDArray[np.float64] = np.maximum(rows, 0) / (np.maximum(rows, 0).sum(axis=-1, keepdims=True) + _TINY)
    return shares


def _entropy(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    entropy: NDArray[np.float64] = -np.sum(shares * np.log(shares + _TINY), axis=-1)
    return entropy
