"""Fixed functions, each written down by its own formula, are left dense; what could be trained is not."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domino_onnx.graph.fixed import fixed_function
from domino_onnx.graph.operators import weight_view
from domino_onnx.scheme import StoredNumbers

Array = np.ndarray[Any, np.dtype[Any]]

EVEN, CONSTANT, SELECTION, REPEATED = "evenly spaced", "one value everywhere", "selection", "the same filters"
WHOLE, ORTHOGONAL, BANK, WAVES, COLOUR = "whole numbers", "orthogonal", "triangular", "sines or cosines", "colours"


def judged(
    values: Array, operator: str = "Conv", *, position: int = 1, scale: Any = None, dtype: Any = None, **given: int
) -> str | None:
    """What a weight of these floats, or integers with a scale, is taken for."""
    stored = values if scale is not None else values.astype(dtype or np.float32)
    view = weight_view(operator, position, stored.shape, given)
    assert view is not None
    return fixed_function(stored, view, StoredNumbers(str(stored.dtype), scale))


def hann(length: int) -> Array:
    return np.sin(np.pi * np.arange(length) / length) ** 2


def dft(samples: int, window: Array | None = None) -> tuple[Array, Array]:
    """(samples / 2 + 1, samples) each: real and imaginary parts of exp(-2 pi i k n / samples), times the window."""
    basis = np.exp(-2j * np.pi * np.outer(np.arange(samples // 2 + 1), np.arange(samples)) / samples)
    basis = basis * (1 if window is None else window)
    return basis.real, basis.imag


def dct(count: int, length: int, *, orthonormal: bool = False) -> Array:
    """(count, length): rows of DCT-II."""
    basis = np.cos(np.pi / length * np.outer(np.arange(count), np.arange(length) + 0.5))
    if orthonormal:
        basis *= np.sqrt(2 / length)
        basis[0] /= np.sqrt(2)
    return basis


def mel_filters(filters: int, bins: int, *, slaney: bool, rate: int = 16000) -> Array:
    """(filters, bins): triangles between equal steps of mel; Slaney's have one area and are linear below 1000 Hz."""
    corners = []
    for step in range(filters + 2):
        share = step / (filters + 1)
        if slaney:
            top = 15 + 27 * np.log(rate / 2 / 1000) / np.log(6.4)
            mel = share * top
            corners.append(mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27))
        else:
            top = 2595 * np.log10(1 + rate / 2 / 700)
            corners.append(700 * (10 ** (share * top / 2595) - 1))
    bank = np.zeros((filters, bins))
    for number in range(filters):
        low, centre, high = corners[number : number + 3]
        for place in range(bins):
            frequency = place * rate / 2 / (bins - 1)
            rise, fall = (frequency - low) / (centre - low), (high - frequency) / (high - centre)
            bank[number, place] = max(0.0, min(rise, fall)) * (2 / (high - low) if slaney else 1)
    return bank


def hadamard(size: int) -> Array:
    """Sylvester's: the sign of H[i, j] is the parity of the bits that i and j share."""
    return np.array([[(-1.0) ** (i & j).bit_count() for j in range(size)] for i in range(size)])


def haar() -> Array:
    """(4, 2, 2): mean, and differences across, down and diagonally."""
    pair = np.array([[1, 1], [1, -1]])
    return np.array([np.outer(down, across) for down in pair for across in pair])


def bilinear(kernel: int) -> Array:
    """(kernel, kernel): the filter that starts FCN's upsampling (Long et al. 2015)."""
    factor = (kernel + 1) // 2
    centre = factor - 1 if kernel % 2 else factor - 0.5
    line = 1 - np.abs(np.arange(kernel) - centre) / factor
    return np.outer(line, line)


