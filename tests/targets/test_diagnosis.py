"""What is said of weights that were pruned in every way that is seen in the wild."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from domino_onnx.scheme import NMScheme, StoredNumbers, WeightLayout
from domino_onnx.solve import magnitude_mask
from domino_onnx.targets import diagnose

RNG = np.random.default_rng(2)
CONV = RNG.standard_normal((256, 256, 3, 3)).astype(np.float32)
LAYOUT = WeightLayout.conv(CONV.shape)


def pruned(weight: np.ndarray[Any, Any], layout: WeightLayout, scheme: NMScheme) -> np.ndarray[Any, Any]:
    return weight * magnitude_mask(weight, layout, scheme)


def test_a_legal_wide_half_precision_weight_leaves_no_doubt(make_site: Any) -> None:
    weight = pruned(CONV, LAYOUT, NMScheme(4, 16, True)).astype(np.float16)
    found = diagnose(make_site(shape=CONV.shape, numbers=StoredNumbers("float16")), weight)
    assert (found.state, found.reason, found.advice, found.doubts) == ("legal", None, None, ())


def test_doubts_of_a_narrow_float32_weight(make_site: Any) -> None:
    weight = pruned(CONV[:64, :64], WeightLayout.conv((64, 64, 3, 3)), NMScheme(2, 4))
    found = diagnose(make_site(shape=(64, 64, 3, 3)), weight)
    assert found.state == "legal"
    assert "256" in found.doubts[0]
    assert "float32" in found.doubts[1]
    assert found.doubts[1].endswith(": domino-onnx convert MODEL --precision fp16")


@pytest.mark.parametrize(
    ("weight", "said"),
    [
        (
            pruned(CONV.reshape(256, -1), WeightLayout((256, 2304), 1), NMScheme(2, 4)).reshape(CONV.shape),
            "kernel flattened",
        ),
        (pruned(CONV, WeightLayout(CONV.shape, 0), NMScheme(2, 4)), "along axis 0"),
        (CONV * (RNG.random(CONV.shape) < 0.5), "follow no groups"),
    ],
)
def test_groups_on_a_wrong_axis_are_named(make_site: Any, weight: np.ndarray[Any, Any], said: str) -> None:
    found = diagnose(make_site(shape=CONV.shape), weight)
    assert found.state == "broken"
    assert said in (found.reason or "")
    assert "axis 1" in (found.advice or "")


def test_a_scheme_that_is_no_two_of_four(make_site: Any) -> None:
    weight = pruned(CONV, LAYOUT, NMScheme(8, 16))
    found = diagnose(make_site(shape=CONV.shape, holds=NMScheme(8, 16)), weight)
    assert found.state == "broken"
    assert "8:16" in (found.reason or "")
    assert found.fours.broken_share == pytest.approx(0.284, abs=0.01)  # of Gaussian weights


def test_dense_and_not_eligible(make_site: Any) -> None:
    assert diagnose(make_site(shape=CONV.shape), CONV).state == "dense"
    grouped = diagnose(make_site(shape=CONV.shape, conv_groups=4), CONV)
    assert (grouped.state, grouped.advice) == ("not eligible", None)
    wasted = diagnose(make_site(shape=CONV.shape, conv_groups=4), pruned(CONV, LAYOUT, NMScheme(2, 4)))
    assert "--speed-only" in (wasted.advice or "")


def test_scattered_zeros_that_happen_to_obey_a_scheme(make_site: Any) -> None:
    weight = CONV * (RNG.random(CONV.shape) < 0.25)
    found = diagnose(make_site(shape=CONV.shape, holds=NMScheme(15, 16)), weight)
    assert "follow no groups" in (found.reason or "")
