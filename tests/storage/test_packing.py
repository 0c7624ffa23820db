"""Packing loses no bit, takes what it says that it takes, and refuses parts that don't belong together."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from domino_onnx.errors import ModelError
from domino_onnx.storage import Grouping, Packed, Storage, StoredWeight, pack, scatter, unpack

Array = np.ndarray[Any, Any]
DTYPES = (np.float32, np.float16, np.float64, np.int8, np.uint8, ml_dtypes.bfloat16)


def bits(array: Array) -> bytes:
    return array.tobytes()


def expand_slowly(packed: Packed) -> bytes:
    """What docs/format.md says, value by value, without the codec's code."""
    itemsize = packed.values.dtype.itemsize
    stored = packed.values.tobytes()
    out = [bytes(itemsize)] * math.prod(packed.shape)
    values = iter(stored[start : start + itemsize] for start in range(0, len(stored), itemsize))
    if packed.grouping is None:
        zero = next(values)
        for index in range(len(out)):
            if int(packed.codes[index // 8]) >> (7 - index % 8) & 1:
                out[index] = next(values)
        assert zero == bytes(itemsize)
        return b"".join(out)
    axis, m, digits = dataclasses.astuple(packed.grouping)
    positions = iter([int(byte) // m**place % m for byte in packed.codes for place in range(digits)])
    strides = [math.prod(packed.shape[axis + 1 :]) for axis in range(len(packed.shape))]
    others = [range(size) for position, size in enumerate(packed.shape) if position != axis]
    for place in itertools.product(*others):
        index = [*place[:axis], 0, *place[axis:]]
        for start in range(0, packed.shape[axis], m):
            for _ in range(packed.values.shape[1]):
                index[axis] = start + next(positions)
                out[sum(where * stride for where, stride in zip(index, strides, strict=True))] = next(values)
    return b"".join(out)


@st.composite
def tensors(draw: st.DrawFn) -> tuple[Array, int, int]:
    """A tensor with zeros of any kind, an axis, and an M that divides it."""
    m = draw(st.sampled_from([2, 3, 4, 8, 16, 32]))
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    axis = draw(st.integers(0, len(shape) - 1))
    shape[axis] *= m
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    raw = draw(hnp.arrays(np.dtype(f"u{dtype.itemsize}"), tuple(shape)))  # any bits: -0.0, NaN and denormals with them
    dropped = draw(hnp.arrays(np.float32, tuple(shape), elements=st.floats(0, 1, width=32)))
    raw[dropped < draw(st.sampled_from([0.0, 0.5, 0.9, 1.0]))] = 0
    return raw.view(dtype), axis, m


@settings(deadline=None, derandomize=True)
@given(tensors())
def test_what_is_packed_comes_back_bit_for_bit(given_tensor: tuple[Array, int, int]) -> None:
    tensor, axis, m = given_tensor
    for packed in (pack(tensor), pack(tensor, (axis, m))):
        assert bits(unpack(packed)) == bits(np.ascontiguousarray(tensor)) == expand_slowly(packed)
        assert unpack(packed).shape == tensor.shape
        assert unpack(packed).dtype == tensor.dtype


@settings(deadline=None, derandomize=True)
@given(tensors(), st.permutations(range(4)))
def test_strides_do_not_matter(given_tensor: tuple[Array, int, int], order: list[int]) -> None:
    tensor = given_tensor[0].transpose([axis for axis in order if axis < given_tensor[0].ndim])
    assert bits(unpack(pack(tensor))) == bits(np.ascontiguousarray(tensor))


@settings(deadline=None, derandomize=True)
@given(tensors())
def test_coordinates_come_back(given_tensor: tuple[Array, int, int]) -> None:
    tensor = np.ascontiguousarray(given_tensor[0])
    flat = np.flatnonzero(np.ascontiguousarray(tensor).view(f"u{tensor.dtype.itemsize}"))
    assume(0 < tensor.size <= 1024 * flat.size)
    values = tensor.reshape(-1)[flat]
    assert bits(scatter(values, flat, tensor.shape)) == bits(tensor)
    by_axis = np.stack(np.unravel_index(flat, tensor.shape), axis=1)
    assert bits(scatter(values, by_axis, tensor.shape)) == bits(tensor)


@pytest.mark.parametrize(
    ("n", "m", "bytes_a_group"),
    [(1, 4, 4.25), (2, 16, 9), (1, 16, 4.5), (4, 16, 18), (1, 32, 5)],
)
def test_the_smallest_form_is_taken(n: int, m: int, bytes_a_group: float) -> None:
    """Positions of 2 bits for M = 4, of 4 for 16; a bit for each value where that is no more."""
    groups = 1024
    tensor = np.zeros((groups, m), np.float32)
    np.put_along_axis(tensor, np.argsort(np.random.default_rng(0).random((groups, m)), axis=1)[:, :n], 1.0, axis=1)
    assert pack(tensor).nbytes == pack(tensor, (1, m)).nbytes == groups * bytes_a_group


@pytest.mark.parametrize(("n", "m"), [(8, 16), (3, 8), (3, 4), (16, 16)])
def test_many_values_go_by_a_bitmask(n: int, m: int) -> None:
    tensor = np.zeros((1024, m), np.float16)
    tensor[:, :n] = 1
    assert pack(tensor).nbytes == pack(tensor, (1, m)).nbytes == 2 * (1 + 1024 * n) + 1024 * m // 8


def test_a_scheme_that_is_known_may_save_what_nobody_looks_for() -> None:
    tensor = np.zeros((1024, 2), np.float32)
    tensor[:, 1] = 1
    assert pack(tensor, (1, 2)).nbytes == 1024 * 4 + 1024 // 8
    assert pack(tensor).nbytes == 1025 * 4 + 2048 // 8


def test_groups_are_found_along_any_axis() -> None:
    generator = np.random.default_rng(0)
    for axis in range(4):
        tensor = np.zeros((16, 16, 16, 16), np.float32)
        one = generator.integers(0, 16, [1 if position == axis else 16 for position in range(4)])
        np.put_along_axis(tensor, one, 1.0, axis=axis)
        assert pack(tensor).grouping == Grouping(axis, 16, 2)
        assert pack(tensor, axis=(axis + 1) % 4).grouping is None


def test_one_full_group_does_not_make_all_groups_full() -> None:
    """Where the zeros follow no scheme any more, the bitmask takes over."""
    tensor = np.zeros((64, 16), np.float32)
    tensor[:, 3] = 1
    tensor[0] = 1
    packed = pack(tensor, (1, 16))
    assert packed.grouping is None
    assert packed.nbytes == (1 + 63 + 16) * 4 + 64 * 16 // 8


def _positions() -> Packed:
    tensor = np.zeros((8, 16), np.float32)
    tensor[:, [2, 5]] = np.arange(1, 17).reshape(8, 2)
    return pack(tensor, (1, 16))


def _bitmask() -> Packed:
    return pack(np.where(np.arange(90).reshape(9, 10) % 2, 1.0, 0.0).astype(np.float32))


def ones(count: int) -> Array:
    """A zero, and ones behind it."""
    return np.arange(count).clip(max=1).astype(np.float32)


BROKEN = {
    "a value is missing": lambda: dataclasses.replace(_positions(), values=_positions().values[:-1]),
    "a code is missing": lambda: dataclasses.replace(_positions(), codes=_positions().codes[:-1]),
    "codes have two axes": lambda: dataclasses.replace(_positions(), codes=_positions().codes[None]),
    "positions don't ascend": lambda: dataclasses.replace(_positions(), codes=np.full(8, 0x25, np.uint8)),
    "a position comes twice": lambda: dataclasses.replace(_positions(), codes=np.full(8, 0x55, np.uint8)),
    "the shape is another": lambda: dataclasses.replace(_positions(), shape=(8, 32)),
    "no axis": lambda: dataclasses.replace(_positions(), grouping=Grouping(2, 16, 2)),
    "negative axis": lambda: dataclasses.replace(_positions(), grouping=Grouping(-1, 16, 2)),
    "m doesn't divide": lambda: dataclasses.replace(_positions(), grouping=Grouping(1, 5, 2)),
    "m is zero": lambda: dataclasses.replace(_positions(), grouping=Grouping(1, 0, 2)),
    "too many digits": lambda: dataclasses.replace(_positions(), grouping=Grouping(1, 16, 3)),
    "no digits": lambda: dataclasses.replace(_positions(), grouping=Grouping(1, 16, 0)),
    "outside its group": lambda: Packed(
        shape=(2, 5), values=np.ones((2, 1), np.float32), codes=np.array([25], np.uint8), grouping=Grouping(1, 5, 2)
    ),
    "more values than bits": lambda: dataclasses.replace(_bitmask(), values=ones(47)),
    "fewer values than bits": lambda: dataclasses.replace(_bitmask(), values=ones(45)),
    "no zero first": lambda: dataclasses.replace(_bitmask(), values=np.ones(46, np.float32)),
    "no values at all": lambda: dataclasses.replace(_bitmask(), values=np.ones(0, np.float32)),
    "bits behind the end": lambda: dataclasses.replace(
        _bitmask(), codes=_bitmask().codes | np.array([0] * 11 + [1], np.uint8), values=ones(47)
    ),
    "bitmask cut short": lambda: dataclasses.replace(_bitmask(), codes=_bitmask().codes[:-1]),
    "values of a bitmask have two axes": lambda: dataclasses.replace(_bitmask(), values=ones(46)[:, None]),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_parts_that_do_not_belong_together_are_refused(broken: Any) -> None:
    with pytest.raises(ModelError):
        unpack(broken())


@pytest.mark.parametrize(
    ("count", "indices", "shape"),
    [
        (2, [3, 1], (2, 3)),
        (2, [1, 1], (2, 3)),
        (1, [6], (2, 3)),
        (1, [-1], (2, 3)),
        (2, [1], (2, 3)),
        (1, [[0, 3]], (2, 3)),
        (1, [[0, -1]], (2, 3)),
        (1, [[0, 1, 2]], (2, 3)),
        (1, [[[0]]], (2, 3)),
        (1, [0], (2**20, 2**20)),
        (1, [0], (1025,)),
    ],
)
def test_coordinates_that_fit_no_tensor_are_refused(count: int, indices: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError):
        scatter(np.ones(count, np.float32), np.array(indices, np.int64), shape)


@given(
    st.lists(
        st.builds(
            StoredWeight,
            name=st.text(max_size=20),
            shape=st.lists(st.integers(1, 9), min_size=1, max_size=5).map(tuple),
            grouping=st.none() | st.builds(Grouping, st.integers(0, 4), st.integers(2, 256), st.integers(1, 8)),
        ),
        max_size=4,
    ),
    st.text(max_size=9),
)
def test_records_come_back(weights: list[StoredWeight], prefix: str) -> None:
    record = Storage(weights=tuple(weights), prefix=prefix)
    assert Storage.from_json(record.to_json()) == record


def test_the_text_of_a_record_is_always_the_same() -> None:
    weights = (StoredWeight(name="w", shape=(3, 4), grouping=Grouping(0, 4, 2)), StoredWeight(name="v", shape=(3,)))
    said = '"weights":[{"name":"w","shape":[3,4],"axis":0,"m":4,"digits":2},{"name":"v","shape":[3]}]}'
    assert Storage(weights=weights).to_json() == '{"version":1,"form":"packed","prefix":"",' + said


_KEYS = st.sampled_from(["version", "form", "weights", "name", "shape", "m", "axis", "digits"])
_LEAVES = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5)
_JSON = st.recursive(_LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(_JSON, st.booleans())
def test_any_json_is_a_record_or_an_error(document: Any, inside: bool) -> None:
    text = json.dumps({"version": 1, "form": "packed", "weights": document} if inside else document)
    try:
        Storage.from_json(text)
    except ModelError as error:
        assert "stored" in str(error)  # noqa: PT017  # either outcome is right
