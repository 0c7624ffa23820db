"""Which names may files have? ONNX Runtime opens no model, and a report holds no name, that isn't UTF-8."""

from __future__ import annotations

from pathlib import PurePath

from domino_onnx.errors import DominoError

__all__ = ["check_name"]


def check_name(name: PurePath | str, what: str, error: type[DominoError]) -> None:
    """Refuse a name that isn't UTF-8. Python has lone surrogates in place of its bytes.

    Parameters
    ----------
    what
        What has the name, as messages call it.

    Raises
    ------
    DominoError
        Of the class `error`.
    """
    try:
        str(name).encode()
    except UnicodeEncodeError:
        raise error(f"{what}: the name {str(name)!r} isn't UTF-8; give another name") from None
