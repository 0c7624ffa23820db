"""What a budget may be: two measures, and a number from 0 to below 1."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from domino_onnx.errors import BudgetError
from domino_onnx.scheme import Budget


@pytest.mark.parametrize("measure", ["sparsity", "FLOPs", "", None, 1, ["params"]])
def test_another_measure_is_refused_with_the_two_that_there_are(measure: Any) -> None:
    with pytest.raises(BudgetError, match=r'"params".*"flops"'):
        Budget(measure=measure, reduction=0.5)


@pytest.mark.parametrize("reduction", ["0.5", None, True, False, 0.5j, [0.5], np.bool_(True)])
def test_what_is_no_number_is_refused(reduction: Any) -> None:
    with pytest.raises(BudgetError, match=r"must be a number, not .*0\.875 for 87\.5"):
        Budget(measure="params", reduction=reduction)


@pytest.mark.parametrize("reduction", [-0.1, 87, 87.5, math.nan, math.inf, -math.inf, 10**400, -(10**400)])
@pytest.mark.parametrize(("measure", "option"), [("params", "--sparsity"), ("flops", "--flops-reduction")])
def test_numbers_out_of_range_are_refused_by_the_option_s_name(measure: Any, option: str, reduction: float) -> None:
    with pytest.raises(BudgetError, match=rf"{option} .* not between 0 and 1: write 0\.87\d? or 87"):
        Budget(measure=measure, reduction=reduction)


@pytest.mark.parametrize("reduction", [1, 1.0])
def test_a_budget_that_leaves_nothing_is_refused(reduction: float) -> None:
    with pytest.raises(BudgetError, match=r"^--sparsity 1 would leave nothing: write 0\.875 or 87\.5%$"):
        Budget(measure="params", reduction=reduction)


@pytest.mark.parametrize("reduction", [0, 0.0, 0.9, np.float64(0.9), 1 - 2**-53])
def test_numbers_in_range_are_taken(reduction: float) -> None:
    budget = Budget(measure="flops", reduction=reduction)
    assert budget.to_document() == {"measure": "flops", "reduction": reduction}