def gauss(kernel: int, sigma: float) -> Array:
    line = np.exp(-((np.arange(kernel) - kernel // 2) ** 2) / (2 * sigma**2))
    return np.outer(line, line) / line.sum() ** 2


def each(channels: int, kernel: Array) -> Array:
    """(channels, 1, *kernel): the same kernel for each channel."""
    return np.repeat(kernel[None, None], channels, axis=0)


def diagonal(channels: int, kernel: Array) -> Array:
    """(channels, channels, *kernel), zeros off the diagonal."""
    filters = np.zeros((channels, channels, *kernel.shape))
    for channel in range(channels):
        filters[channel, channel] = kernel
    return filters


def sobel() -> Array:
    across = np.outer([1, 2, 1], [1, 0, -1])
    return np.stack([across, across.T])


def permutation(size: int) -> Array:
    return np.eye(size)[np.random.default_rng(3).permutation(size)]


def focus() -> Array:
    """(12, 3, 2, 2): space to depth, as a convolution of stride 2."""
    filters = np.zeros((12, 3, 2, 2))
    for output in range(12):
        filters[output, output % 3, output // 3 % 2, output // 6] = 1
    return filters


def bands(channels: int) -> Array:
    """(4 * channels, channels, 2, 2): Haar's four filters at each channel, dense."""
    filters = np.zeros((4 * channels, channels, 2, 2))
    for channel in range(channels):
        filters[4 * channel : 4 * channel + 4, channel] = haar()
    return filters / 2


def stft(samples: int, window: Array | None = None) -> Array:
    """(2 * (samples / 2 + 1), 1, samples): real parts, then imaginary ones."""
    return np.concatenate(dft(samples, window))[:, None]


def interleaved(samples: int) -> Array:
    return np.stack(dft(samples, hann(samples)), axis=1).reshape(-1, 1, samples)


def inverse_stft(samples: int) -> Array:
    """(2 * (samples / 2 + 1), 1, samples): of a ConvTranspose; inner frequencies count twice."""
    real, imaginary = dft(samples, hann(samples))
    twice = np.full(samples // 2 + 1, 2.0)
    twice[[0, -1]] = 1
    return np.concatenate([real * twice[:, None], imaginary * twice[:, None]])[:, None] / samples


CONVOLUTIONS = [
    pytest.param(np.arange(16).reshape(1, 16, 1, 1), EVEN, id="dfl"),
    pytest.param(np.linspace(-1, 1, 32).reshape(1, 32, 1), EVEN, id="bins-that-are-not-whole"),
    pytest.param(np.eye(64).reshape(64, 64, 1, 1), SELECTION, id="identity"),
    pytest.param(0.125 * np.eye(64).reshape(64, 64, 1, 1), SELECTION, id="scaled-identity"),
    pytest.param(permutation(128).reshape(128, 128, 1), SELECTION, id="permutation"),
    pytest.param(focus(), SELECTION, id="space-to-depth"),
    pytest.param(sobel()[:, None], WHOLE, id="sobel"),
    pytest.param(sobel()[:, None] / 8, WHOLE, id="sobel-scaled"),
    pytest.param(haar()[:, None], WHOLE, id="haar"),
    pytest.param(np.tile(haar()[:, None], (32, 1, 1, 1)) / 2, REPEATED, id="haar-depthwise"),
    pytest.param(bands(16), REPEATED, id="haar-dense"),
    pytest.param(np.repeat(sobel()[:, None], 64, axis=1), REPEATED, id="sobel-over-channels"),
    pytest.param(np.full((8, 8, 3, 3), 1 / 9), CONSTANT, id="mean"),
    pytest.param(diagonal(8, np.full((3, 3), 1 / 9)), REPEATED, id="box-dense"),
    pytest.param(each(32, gauss(5, 1.1)), REPEATED, id="gauss-depthwise"),
    pytest.param(np.repeat(gauss(5, 1.1)[None, None], 16, axis=1), REPEATED, id="gauss-over-channels"),
    pytest.param(diagonal(16, gauss(5, 1.1)), REPEATED, id="gauss-dense"),
    pytest.param(stft(64), WAVES, id="dft"),
    pytest.param(stft(256, hann(256)), WAVES, id="stft-hann"),
    pytest.param(stft(400, np.hamming(400)), WAVES, id="stft-hamming"),
    pytest.param(stft(512, np.pad(hann(400), 56)), WAVES, id="stft-padded-window"),
    pytest.param(stft(512)[:, :, :400] * hann(400), WAVES, id="stft-cut-window"),
    pytest.param(interleaved(64), WAVES, id="stft-interleaved"),
    pytest.param(dft(128, hann(128))[0][:, None, None], WAVES, id="stft-cosines"),
    pytest.param(dft(128, hann(128))[1][:, None, None], WAVES, id="stft-sines"),
    pytest.param(stft(16, hann(16)), WAVES, id="stft-short"),
    pytest.param(dct(40, 80)[:, :, None], WAVES, id="dct"),
    pytest.param(mel_filters(40, 256, slaney=False)[:, :, None], BANK, id="mel"),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(("weight", "kind"), CONVOLUTIONS)
def test_convolutions(weight: Array, kind: str, dtype: Any) -> None:
    assert kind in (judged(weight, dtype=dtype) or "nothing")


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(
    ("weight", "groups", "kind"),
    [
        pytest.param(each(16, bilinear(4)), 16, REPEATED, id="bilinear-grouped"),
        pytest.param(diagonal(21, bilinear(4)), 1, REPEATED, id="bilinear-dense"),
        pytest.param(diagonal(8, bilinear(5)), 1, REPEATED, id="bilinear-odd"),
        pytest.param(np.ones((16, 1, 2, 2)), 16, CONSTANT, id="nearest"),
        pytest.param(inverse_stft(64), 1, WAVES, id="inverse-stft"),
        pytest.param(np.tile(haar()[:, None], (8, 1, 1, 1)) / 2, 32, REPEATED, id="haar-back"),
    ],
)
def test_transposed_convolutions(weight: Array, groups: int, kind: str, dtype: Any) -> None:
    assert kind in (judged(weight, "ConvTranspose", dtype=dtype, group=groups) or "nothing")


MATRICES = [
    pytest.param(np.arange(17.0)[None], EVEN, id="bins"),
    pytest.param(np.eye(64), SELECTION, id="identity"),
    pytest.param(permutation(64), SELECTION, id="permutation"),
    pytest.param(np.eye(64)[::4], SELECTION, id="every-fourth"),
    pytest.param(np.repeat(np.eye(8), 16, axis=1), SELECTION, id="sums-of-groups"),
    pytest.param(np.full((1, 49), 1 / 49), CONSTANT, id="mean"),
    pytest.param(hadamard(32), ORTHOGONAL, id="hadamard"),
    pytest.param(hadamard(64) / 8, ORTHOGONAL, id="hadamard-orthonormal"),
    pytest.param(dft(64)[0], WAVES, id="cosines"),
    pytest.param(dft(64)[1], WAVES, id="sines"),
    pytest.param(dft(512, hann(512))[0], WAVES, id="cosines-hann"),
    pytest.param(np.concatenate(dft(128)), WAVES, id="cosines-and-sines"),
    pytest.param(dct(40, 128), WAVES, id="dct"),
    pytest.param(dct(13, 23), WAVES, id="dct-of-speech"),
    pytest.param(dct(64, 64, orthonormal=True), WAVES, id="dct-orthonormal"),
    pytest.param(dct(64, 64, orthonormal=True).T, WAVES, id="dct-inverse"),
    pytest.param(mel_filters(40, 256, slaney=False), BANK, id="mel-htk"),
    pytest.param(mel_filters(80, 513, slaney=True), BANK, id="mel-slaney"),
    pytest.param(mel_filters(128, 201, slaney=False), BANK, id="mel-narrow"),
]
"""Each as (outputs, inputs)."""


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(("weight", "kind"), MATRICES)
def test_matrices_on_either_side_and_transposed(weight: Array, kind: str, dtype: Any) -> None:
    for found in (
        judged(weight.T, "MatMul", dtype=dtype),
        judged(weight, "MatMul", position=0, dtype=dtype),
        judged(weight.T, "Gemm", dtype=dtype),
        judged(weight, "Gemm", dtype=dtype, transB=1),
        judged(weight.T, "Gemm", position=0, dtype=dtype, transA=1),
    ):
        assert kind in (found or "nothing")


def test_a_vector_of_bins() -> None:
    assert judged(np.arange(17), "MatMul") == "evenly spaced numbers, as the bins of an expected value are"


BT601 = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])


def yuv(red: float, blue: float) -> Array:
    """Rows Y, Cb, Cr from how much red and blue count (ITU-T H.273)."""
    grey = np.array([red, 1 - red - blue, blue])
    return np.stack([grey, (np.array([0, 0, 1]) - grey) / (2 - 2 * blue), (np.array([1, 0, 0]) - grey) / (2 - 2 * red)])


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(
    "matrix", [BT601, yuv(0.299, 0.114), yuv(0.2126, 0.0722), yuv(0.2627, 0.0593)], ids=["jpeg", "601", "709", "2020"]
)
def test_colours(matrix: Array, dtype: Any) -> None:
    for one in (matrix, np.linalg.inv(matrix), matrix[:, ::-1], matrix * 219 / 255, matrix / 255):
        assert judged(one[:, :, None, None], dtype=dtype) == "a conversion of colours"
        assert judged(one.T, "MatMul", dtype=dtype) == "a conversion of colours"
    assert judged(matrix[:1, :, None, None], dtype=dtype) == "a conversion of colours"
    assert judged(matrix[0], "MatMul", dtype=dtype) == "a conversion of colours"


def test_bfloat16() -> None:
    for weight, kind in ((np.arange(16).reshape(1, 16, 1, 1), EVEN), (stft(256, hann(256)), WAVES)):
        assert kind in (judged(weight, dtype=ml_dtypes.bfloat16) or "nothing")


def quantised(weight: Array, axis: int | None = None) -> tuple[Array, Array]:
    """Integers to 127, and their scale, one for all or one for each place on an axis."""
    others = None if axis is None else tuple(place for place in range(weight.ndim) if place != axis)
    scale = np.maximum(np.abs(weight).max(axis=others, keepdims=axis is not None), 1e-9) / 127
    return np.rint(weight / scale).astype(np.int8), np.asarray(scale, np.float32)


@pytest.mark.parametrize("axis", [None, 0])
@pytest.mark.parametrize(
    ("weight", "kind"),
    [
        (np.arange(16).reshape(1, 16, 1, 1), EVEN),
        (np.eye(64).reshape(64, 64, 1, 1), SELECTION),
        (each(32, gauss(5, 1.1)), REPEATED),
        (stft(256, hann(256)), WAVES),
        (hadamard(32).reshape(32, 32, 1), ORTHOGONAL),
        (mel_filters(40, 256, slaney=False)[:, :, None], BANK),
    ],
)
def test_integers_are_judged_by_the_floats_that_they_stand_for(weight: Array, kind: str, axis: int | None) -> None:
    integers, scale = quantised(weight, axis)
    assert kind in (judged(integers, scale=scale) or "nothing")


RNG = np.random.default_rng(11)


@pytest.mark.parametrize(
    "weight",
    [
        RNG.choice([-1.0, 1.0], (64, 64, 3, 3)),
        RNG.choice([-1.0, 1.0], (256, 1, 3, 3)),
        RNG.choice([-1.0, 1.0], (32, 16, 1, 1)),
        RNG.choice([-0.125, 0.125], (128, 64, 1)),
        RNG.choice([-1.0, 0.0, 1.0], (64, 32, 3, 3)),
        RNG.choice([-1.0, 1.0], (64, 8, 3, 3)) * RNG.uniform(0.1, 1, (64, 1, 1, 1)),
        RNG.integers(-7, 8, (64, 16, 1, 1)),
        np.diag(RNG.uniform(0.5, 1.5, 64)).reshape(64, 64, 1, 1),  # a trained scale of each channel
        np.diag(RNG.choice([-0.5, 0.5, 1.0], 64)).reshape(64, 64, 1, 1),
        np.repeat(RNG.standard_normal((64, 1, 7, 7)), 3, axis=1),  # filters of grey images, made to take colours
        np.repeat(RNG.standard_normal((16, 1, 1, 7)), 4, axis=1),
        np.outer(RNG.standard_normal(64), RNG.standard_normal(64)).reshape(64, 64, 1),  # of rank one
        RNG.standard_normal((64, 64, 1)) + 5,
        np.abs(RNG.standard_normal((64, 64, 1))),
        np.maximum(RNG.standard_normal((40, 256, 1)), 0),
        RNG.choice(RNG.standard_normal(16), (64, 32, 3, 3)),  # 16 values in all: a palette
        np.linalg.qr(RNG.standard_normal((64, 64)))[0].reshape(64, 64, 1),  # an orthogonal start of training
        np.cumsum(RNG.standard_normal((32, 1, 512)), axis=2),  # smooth filters
    ],
)
def test_trained_weights_with_a_little_order_are_not(weight: Array) -> None:
    for dtype in (np.float32, np.float16):
        assert judged(weight, dtype=dtype) is None


def test_finetuned_bases_are_trained() -> None:
    basis = stft(128, hann(128))
    assert judged(basis) is not None
    assert judged(basis + 0.02 * RNG.standard_normal(basis.shape)) is None
    assert judged(diagonal(8, bilinear(4)) + 0.01 * RNG.standard_normal((8, 8, 4, 4)), "ConvTranspose") is None


def test_trained_integers_with_a_scale_of_one_are_not_whole_numbers() -> None:
    for shape in ((8, 4, 1, 1), (2, 4, 2, 2), (64, 32, 3, 3), (1, 16, 1, 1)):
        assert judged(RNG.integers(-127, 128, shape).astype(np.int8), scale=np.float32(1)) is None


@pytest.mark.parametrize("values", [np.zeros((8, 8, 3, 3)), np.zeros((0, 8, 1, 1)), np.full((4, 4, 1, 1), 0.0)])
def test_nothing_but_zeros_is_no_function(values: Array) -> None:
    assert judged(values) is None
    assert judged(values.astype(np.int8), scale=np.float32(1)) is None


def test_scales_of_zero_make_zeros() -> None:
    assert judged(np.ones((8, 8, 1, 1), np.int8), scale=np.float32(0)) is None


def test_huge_and_tiny_numbers_are_judged_without_a_warning() -> None:
    for size in (1e300, 1e-300):
        for shape in ((32, 16, 3, 3), (16, 16, 1, 1), (3, 3, 1, 1), (16, 1, 1, 8)):
            assert judged(size * RNG.standard_normal(shape), dtype=np.float64) is None


OPERATORS = st.sampled_from(
    [("Conv", 1, {}), ("ConvTranspose", 1, {}), ("MatMul", 1, {}), ("MatMul", 0, {}), ("Gemm", 1, {"transB": 1})]
)


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    operator=OPERATORS,
    sides=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    kernel=st.sampled_from([(1, 1), (1,), (3,), (3, 3), (2, 2), (1, 16)]),
    dtype=st.sampled_from([np.float32, np.float16]),
    scheme=st.sampled_from([(1, 1), (1, 2), (2, 4), (1, 4), (1, 8), (1, 16)]),
)
def test_random_weights_dense_or_pruned_are_never_fixed(
    seed: int,
    operator: tuple[str, int, dict[str, int]],
    sides: tuple[int, int],
    kernel: tuple[int, ...],
    dtype: Any,
    scheme: tuple[int, int],
) -> None:
    name, position, attributes = operator
    shape = (*sides, *kernel) if name.startswith("Conv") else sides
    weight = pruned(np.random.default_rng(seed).standard_normal(shape), *scheme, axis=name == "Conv")
    assert judged(weight, name, position=position, dtype=dtype, **attributes) is None


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 9)),
    scheme=st.sampled_from([(1, 1), (2, 4), (1, 8)]),
    axis=st.sampled_from([None, 0]),
)
def test_random_integers_are_never_fixed(
    seed: int, shape: tuple[int, ...], scheme: tuple[int, int], axis: int | None
) -> None:
    weight = np.random.default_rng(seed).standard_normal(shape)
    if weight.size < 4:
        return
    integers, scale = quantised(pruned(weight, *scheme, axis=1), axis)
    assert judged(integers, scale=scale) is None


def pruned(weight: Array, n: int, m: int, *, axis: int) -> Array:
    """N of every M along an axis, by magnitude; as many as are left at the end."""
    moved = np.moveaxis(weight, axis, -1).copy()
    for start in range(0, moved.shape[-1], m):
        group = moved[..., start : start + m]
        order = np.argsort(np.argsort(-np.abs(group), axis=-1), axis=-1)
        group[order >= n] = 0
    return np.moveaxis(moved, -1, axis)
