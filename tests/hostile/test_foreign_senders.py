"""Bodies and headers as clients in other languages write them: read, or refused in words."""

from __future__ import annotations

import codecs
from typing import Any

import pytest

from shared.contracts import HealingResume
from shared.messaging import Delivery, Reject, decode
from shared.messaging.envelope import PREFIX

RESUME = (
    b'{"switch_id": "00000000-0000-0000-0000-000000000001", "hosts": "*", "by": "ann", '
    b'"at": "2026-01-02T03:04:05Z"}'
)


def delivery(body: bytes, **headers: Any) -> Delivery:
    return Delivery("healer.orders", 1, "", "healing.resume", headers, "m", None, body)


@pytest.mark.parametrize("body", [RESUME, codecs.BOM_UTF8 + RESUME, RESUME + b"\r\n"])
def test_json_is_read_with_a_byte_order_mark_or_a_line_end(body: bytes) -> None:
    assert isinstance(decode(delivery(body)), HealingResume)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        RESUME + b"\0",
        RESUME.decode().encode("utf-16"),
        RESUME.replace(b"ann", b"\xfcn"),
        b"\x1f\x8b\x08" + RESUME,
        b"\xac\xed\x00\x05t\x00\x02{}",
        b"\x80\x04}.",
        b'"{}"',
        b"[" * 100_000,
        b'{"a":' + b"9" * 5_000 + b"}",
    ],
)
def test_what_is_no_json_of_ours_is_refused_in_words(body: bytes) -> None:
    with pytest.raises(Reject) as refused:
        decode(delivery(body))
    assert "healing.resume" in refused.value.reason


@pytest.mark.parametrize(
    "named", [b"healing.resume\xff", ["healing.resume"], {"a": 1}, True, 7, " healing.resume "]
)
def test_a_type_that_is_none_is_refused_by_name(named: Any) -> None:
    with pytest.raises(Reject, match="unknown message type"):
        decode(delivery(RESUME, **{PREFIX + "type": named}))
