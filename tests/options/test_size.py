"""Sizes in bytes: read, written, and refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domino_onnx.errors import OptionError
from domino_onnx.options import ByteSize, RunOptions


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [
        ("4GB", 4_000_000_000),
        ("512MiB", 536_870_912),
        ("1.5 GiB", 1_610_612_736),
        (" 2tb ", 2_000_000_000_000),
        ("64kb", 64_000),
        ("64KiB", 65_536),
        ("7B", 7),
        ("0.1GB", 100_000_000),
    ],
)
def test_a_number_and_a_unit(text: str, bytes_: int) -> None:
    assert ByteSize.parse(text) == bytes_


@pytest.mark.parametrize("text", ["", "4", "GB", "4G", "-1GB", "4 gigabytes", "1e9B", "4GB 2", "٤GB", "9" * 40 + "B"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(OptionError, match="for instance 4GB or 512MiB"):
        ByteSize.parse(text)


@pytest.mark.parametrize("text", ["0GB", "0.4B"])
def test_nothing_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="less than one byte"):
        ByteSize.parse(text)


@pytest.mark.parametrize("size", [0, -5])
def test_nothing_is_refused_from_python_too(size: int) -> None:
    with pytest.raises(OptionError, match=f"{size} is less than one byte"):
        ByteSize(size)


def test_python_says_bytes_too() -> None:
    assert RunOptions(memory=ByteSize(1 << 30)).memory == 1 << 30
    with pytest.raises(OptionError, match="memory"):
        RunOptions(memory=1 << 30)  # type: ignore[arg-type]


@given(st.integers(1, 1 << 56))
def test_what_is_written_is_read_again(size: int) -> None:
    assert ByteSize.parse(str(ByteSize(size))) == size


@pytest.mark.parametrize(("size", "text"), [(4_000_000_000, "4GB"), (1 << 29, "512MiB"), (1_000_001, "1000001B")])
def test_the_largest_unit_without_a_fraction(size: int, text: str) -> None:
    assert str(ByteSize(size)) == text
