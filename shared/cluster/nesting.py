"""Reads the API server's JSON, parts of which any user may have written.

The server takes objects that are nested ten thousand deep, and a reader of JSON stops at a tenth of
that. A list with one such object is read all the same: what lies deeper than any manifest is cut
out of it.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

MAX_DEPTH = 200
"""Levels that are kept where there are too many; manifests have a dozen."""
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[\]{}]', re.DOTALL)
_OPENING = (b"[", b"{")


def parsed(data: bytes) -> Any:
    """The value.

    Raises:
        orjson.JSONDecodeError: when it is not JSON.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return orjson.loads(_cut(data))


def _cut(data: bytes) -> bytes:
    """The same with null instead of whatever lies deeper than ``MAX_DEPTH``."""
    kept: list[bytes] = []
    depth = begin = 0
    for found in _TOKEN.finditer(data):
        token = found[0]
        if token in _OPENING:
            depth += 1
            if depth == MAX_DEPTH + 1:
                kept += [data[begin : found.start()], b"null"]
        elif token in (b"]", b"}"):
            depth -= 1
            if depth == MAX_DEPTH:
                begin = found.end()
    return b"".join([*kept, data[begin:]])
