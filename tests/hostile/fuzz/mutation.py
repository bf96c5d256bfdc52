"""Byte-wise mutations: what breaks in transit, and what breaks readers of numbers and lengths."""

from __future__ import annotations

import random

Parts = tuple[bytes, ...]

_WORDS = (
    b"\x00 \xff \xff\xff\xff\xff \x7f\xff\xff\xff \x80\x80\x80\x80\x80\x80\x80\x80\x80\x01 \\ud800 "
    b"null 1e999 -1 9223372036854775808 NaN [] {} [[[[ \" ' .. / %00 %2F \\u0000 true \xc3\x28 "
    b"\xe2\x80\xa8 \xef\xbb\xbf \xd9\xa3 0001-01-01T00:00:00Z 9999-12-31T23:59:59Z : [::1]:9 = =~ "
    b"{{ & *a $(X) \r\n \x1b]0;"
).split(b" ")
_LONG = (b"9" * 5_000, b"a" * 70_000, b"[" * 20_000, b'{"a":' * 2_000, b"\xc3\xa9" * 600)
_MAX_BYTES = 1 << 20


def mutated(
    chance: random.Random, parts: Parts, other: Parts, fixed: frozenset[int] = frozenset()
) -> Parts:
    """The input with one of its parts changed; now and then with that part of another one."""
    free = [number for number in range(len(parts)) if number not in fixed]
    at = chance.choice(free)
    changed = list(parts)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        changed[at] = _once(chance, changed[at], other[at] if at < len(other) else b"")
    return tuple(changed)


def _once(chance: random.Random, data: bytes, other: bytes) -> bytes:
    begin = chance.randrange(len(data) + 1)
    end = min(len(data), begin + chance.choice((0, 1, 2, 4, 8, 30)))
    kind = chance.randrange(8)
    if kind == 0:
        put = data[:begin] + chance.randbytes(end - begin) + data[end:]
    elif kind == 1:
        put = data[:begin] + chance.choice(_WORDS) + data[end:]
    elif kind == 2:
        put = data[:begin] + data[end:]
    elif kind == 3:
        put = data[:end] + data[begin:end] * chance.choice((1, 2, 50)) + data[end:]
    elif kind == 4:
        put = data[:begin]
    elif kind == 5:
        put = data[:begin] + other[chance.randrange(len(other) + 1) :]
    elif kind == 6 and chance.random() < 0.05:
        put = data[:begin] + chance.choice(_LONG) + data[end:]
    else:
        put = _flipped(chance, data)
    return put[:_MAX_BYTES]


def _flipped(chance: random.Random, data: bytes) -> bytes:
    if not data:
        return chance.randbytes(chance.randrange(20))
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 5))):
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)
