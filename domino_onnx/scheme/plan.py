"""The scheme of every site, as a value and as JSON that a user may edit."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import msgspec

from domino_onnx import codec
from domino_onnx.errors import PlanError
from domino_onnx.files import check_name
from domino_onnx.scheme.budget import Budget, require_distinct
from domino_onnx.scheme.frozen import FrozenMapping
from domino_onnx.scheme.key import WeightKey
from domino_onnx.scheme.nm import NMScheme
from domino_onnx.scheme.site import Inventory, Site

__all__ = ["Plan"]

VERSION = 1
_VERSION_KEY = "domino_onnx_plan"


class _Site(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One line of a plan's text."""

    weight: str
    scope: tuple[str, ...] = ()
    scheme: NMScheme

    @property
    def key(self) -> WeightKey:
        """The weight's."""
        return WeightKey(self.weight, self.scope)


class _Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A plan's text."""

    domino_onnx_plan: int
    source_sha256: str
    strategy: str
    budgets: tuple[Budget, ...] = ()
    target: str = "generic"
    seed: int = 0
    sites: tuple[_Site, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One scheme a site, and where it comes from.

    Attributes
    ----------
    source_sha256
        Hash of the model that the plan was made for, with its external data; empty in a plan that is meant for any
        model it fits.
    strategy
        Name of the strategy that chose; ``"manual"`` for a plan written by hand.
    schemes
        Scheme of each weight; sites that are not named stay dense.
    budgets
        What the schemes were chosen to meet, at most one a measure; empty where they were given.
    target
        The runtime that the schemes were chosen for, ``"generic"`` for none in particular (`domino_onnx.targets`).
    """

    source_sha256: str
    strategy: str
    schemes: FrozenMapping[WeightKey, NMScheme]
    budgets: tuple[Budget, ...] = ()
    target: str = "generic"
    seed: int = 0

    def to_json(self) -> str:
        """The plan as a document of one line a site, stable in order."""
        head = {
            _VERSION_KEY: VERSION,
            "source_sha256": self.source_sha256,
            "strategy": self.strategy,
            "budgets": [budget.to_document() for budget in self.budgets],
            **({} if self.target == "generic" else {"target": self.target}),
            "seed": self.seed,
        }
        fields = "".join(f" {codec.encode(key)}: {codec.encode(value, spaced=True)},\n" for key, value in head.items())
        sites = ",\n".join(f"  {codec.encode(_site(key, scheme), spaced=True)}" for key, scheme in self.schemes.items())
        return f'{{\n{fields} "sites": [\n{sites}\n ]\n}}\n'

    @classmethod
    def from_json(cls, text: str, what: str = "the plan") -> Plan:
        """Read what `to_json` wrote, perhaps edited; `what` is what messages call it.

        Raises
        ------
        PlanError
            Naming the unknown key, the wrong value, or the impossible scheme, and its place.
        """
        plain = codec.parse(text, what=what, error=PlanError)
        codec.require_version(plain, _VERSION_KEY, VERSION, what=what, error=PlanError)
        document = codec.convert(plain, _Document, what=what, error=PlanError)
        require_distinct(document.budgets, PlanError)
        return cls(
            source_sha256=document.source_sha256,
            strategy=document.strategy,
            schemes=_schemes(document.sites, what),
            budgets=document.budgets,
            target=document.target,
            seed=document.seed,
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Plan:
        """Read a plan file; PlanError if it can't be read, or its name isn't UTF-8."""
        check_name(Path(path), "the plan", PlanError)
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise PlanError(f"can't read the plan {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise PlanError(f"{path} is no plan, which `domino-onnx search` writes, but something binary") from None
        return cls.from_json(text, f"the plan {path}")

    def check_fits(self, inventory: Inventory, source_sha256: str) -> None:
        """Raise PlanError if the plan was made for another file, or names a weight or scheme that doesn't fit."""
        if self.source_sha256 not in ("", source_sha256):
            raise PlanError(
                f"the plan was made for a model with SHA-256 {self.source_sha256[:12]}..., this one has "
                f'{source_sha256[:12]}...; set "source_sha256" to "" in the plan to use it on any model that it fits'
            )
        problems = [
            problem for key, scheme in self.schemes.items() if (problem := _misfit(inventory, key, scheme)) is not None
        ]
        if problems:
            raise PlanError("the plan doesn't fit this model: " + "; ".join(problems))


def _misfit(inventory: Inventory, key: WeightKey, scheme: NMScheme) -> str | None:
    site: Site | None = inventory.site(key)
    if site is None:
        reason = next((skip.reason for skip in inventory.skips if skip.key == key), "the model doesn't have it")
        return None if scheme.is_dense else f"{str(key)!r} is not a site ({reason})"
    if site.layout.reduction % scheme.m:
        return f"{scheme} doesn't fit {str(key)!r}: its reduction axis of {site.layout.reduction} isn't divisible"
    return None


def _site(key: WeightKey, scheme: NMScheme) -> _Site:
    return _Site(weight=key.name, scope=key.scope, scheme=scheme)


def _schemes(sites: tuple[_Site, ...], what: str) -> FrozenMapping[WeightKey, NMScheme]:
    schemes = {site.key: site.scheme for site in sites}
    if len(schemes) < len(sites):
        keys = [site.key for site in sites]
        place = next(place for place, key in enumerate(keys) if key in keys[:place])
        raise PlanError(f"{what}: 'sites[{place}]': the weight {str(keys[place])!r} is named twice")
    return FrozenMapping(schemes)
