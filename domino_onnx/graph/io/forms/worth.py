"""Which weights are packed? Those that make the file smallest, with the constants that they share paid for once."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Mapping, Sequence

__all__ = ["Gain", "worth_packing"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """What packing one weight would bring.

    Attributes
    ----------
    saved
        Bytes, without what it shares with others; negative where it would take more.
    shares
        Bytes of each constant that it needs, by name. Weights that need the same one pay for it once.
    """

    saved: int
    shares: Mapping[str, int]


def worth_packing(gains: Sequence[Gain]) -> set[int]:
    """Places of the weights that save most together, less the constants that they need; the fewest that do.

    Weights pay for constants with what they save, and take payments over from each other. Those that have something
    left in the end, and all that they could take over from, are worth it. (They are a smallest cut of a flow.)
    """
    payments = _Payments(gains)
    while (name := payments.look()) is not None:
        payments.pay(name)
    return set(payments.reached)


class _Payments:
    """Who pays how much for which constant.

    Attributes
    ----------
    reached
        Weights that have something left, or could have by the last look; each with the constant that another would
        take over from it, None where it needs no other.
    """

    def __init__(self, gains: Sequence[Gain]) -> None:
        self._gains = gains
        self._left = {place: gain.saved for place, gain in enumerate(gains) if gain.saved > 0}
        self._due = {name: size for place in self._left for name, size in gains[place].shares.items()}
        self._paid: dict[str, dict[int, int]] = {name: {} for name in self._due}
        self._payers: dict[str, int] = {}
        self.reached: dict[int, str | None] = {}

    def look(self) -> str | None:
        """A constant that isn't paid for, and could be; None if there is none."""
        self.reached = {place: None for place, left in self._left.items() if left}
        self._payers = {}
        waiting = deque(self.reached)
        while waiting:
            place = waiting.popleft()
            for name in self._gains[place].shares.keys() - self._payers.keys():
                self._payers[name] = place
                if self._due[name]:
                    return name
                freed = [other for other, paid in self._paid[name].items() if paid and other not in self.reached]
                self.reached.update(dict.fromkeys(freed, name))
                waiting += freed
        return None

    def pay(self, name: str) -> None:
        """Pay for the constant that `look` gave, as much as all who take over from each other can."""
        chain: list[tuple[str, int, str | None]] = []
        step: str | None = name
        amount = self._due[name]
        while step is not None:
            payer = self._payers[step]
            freed_of = self.reached[payer]
            amount = min(amount, self._left[payer] if freed_of is None else self._paid[freed_of][payer])
            chain.append((step, payer, freed_of))
            step = freed_of
        self._due[name] -= amount
        for step, payer, freed_of in chain:
            self._paid[step][payer] = self._paid[step].get(payer, 0) + amount
            if freed_of is None:
                self._left[payer] -= amount
            else:
                self._paid[freed_of][payer] -= amount
