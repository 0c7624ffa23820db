"""Changed copies of bytes: parts cut out, doubled, exchanged, and what is known to be hard put in."""

from __future__ import annotations

import random
from collections.abc import Sequence

__all__ = ["mutated"]

_HARD = (
    *(b"", b"\0", b"\xff\xfe", b"-1", b"0", b"1e999", b"NaN", b"null", b"true", b'""', b"{}", b"[]", b"[" * 2000),
    *(b"9" * 5000, b"18446744073709551616", b"-9223372036854775809", b"\\ud800", b"\xed\xa0\x80", b"../x", b"\n\n"),
    *(b"&a ", b"*a", b"<<: ", b"!!python/object/apply:os.getcwd []", b"'", b'"', b"\x80\x80\x80\x80\x08", b"|O8"),
)
_LONGEST = 64


def mutated(seeds: Sequence[bytes], seed: str) -> bytes:
    """One of the seeds with one to four changes; the same for the same `seed`."""
    draw = random.Random(seed)
    data = bytearray(draw.choice(seeds))
    for _ in range(draw.choice((1, 1, 2, 4))):
        start = draw.randrange(len(data) + 1)
        end = min(start + draw.randrange(1, _LONGEST), len(data))
        change = draw.randrange(6)
        if change == 0:
            data[start:start] = draw.choice(_HARD)
        elif change == 1:
            data[start:end] = draw.choice(_HARD)
        elif change == 2:
            del data[start:end]
        elif change == 3:
            data[start:start] = data[start:end] * draw.choice((1, 2, 50))
        elif change == 4:
            other = draw.choice(seeds)
            place = draw.randrange(len(other) + 1)
            data[start:end] = other[place : place + draw.randrange(_LONGEST)]
        elif data:
            data[min(start, len(data) - 1)] ^= 1 << draw.randrange(8)
    return bytes(data)
