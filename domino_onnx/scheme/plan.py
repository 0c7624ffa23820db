"""The scheme of every site, as a value and as JSON that a user may edit."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from domino_onnx.errors import PlanError
from domino_onnx.scheme.budget import Budget, budgets_from_document
from domino_onnx.scheme.key import WeightKey
from domino_onnx.scheme.nm import NMScheme
from domino_onnx.scheme.site import Inventory, Site

__all__ = ["Plan"]

VERSION = 1
_KEYS = {"domino_onnx_plan", "source_sha256", "strategy", "budgets", "target", "seed", "sites"}
_OPTIONAL = {"budgets", "target", "seed"}
_SITE_KEYS = {"weight", "scope", "scheme"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One scheme a site, and where it comes from.

    Attributes
    ----------
    source_sha256
        Hash of the model file the plan was made for; empty in a plan that is meant for any model it fits.
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
    schemes: Mapping[WeightKey, NMScheme]
    budgets: tuple[Budget, ...] = ()
    target: str = "generic"
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "schemes", MappingProxyType(dict(self.schemes)))

    def to_json(self) -> str:
        """The plan as a document of one line a site, stable in order."""
        head = {
            "domino_onnx_plan": VERSION,
            "source_sha256": self.source_sha256,
            "strategy": self.strategy,
            "budgets": [budget.to_document() for budget in self.budgets],
            **({} if self.target == "generic" else {"target": self.target}),
            "seed": self.seed,
        }
        fields = "".join(f" {json.dumps(key)}: {json.dumps(value)},\n" for key, value in head.items())
        sites = ",\n".join(f"  {_site_json(key, scheme)}" for key, scheme in self.schemes.items())
        return f'{{\n{fields} "sites": [\n{sites}\n ]\n}}\n'

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read what `to_json` wrote, perhaps edited.

        Raises
        ------
        PlanError
            Naming the unknown key, the wrong type, or the impossible scheme.
        """
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:  # ValueError: also numbers of thousands of digits
            raise PlanError(f"the plan is not JSON: {error}") from None
        document = _object(document, "the plan", required=_KEYS - _OPTIONAL, known=_KEYS)
        if document["domino_onnx_plan"] != VERSION:
            raise PlanError(f"plan version {document['domino_onnx_plan']!r} is unknown; this program reads {VERSION}")
        return cls(
            source_sha256=_typed(document, "source_sha256", str),
            strategy=_typed(document, "strategy", str),
            schemes=_schemes(_typed(document, "sites", list)),
            budgets=budgets_from_document(document.get("budgets", [])),
            target=_typed(document, "target", str) if "target" in document else "generic",
            seed=_typed(document, "seed", int) if "seed" in document else 0,
        )

    @classmethod
    def load(cls, path: Path) -> Plan:
        """Read a plan file; PlanError if it can't be read."""
        try:
            return cls.from_json(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise PlanError(f"can't read the plan {path}: {error}") from None
        except UnicodeDecodeError:
            raise PlanError(f"{path} is no plan, which `domino-onnx search` writes, but something binary") from None
        except PlanError as error:
            raise PlanError(f"{path}: {error}") from None

    def check_fits(self, inventory: Inventory, source_sha256: str) -> None:
        """Raise PlanError if the plan was made for another file, or names a weight or scheme that doesn't fit."""
        if self.source_sha256 not in ("", source_sha256):
            raise PlanError(
                f"the plan was made for a file with SHA-256 {self.source_sha256[:12]}..., this one has "
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
        reason = next((skip.reason for skip in inventory.skips if skip.key == key), "the model has no such weight")
        return None if scheme.is_dense else f"{str(key)!r} is not a site ({reason})"
    if site.layout.reduction % scheme.m:
        return f"{scheme} doesn't fit {str(key)!r}: its reduction axis of {site.layout.reduction} isn't divisible"
    return None


def _site_json(key: WeightKey, scheme: NMScheme) -> str:
    scope = {"scope": list(key.scope)} if key.scope else {}
    return json.dumps({"weight": key.name, **scope, "scheme": str(scheme)}, ensure_ascii=False)


def _schemes(sites: list[Any]) -> dict[WeightKey, NMScheme]:
    schemes: dict[WeightKey, NMScheme] = {}
    for position, value in enumerate(sites):
        what = f"site {position + 1}"
        site = _object(value, what, required={"weight", "scheme"}, known=_SITE_KEYS)
        scope = _typed(site, "scope", list) if "scope" in site else []
        if not all(isinstance(part, str) for part in scope):
            raise PlanError(f'{what}: "scope" must be a list of strings')
        key = WeightKey(_typed(site, "weight", str), tuple(scope))
        if key in schemes:
            raise PlanError(f"{what}: the weight {str(key)!r} is named twice")
        schemes[key] = NMScheme.parse(_typed(site, "scheme", str))
    return schemes


def _object(value: object, what: str, *, required: set[str], known: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise PlanError(f"{what} must be a JSON object")
    for key in sorted(set(value) - known):
        raise PlanError(f"{what} has the unknown key {key!r}; known are {', '.join(sorted(known))}")
    for key in sorted(required - set(value)):
        raise PlanError(f"{what} lacks the key {key!r}")
    return value


def _typed(document: Mapping[str, Any], key: str, kind: type) -> Any:
    value = document[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise PlanError(f"{key!r} must be a {kind.__name__}, not {value!r}")
    return value
