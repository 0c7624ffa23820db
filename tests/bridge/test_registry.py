"""The table of operators."""

from __future__ import annotations

import onnx
import pytest
import torch

from domino_onnx.bridge.ops import OPERATORS
from domino_onnx.bridge.registry import Family, find, merge


def test_the_newest_version_of_an_opset_is_found() -> None:
    assert [find(OPERATORS, "", "Softmax", opset).since for opset in (11, 12, 13, 22)] == [1, 1, 13, 13]
    assert find(OPERATORS, "", "GatherND", 10) is None
    assert find(OPERATORS, "", "Nonesuch", 20) is None


def test_the_table_is_read_only() -> None:
    with pytest.raises(TypeError):
        OPERATORS["", "Relu"] = ()  # type: ignore[index]


def test_no_version_is_registered_twice() -> None:
    for versions in OPERATORS.values():
        since = [operator.since for operator in versions]
        assert since == sorted(set(since), reverse=True)


def test_every_attribute_of_a_standard_operator_is_known_to_the_standard() -> None:
    for (domain, name), versions in OPERATORS.items():
        schemas = [s for s in onnx.defs.get_all_schemas_with_history() if (s.domain, s.name) == (domain, name)]
        known = {attribute for schema in schemas for attribute in schema.attributes} | {"output_count"}
        for operator in versions if schemas else ():
            assert operator.attributes | set(operator.fixed) <= known, name


def test_a_family_adds_its_domain() -> None:
    op = Family("local")

    @op("Twice", since=2)
    def twice(x: torch.Tensor, *, factor: int = 2) -> torch.Tensor:
        return x * factor

    table = merge([op])
    operator = find(table, "local", "Twice", 3)
    assert operator is not None
    assert operator.attributes == {"factor"}
    assert find(table, "local", "Twice", 1) is None
