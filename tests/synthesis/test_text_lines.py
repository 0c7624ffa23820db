"""Lines of text are drawn for inputs of that shape, and a recogniser of text reads something on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnxruntime import InferenceSession

from domino_onnx.synthesis import opening
from domino_onnx.synthesis.text_lines import draw_line, has_font, is_a_line

needs_font = pytest.mark.skipif(not has_font(), reason="Pillow isn't installed, or draws no fonts")


@pytest.mark.parametrize(
    ("height", "width", "line"),
    [
        (48, 320, True),  # PP-OCRv4
        (32, 100, True),  # CRNN (Shi et al. 2015)
        (48, 192, True),  # PP-OCR's classifier of directions
        (224, 224, False),
        (32, 32, False),
        (320, 48, False),
        (300, 1200, False),
        (1, 16000, False),
    ],
)
def test_what_has_the_shape_of_a_line(height: int, width: int, line: bool) -> None:
    assert is_a_line(height, width) == line


@needs_font
def test_a_seed_decides_a_line_and_others_differ() -> None:
    first, again, other = (draw_line(np.random.default_rng(seed), 48, 320) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).mean() > 5


def test_without_a_font_photographs_or_shapes_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    from domino_onnx.data import InputSpec
    from domino_onnx.synthesis.describe import InputDescription

    spec = InputSpec(name="x", dtype=np.dtype(np.float32), axes=("n", 3, 48, 320))
    image = InputDescription(spec=spec, kind="image", layout="NCHW")
    monkeypatch.setattr(opening, "has_photographs", lambda: True)
    for font, motif in ((True, "text"), (False, "photographs")):
        monkeypatch.setattr(opening, "has_font", lambda font=font: font)
        assert opening._motif(image, (3, 48, 320)) == motif
        assert opening._motif(image, (3, 224, 224)) == "photographs"
    monkeypatch.setattr(opening, "has_photographs", lambda: False)
    assert opening._motif(image, (3, 48, 320)) == "shapes"


@needs_font
def test_a_recogniser_reads_most_lines(shared: Path) -> None:
    """PP-OCRv4 finds characters, not only blanks (class 0), on nine lines of ten."""
    session = InferenceSession(shared / "models" / "ch_PP-OCRv4_rec_infer.onnx", providers=["CPUExecutionProvider"])
    drawn = np.stack([draw_line(np.random.default_rng(seed), 48, 320) for seed in range(20)])
    (answers,) = session.run(None, {"x": drawn / np.float32(127.5) - 1})
    read = (np.asarray(answers).argmax(-1) != 0).sum(axis=1)
    assert np.count_nonzero(read >= 2) >= 18
