"""The choice of one N:M scheme a site within the budgets: one strategy a file."""

from domino_onnx.search.domino import Decision, DominoOptions, DominoResult, GradientSource, search_domino
from domino_onnx.search.heuristic import search_erk, search_uniform
from domino_onnx.search.knapsack import Choice, Limit, choose
from domino_onnx.search.measured_domino import search_measured_domino
from domino_onnx.search.sensitivity import LossTable, SiteLosses, search_sensitivity

__all__ = [
    "Choice",
    "Decision",
    "DominoOptions",
    "DominoResult",
    "GradientSource",
    "Limit",
    "LossTable",
    "SiteLosses",
    "choose",
    "search_domino",
    "search_erk",
    "search_measured_domino",
    "search_sensitivity",
    "search_uniform",
]
