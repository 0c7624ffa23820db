"""What a runtime accepts and accelerates: the sites that it can speed up, and the masks that it wants there."""

from domino_onnx.targets.buildlog import BuildLog, read_build_log
from domino_onnx.targets.diagnosis import Diagnosis, State, diagnose
from domino_onnx.targets.for_target import TARGETS, Target, inventory_for, known, require_legal, schemes_for
from domino_onnx.targets.four_counts import FourCounts, count_fours, legal_energy, obeys_flattened, obeys_on_axis
from domino_onnx.targets.tensorrt import GROUPS_OF_FOUR, WIDE, legal_scheme, refusal
from domino_onnx.targets.two_four_cost import TwoFourCost, TwoFourPart

__all__ = [
    "GROUPS_OF_FOUR",
    "TARGETS",
    "WIDE",
    "BuildLog",
    "Diagnosis",
    "FourCounts",
    "State",
    "Target",
    "TwoFourCost",
    "TwoFourPart",
    "count_fours",
    "diagnose",
    "inventory_for",
    "known",
    "legal_energy",
    "legal_scheme",
    "obeys_flattened",
    "obeys_on_axis",
    "read_build_log",
    "refusal",
    "require_legal",
    "schemes_for",
]
