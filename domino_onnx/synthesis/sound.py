"""Made-up sounds: voices, noises, clicks and silences; and their spectrograms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from domino_onnx.synthesis.spectra import power_law_noise

__all__ = ["RATE", "draw_mel_energies", "draw_sound", "mel_filters"]

Floats = NDArray[np.float32]
RATE: Final = 16000
"""Samples a second, where nothing says otherwise."""
_SHORTEST, _LONGEST = 0.04, 0.6
"""Seconds of one event."""
_LEAST = 64
_FORMANTS: Final = ((250.0, 900.0), (800.0, 2500.0), (2000.0, 3500.0))
"""Where the first three resonances of a voice lie, in Hz (Peterson and Barney 1952)."""
_HARMONICS = 40
_WINDOW, _HOP = 0.025, 0.010
"""Seconds of a frame, and from one frame to the next."""


def draw_sound(generator: np.random.Generator, length: int, rate: int = RATE) -> Floats:
    """(length,) samples in -1 to 1: events of random kinds, one after another, over a little noise."""
    sound = power_law_noise(generator, 1, (max(length, 2),), 0.5)[0, :length] * _loudness(generator, -70, -40)
    start = 0
    while start < length:
        size = min(int(generator.uniform(_SHORTEST, _LONGEST) * rate), length - start)
        if size >= _LEAST:
            event = _EVENTS[int(generator.choice(len(_EVENTS), p=_SHARES))](generator, size, rate)
            sound[start : start + size] += event * _envelope(generator, size) * _loudness(generator, -30, -3)
        start += max(size, 1)
    clipped: Floats = np.clip(sound, -1, 1).astype(np.float32)
    return clipped


def draw_mel_energies(generator: np.random.Generator, frames: int, bins: int, rate: int = RATE) -> Floats:
    """(frames, bins) power of a drawn sound in windows of 25 ms every 10 ms, on the mel scale."""
    window, hop = int(_WINDOW * rate), int(_HOP * rate)
    sound = draw_sound(generator, window + hop * (frames - 1), rate)
    framed = np.lib.stride_tricks.sliding_window_view(sound, window)[::hop] * np.hanning(window).astype(np.float32)
    power = np.abs(np.fft.rfft(framed, axis=-1)) ** 2
    return (power @ mel_filters(bins, window, rate).T).astype(np.float32)


def mel_filters(bins: int, window: int, rate: int) -> NDArray[np.float64]:
    """(bins, window // 2 + 1) triangles of unit height, evenly on 2595 log10(1 + f / 700) (O'Shaughnessy 1987)."""
    highest = 2595 * np.log10(1 + rate / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, highest, bins + 2) / 2595) - 1)
    hertz = np.fft.rfftfreq(window, 1 / rate)
    left, middle, right = (corners[place : place + bins, None] for place in range(3))
    rising, falling = (hertz - left) / (middle - left), (right - hertz) / (right - middle)
    return np.maximum(np.minimum(rising, falling), 0)


def _voice(generator: np.random.Generator, size: int, rate: int) -> Floats:
    """Harmonics of a pitch that glides and trembles, louder near three formants."""
    time = np.arange(size) / rate
    pitch = np.exp(generator.uniform(np.log(70), np.log(500))) * 2 ** (generator.normal(0, 0.3) * time)
    pitch *= 1 + generator.uniform(0, 0.03) * np.sin(2 * np.pi * generator.uniform(4, 7) * time)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    number = np.arange(1, _HARMONICS + 1)[:, None]
    hertz = number * pitch.mean()
    gains = number**-1.0 * _resonance(generator, hertz) * (hertz < rate / 2)
    voice = np.sum(gains * np.sin(number * phase + generator.uniform(0, 2 * np.pi, (_HARMONICS, 1))), axis=0)
    return _normal(voice)


def _resonance(generator: np.random.Generator, hertz: NDArray[np.float64]) -> NDArray[np.float64]:
    peaks = (
        np.exp(-0.5 * ((hertz - generator.uniform(*formant)) / generator.uniform(60, 200)) ** 2)
        for formant in _FORMANTS
    )
    loudest: NDArray[np.float64] = np.maximum.reduce([*peaks])
    return 0.1 + loudest


def _noise_band(generator: np.random.Generator, size: int, rate: int) -> Floats:
    """Noise around one frequency, as of breath, wind and sibilants."""
    hertz = np.fft.rfftfreq(size, 1 / rate)
    middle = np.exp(generator.uniform(np.log(100), np.log(rate / 2)))
    shape = np.exp(-0.5 * (np.log((hertz + 1) / middle) / generator.uniform(0.1, 1.5)) ** 2)
    return _normal(np.fft.irfft(np.fft.rfft(generator.standard_normal(size)) * shape, n=size))


def _tone(generator: np.random.Generator, size: int, rate: int) -> Floats:
    """One pure tone, or some that sound together."""
    time = np.arange(size) / rate
    hertz = np.exp(generator.uniform(np.log(60), np.log(rate / 2.2), (int(generator.integers(1, 4)), 1)))
    return _normal(np.sum(np.sin(2 * np.pi * hertz * time + generator.uniform(0, 6)), axis=0))


def _clicks(generator: np.random.Generator, size: int, rate: int) -> Floats:
    """Pulses, each dying away within some ms."""
    decay = np.exp(-np.arange(min(size, rate // 100 + 1)) / (rate * generator.uniform(0.0002, 0.003)))
    pulses = np.zeros(size)
    pulses[generator.integers(0, size, int(generator.integers(1, 9)))] = 1
    return _normal(np.convolve(pulses, decay * generator.standard_normal(len(decay)))[:size])


def _silence(generator: np.random.Generator, size: int, rate: int) -> Floats:  # noqa: ARG001
    return np.zeros(size, np.float32)


_EVENTS: Final[tuple[Callable[[np.random.Generator, int, int], Floats], ...]] = (
    _voice,
    _noise_band,
    _tone,
    _clicks,
    _silence,
)
_SHARES: Final = (0.45, 0.2, 0.1, 0.1, 0.15)


def _envelope(generator: np.random.Generator, size: int) -> Floats:
    """From silence up and back down, each within a random share of the event."""
    places = np.linspace(0, 1, size, dtype=np.float32)
    rise, fall = generator.uniform(0.01, 0.4, 2)
    ramp: Floats = np.minimum(places / np.float32(rise), (1 - places) / np.float32(fall))
    return np.minimum(ramp, np.float32(1))


def _loudness(generator: np.random.Generator, low: float, high: float) -> np.float32:
    """A root mean square between two levels in decibels of full scale."""
    return np.float32(10 ** (generator.uniform(low, high) / 20))


def _normal(sound: NDArray[np.float64]) -> Floats:
    """The sound with a root mean square of 1."""
    scaled: Floats = (sound / (np.sqrt(np.mean(sound**2)) + 1e-9)).astype(np.float32)
    return scaled
