"""What a graph becomes before it runs: steps over numbered slots, and the loop that runs them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch

from domino_onnx.bridge.gpu import is_out_of_memory
from domino_onnx.bridge.registry import Operator
from domino_onnx.errors import ModelError
from domino_onnx.scheme.key import WeightKey

__all__ = ["ABSENT", "Block", "Program", "Step", "Turn", "Values", "run", "schedule"]

#: The slot of an optional input or output that a node doesn't name.
ABSENT = 0

Values = dict[int, torch.Tensor]

# What torch and the operators' own code raise for tensors and attributes that don't fit.
_MISFITS = (RuntimeError, ValueError, LookupError, TypeError, ArithmeticError, AttributeError)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One node: an operator, the slots that it reads and writes, its attributes and its subgraphs."""

    label: str
    operator: Operator
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    attributes: Mapping[str, object]
    blocks: Mapping[str, Block]

    @property
    def reads(self) -> set[int]:
        """Slots that must be filled before the step runs, those that its subgraphs capture included."""
        return set(self.inputs).union(*(block.captured for block in self.blocks.values())) - {ABSENT}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A step in a schedule, and the slots whose last reader it is."""

    step: Step
    spent: tuple[int, ...]

    def __deepcopy__(self, memo: object) -> Turn:
        return self  # nothing in it changes, so copies of a module share it


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A subgraph: it shares the slots of the graph around it; a loop's body also has `inputs`."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    turns: tuple[Turn, ...]
    captured: frozenset[int]
    own: frozenset[int]

    def bind(self, values: Values) -> Callable[..., tuple[torch.Tensor, ...]]:
        """Return the subgraph as a function of its inputs that reads captured tensors from `values`."""

        def evaluate(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
            values.update(zip(self.inputs, inputs, strict=True))
            run(self.turns, values)
            results = tuple(values[slot] for slot in self.outputs)
            for slot in self.own:
                values.pop(slot, None)
            return results

        return evaluate


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A model ready to run. `weights` and `constants` give the slots that are filled from the start."""

    steps: tuple[Step, ...]
    names: Mapping[str, int]
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    weights: Mapping[WeightKey, int]
    constants: frozenset[int]

    def __deepcopy__(self, memo: object) -> Program:
        return self  # nothing in it changes, so copies of a module share it


def schedule(steps: Sequence[Step], targets: Iterable[int], own: Iterable[int] = ()) -> tuple[Turn, ...]:
    """Choose the steps that `targets` depend on, in order, each with the slots that are free after it.

    `steps` are sorted. Freed is only what the steps write and what `own` adds (a loop body's inputs).
    """
    kept = set(targets)
    needed = set(kept)
    freeable = set(own).union(*(step.outputs for step in steps)) - kept - {ABSENT}
    turns: list[Turn] = []
    for step in reversed(steps):
        if needed.isdisjoint(step.outputs):
            continue
        last_use = sorted(freeable & step.reads.union(step.outputs))
        freeable.difference_update(last_use)
        needed |= step.reads
        turns.append(Turn(step=step, spent=tuple(last_use)))
    return tuple(reversed(turns))


def run(turns: Iterable[Turn], values: Values) -> None:
    """Evaluate a schedule in place: `values` holds its sources before and its targets afterwards."""
    for turn in turns:
        step = turn.step
        results = _evaluate(step, values)
        values.update((slot, result) for slot, result in zip(step.outputs, results, strict=False) if slot)
        for slot in turn.spent:
            values.pop(slot, None)


def _evaluate(step: Step, values: Values) -> tuple[torch.Tensor, ...]:
    operands = [values[slot] if slot else None for slot in step.inputs]
    bound = {name: block.bind(values) for name, block in step.blocks.items()}
    operands = _placed(operands, step.operator.host)
    try:
        result = step.operator.function(*operands, **step.attributes, **bound)
    except _MISFITS as error:
        if is_out_of_memory(error):
            raise
        shapes = ", ".join("absent" if o is None else f"{o.dtype}{list(o.shape)}" for o in operands)
        raise ModelError(f"{step.label} can't be evaluated on ({shapes}): {error}") from error
    return result if isinstance(result, tuple) else (result,)


def _placed(operands: list[torch.Tensor | None], host: frozenset[int]) -> list[torch.Tensor | None]:
    """Bring operands onto one device: host inputs to the CPU, small CPU constants to where the data is."""
    if all(operand is None or operand.device.type == "cpu" for operand in operands):
        return operands
    devices = [o.device for i, o in enumerate(operands) if o is not None and i not in host]
    device = next((d for d in devices if d.type != "cpu"), torch.device("cpu"))
    return [
        operand if operand is None else operand.to("cpu" if position in host else device)
        for position, operand in enumerate(operands)
    ]
