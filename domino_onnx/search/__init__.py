"""The choice of one N:M scheme a site under a budget: one strategy a file."""

from domino_onnx.search.domino import Decision, DominoOptions, DominoResult, GradientSource, search_domino
from domino_onnx.search.heuristic import search_erk, search_uniform
from domino_onnx.search.knapsack import choose

__all__ = [
    "Decision",
    "DominoOptions",
    "DominoResult",
    "GradientSource",
    "choose",
    "search_domino",
    "search_erk",
    "search_uniform",
]
