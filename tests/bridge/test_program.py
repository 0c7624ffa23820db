"""Running steps: where operands go."""

from __future__ import annotations

import torch

from domino_onnx.bridge.program import _placed


def test_operands_meet_on_the_device_of_the_data() -> None:
    data, constant, shape = torch.zeros(2, device="meta"), torch.zeros(2), torch.tensor([2])
    placed = _placed([constant, None, data, shape], frozenset({3}))
    assert [None if p is None else p.device.type for p in placed] == ["meta", None, "meta", "cpu"]


def test_shapes_alone_stay_on_the_cpu() -> None:
    shapes = [torch.tensor([2]), torch.tensor([3])]
    assert all(placed is shape for placed, shape in zip(_placed(shapes, frozenset()), shapes, strict=True))


def test_shapes_alone_do_not_move_a_host_operator() -> None:
    assert _placed([torch.tensor(0), None, torch.tensor(3)], frozenset({0, 1, 2}))[2].device.type == "cpu"
