"""Choices of layers to try on the whole model, made of what each layer takes by itself."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from domino_onnx.deployment import Kind, Layer, Seconds

__all__ = ["EXACT", "RECIPES", "Choice", "Recipe", "choice_of"]

_GAIN = 0.97
"""Largest time, as a share of the dense layer's, that makes a layer by itself worth it."""
Choice = dict["Layer", "Kind"]
EXACT: tuple[Kind, ...] = ("float32", "quantized")
"""Kinds that give what the file gives: no bit of a weight or an activation is lost by them."""


@dataclasses.dataclass(frozen=True, slots=True)
class Recipe:
    """A choice to be tried on the whole model: layers with zeros by their own gain, and others in one of several ways.

    What the others are worth doesn't show where each is timed by itself: a whole region without borders may be faster
    although one of its layers is slower.

    Attributes
    ----------
    gain
        Largest time, as a share of the dense layer's; infinite where all layers are taken.
    others
        Layers with no zeros to skip: by their own gain, none, all depthwise convolutions and the rest by their own
        gain, or all.
    """

    gain: float
    others: Literal["alone", "dense", "depthwise", "deployed"]


RECIPES = (
    Recipe(_GAIN, "alone"),
    Recipe(_GAIN, "dense"),
    Recipe(_GAIN, "depthwise"),
    Recipe(_GAIN, "deployed"),
    Recipe(0.75, "alone"),
    Recipe(0.75, "dense"),
    Recipe(0.75, "depthwise"),
    Recipe(math.inf, "deployed"),
)


def choice_of(timed: Mapping[Layer, Seconds], recipe: Recipe, kinds: Sequence[str]) -> Choice:
    """What a recipe makes of the times of layers by themselves."""
    choice: Choice = {}
    for layer, seconds in timed.items():
        is_taken = recipe.others == "deployed" or (recipe.others == "depthwise" and layer.shape[1] == 1)
        if layer.skips and recipe.gain < math.inf:
            choice[layer] = _kind(seconds, kinds, recipe.gain)
        elif is_taken:
            choice[layer] = _of_region(layer, seconds, kinds)
        else:
            choice[layer] = "dense" if recipe.others == "dense" else _kind(seconds, kinds, recipe.gain)
    return choice


def _of_region(layer: Layer, seconds: Seconds, kinds: Sequence[str]) -> Kind:
    """A convolution's kind where all are deployed, so that no border lies between them; a product's fastest one."""
    if layer.file is not None:
        return "quantized"
    if layer.op == "Conv":
        return "int8" if "int8" in kinds and "int8" in seconds else "float32"
    return _kind(seconds, kinds, _GAIN)


def _kind(seconds: Seconds, kinds: Sequence[str], gain: float) -> Kind:
    """The fastest of some kinds, if it gains enough over the dense layer."""
    best = min((kind for kind in seconds if kind in kinds), key=lambda kind: seconds[kind])
    return best if seconds[best] < gain * seconds["dense"] else "dense"
