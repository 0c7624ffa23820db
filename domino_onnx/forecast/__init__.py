"""What a run is going to cost, before it begins, and how much is left of it on the way."""

from domino_onnx.forecast.remaining import Remaining
from domino_onnx.forecast.values import LONG, Forecast, StageCost, Unprunable

__all__ = ["LONG", "Forecast", "Remaining", "StageCost", "Unprunable"]
