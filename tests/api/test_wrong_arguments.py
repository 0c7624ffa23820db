"""Arguments that come naturally and are wrong: an error of our own says what is taken."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

import domino_onnx
from domino_onnx import errors
from domino_onnx.api.words import in_python

Array = np.ndarray[Any, np.dtype[Any]]


class Half:
    """Some methods of an Observer."""

    def stage(self, name: str) -> None: ...


@pytest.mark.parametrize("observer", [print, 3, Half(), Half])
def test_an_observer_has_all_methods(observer: Any, small: ModelProto) -> None:
    with pytest.raises(
        errors.OptionError, match=r"'observer' is .*without the method expect\(\); .*Observer, or a func"
    ):
        domino_onnx.search(small, sparsity=0.5, observer=observer)


@pytest.mark.parametrize("threads", ["2", None, 1.5, [1], -1, True])
def test_threads_of_a_session(threads: Any, small: ModelProto) -> None:
    with pytest.raises(errors.OptionError, match=r"session\(\): 'threads' is .*; it must be a whole number"):
        domino_onnx.session(small, threads)


@pytest.mark.parametrize("wrong", [3, b"a.onnx", ["a.onnx"]])
def test_what_is_no_path(wrong: Any, small: ModelProto) -> None:
    with pytest.raises(errors.OptionError, match=r"doctor\(\): 'log' is .*; give the path of a file"):
        domino_onnx.doctor(small, log=wrong)
    with pytest.raises(errors.OutputError, match=r"the output is .*; give the path of a file"):
        domino_onnx.convert(small).save(wrong)


def test_a_drop_is_a_share(small: ModelProto, rows: Array) -> None:
    judged = domino_onnx.evaluate(small, small, rows, threads=1)
    assert judged.is_within("5%")
    wrong: Any
    for wrong in (None, "five", [0.05]):
        with pytest.raises(errors.OptionError, match=r"is_within\(\): 'max_drop'"):
            judged.is_within(wrong)


@pytest.mark.parametrize("numbers", [("2", "4"), (2.0, 4), (None, None), (2, 4.0)])
def test_a_scheme_is_of_whole_numbers(numbers: Any) -> None:
    with pytest.raises(errors.PlanError, match="N and M are whole numbers"):
        domino_onnx.NMScheme(*numbers)


def test_a_manifest_is_no_function() -> None:
    said = "a.onnx has no domino-onnx manifest; make it with `domino-onnx compress` or `apply` first"
    assert in_python(said) == (
        "a.onnx has no domino-onnx manifest; make it with `domino_onnx.compress` or `apply` first"
    )
