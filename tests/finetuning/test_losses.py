"""Losses by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from domino_onnx.finetuning.losses import DistillationLoss  # noqa: E402
from domino_onnx.options import FinetuneOptions  # noqa: E402
from domino_onnx.outputs import OutputDivergence, OutputKind, OutputMeaning, Survey  # noqa: E402


def meanings(kinds: dict[str, OutputKind], teacher: dict[str, Any]) -> dict[str, OutputMeaning]:
    survey = Survey(1, kinds)
    survey.add({name: output.numpy() for name, output in teacher.items() if name in kinds}, 2)
    return survey.meanings()


def made(kinds: dict[str, OutputKind], teacher: dict[str, Any], *rest: Any, **more: Any) -> DistillationLoss:
    return DistillationLoss(meanings(kinds, teacher), *rest, **more)


def test_equal_outputs_have_no_loss() -> None:
    outputs = {"logits": torch.tensor([[1.0, 2.0]]), "map": torch.rand(1, 2, 3, 3), "e": torch.tensor([[3.0, 4.0]])}
    loss = made({"logits": "scores", "map": "values", "e": "embedding"}, outputs)
    assert float(loss(outputs, outputs)) == pytest.approx(0, abs=1e-6)


def test_probabilities_are_compared_by_kl_as_they_are() -> None:
    teacher, student = {"p": torch.tensor([[0.25, 0.75]])}, {"p": torch.tensor([[0.5, 0.5]])}
    expected = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    assert float(made({"p": "probabilities"}, teacher)(student, teacher)) == pytest.approx(expected, rel=1e-5)


def test_logits_are_softened_by_the_temperature_and_scaled_back() -> None:
    teacher, student = {"l": torch.tensor([[0.0, 2 * math.log(3)]])}, {"l": torch.tensor([[0.0, 0.0]])}
    kl = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)  # at temperature 2 the teacher says (1/4, 3/4)
    loss = made({"l": "scores"}, teacher, FinetuneOptions(temperature=2.0))
    assert float(loss(student, teacher)) == pytest.approx(4 * kl, rel=1e-5)


def test_values_are_compared_relative_to_their_variance() -> None:
    teacher = {"v": torch.tensor([0.0, 2.0, 4.0, 6.0])}  # variance 5
    student = {"v": torch.tensor([1.0, 3.0, 5.0, 7.0])}
    assert float(made({"v": "values"}, teacher)(student, teacher)) == pytest.approx(0.2, rel=1e-5)


def test_embeddings_are_compared_by_their_directions() -> None:
    """However much a matrix looks like scores; as search and refit measure them."""
    teacher = {"e": torch.tensor([[3.0, 4.0, 0.0], [0.0, 1.0, 0.0]])}
    student = {"e": torch.tensor([[4.0, 3.0, 0.0], [0.0, 9.0, 0.0]])}
    loss = made({"e": "embedding"}, teacher)
    assert float(loss(student, teacher)) == pytest.approx(2 * (1 - (24 / 25 + 1) / 2), rel=1e-5)
    measure = OutputDivergence(meanings({"e": "embedding"}, teacher))
    measured = measure([{"e": teacher["e"].numpy()}], [{"e": student["e"].numpy()}])
    assert float(loss(student, teacher)) == pytest.approx(measured, rel=1e-5)
    assert loss.class_count is None


def test_labels_take_their_share() -> None:
    teacher = {"p": torch.tensor([[0.25, 0.75]])}
    loss = made({"p": "probabilities"}, teacher, FinetuneOptions(label_weight=0.5))
    assert float(loss(teacher, teacher, torch.tensor([[1.0, 0.0]]))) == pytest.approx(-0.5 * math.log(0.25), rel=1e-4)


def test_without_a_kind_there_is_nothing_to_learn_from() -> None:
    assert not made({}, {"i": torch.tensor([1, 2])}).trainable


def test_another_loss_may_be_asked_for() -> None:
    teacher, student = {"v": torch.tensor([[3.0, 4.0], [0.0, 1.0]])}, {"v": torch.tensor([[4.0, 3.0], [0.0, 9.0]])}
    for kind in ("scores", "embedding", "values"):
        kinds: dict[str, OutputKind] = {"v": kind}
        cosine = made(kinds, teacher, FinetuneOptions(loss="cosine"))
        assert float(cosine(student, teacher)) == pytest.approx(2 - (24 / 25 + 1), rel=1e-5)
        mse = made(kinds, teacher, FinetuneOptions(loss="mse"))
        assert float(mse(student, teacher)) == pytest.approx((1 + 1 + 64) / 4 / 2.25, rel=1e-5)
    deep = {"v": torch.zeros(6, 4)}
    uneven = {"v": torch.tensor([0.0, 0.0, 0.0, math.log(3)]).expand(6, 4)}
    kl = made({"v": "values"}, deep, FinetuneOptions(loss="kl", temperature=1.0))
    assert float(kl(uneven, deep)) == pytest.approx(math.log(6 / 4) - math.log(3) / 4, rel=1e-5)
    assert kl.class_count == 4


@pytest.mark.parametrize("kind", ["scores", "values"])
def test_what_the_teacher_rules_out_is_nothing_to_learn(kind: OutputKind) -> None:
    """A suppressed class is -inf in both: the loss is that of the others, and so is the gradient."""
    teacher = torch.tensor([[1.0, 2.0, -math.inf], [3.0, 0.0, -math.inf]])
    student = torch.tensor([[2.0, 2.0, -math.inf], [0.0, 1.0, -math.inf]], requires_grad=True)
    loss = made({"s": kind}, {"s": teacher})({"s": student}, {"s": teacher})
    others = made({"s": kind}, {"s": teacher[:, :2]})({"s": student[:, :2]}, {"s": teacher[:, :2]})
    share = 2 / 3 if kind == "values" else 1  # a mean over three channels
    assert float(loss.detach()) == pytest.approx(share * float(others.detach()), rel=1e-6)
    loss.backward()
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize("kind", ["scores", "embedding", "values"])
@pytest.mark.parametrize("rows", [0, 3])
def test_another_number_of_rows_is_nothing_to_compare(kind: OutputKind, rows: int) -> None:
    known = {"a": torch.rand(2, 4), "b": torch.rand(2, 4)}
    loss = made({"a": kind, "b": "values"}, known)
    student = {"a": torch.rand(rows, 4), "b": torch.rand(2, 4)}
    teacher = {"a": torch.rand(0 if rows == 0 else 2, 4), "b": known["b"]}
    alone = DistillationLoss({"b": meanings({"b": "values"}, known)["b"]})
    assert float(loss(student, teacher)) == pytest.approx(float(alone(student, teacher)), rel=1e-6)


def test_samples_of_which_the_teacher_makes_nan_are_named() -> None:
    teacher = {"s": torch.tensor([[1.0, 2.0], [math.nan, 0.0]]), "v": torch.rand(2, 3, 4)}
    loss = made({"s": "scores", "v": "values"}, {"s": torch.rand(2, 2), "v": teacher["v"]})
    assert loss.told({name: output.numpy() for name, output in teacher.items()}, 2).tolist() == [True, False]
