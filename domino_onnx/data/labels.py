"""Labels of image files: from a list, or class numbers from the folders that they lie in."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from domino_onnx.errors import DataError
from domino_onnx.plurals import quantity

__all__ = ["labels_from_file", "labels_from_folders"]

_DELIMITERS = {".csv": ",", ".tsv": "\t"}


def labels_from_folders(root: Path, names: Sequence[PurePosixPath]) -> NDArray[np.int64]:
    """The place of each image's topmost folder among all folders under `root`, sorted by name.

    Raises
    ------
    DataError
        If an image lies in no folder.
    """
    folders = sorted(folder.name for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    classes = {folder: number for number, folder in enumerate(folders)}
    for name in names:
        if name.parts[0] not in classes:
            raise DataError(f"{root / name} lies in no class folder, and `labels` says that each image does")
    return np.array([classes[name.parts[0]] for name in names], np.int64)


def labels_from_file(
    file: Path, names: Sequence[PurePosixPath], *, any_labels: bool = False
) -> NDArray[np.int64] | NDArray[np.str_]:
    """The labels of a list of files and class numbers, a line each: .csv, .tsv, or .txt with a tab or spaces between.

    A first line whose label is no number is a heading. Files that aren't among `names` don't matter.

    Parameters
    ----------
    any_labels
        Whether labels may be text. They are where one of `names` has no class number; there is no heading then.

    Returns
    -------
    numpy.ndarray
        (names,) class numbers or text.

    Raises
    ------
    DataError
        If the list can't be read, a line isn't a file and its label, or an image isn't in it.
    """
    rows = list(_rows(file))
    wanted = set(names)
    if any_labels and any(len(row) == 2 and not _is_class(row[1]) and _name(row) in wanted for _, row in rows):
        return np.array(_in_order(file, rows, names))
    classes = [(number, row) for number, row in rows if not _is_heading(number, row)]
    for number, row in classes:
        if len(row) != 2 or not _is_class(row[1]):
            raise DataError(
                f"{file}, line {number}: that is no file and its class number (0, 1, ...). Only a metric of your own "
                "takes text"
            )
    return np.array([int(label) for label in _in_order(file, classes, names)], np.int64)


def _in_order(file: Path, rows: Sequence[tuple[int, Sequence[str]]], names: Sequence[PurePosixPath]) -> list[str]:
    """The label of each of `names`."""
    labels: dict[PurePosixPath, str] = {}
    for number, row in rows:
        if len(row) != 2:
            raise DataError(f"{file}, line {number}: that is no file and its label; quote labels with commas in a .csv")
        label = row[1]
        if labels.setdefault(_name(row), label) != label:
            raise DataError(f"{file}, line {number}: its file has another label in a line above")
    missing = [name for name in names if name not in labels]
    if missing:
        raise DataError(
            f"{file} has no label for {len(missing)} of {quantity(len(names), 'image')}, among them {missing[0]}; "
            "names are "
            "relative to the folder of images"
        )
    return [labels[name] for name in names]


def _name(row: Sequence[str]) -> PurePosixPath:
    return PurePosixPath(row[0].replace("\\", "/"))


def _is_class(label: str) -> bool:
    return label.isdecimal() and len(label) <= 9


def _is_heading(number: int, row: Sequence[str]) -> bool:
    return number == 1 and len(row) == 2 and not row[1].lstrip("-").isdecimal()


def _rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Lines that aren't empty, with their numbers, cut into their fields."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise DataError(f"there is no file {file}, which is to hold the labels") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise DataError(f"{file} is not a readable list of labels: {why}") from None
    delimiter = _DELIMITERS.get(file.suffix.lower(), "\t" if any("\t" in line for line in lines) else None)
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                row = line.rsplit(maxsplit=1) if delimiter is None else next(csv.reader([line], delimiter=delimiter))
            except csv.Error as error:
                raise DataError(f"{file}, line {number}: {error}") from None
            yield number, [field.strip() for field in row]
