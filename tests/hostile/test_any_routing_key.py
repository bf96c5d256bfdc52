"""Whatever names a contract takes, its message has a routing key within AMQP's bounds."""

from __future__ import annotations

import string
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.contracts import AlertChanged, SeriesRef
from shared.contracts.message import MAX_WORD, routing_word
from shared.messaging.limits import MAX_KEY_BYTES

_WORD = frozenset(string.ascii_letters + string.digits + "_-")


@settings(deadline=None)
@given(st.text(max_size=600))
def test_any_text_becomes_one_word_that_fits(text: str) -> None:
    word = routing_word(text)
    assert 0 < len(word) <= MAX_WORD
    assert set(word) <= _WORD


@settings(deadline=None)
@given(st.text("a", min_size=MAX_WORD + 1, max_size=300), st.text(max_size=5), st.text(max_size=5))
def test_long_names_that_begin_alike_stay_apart(begin: str, one: str, other: str) -> None:
    alike = routing_word(begin + one) == routing_word(begin + other)
    assert alike == (begin + one == begin + other)


def test_names_of_other_alphabets_stay_apart() -> None:
    names = ("температура", "温度", "θερμοκρασία", "unknown")
    assert len({routing_word(name) for name in names}) == 4


@pytest.mark.parametrize(("host", "family"), [("h" * 253, "f" * 512), ("h", "семья" * 100)])
def test_the_longest_alert_has_a_key(host: str, family: str) -> None:
    alert = AlertChanged.model_construct(
        state="acknowledged",
        severity="critical",
        family=family,
        series=SeriesRef.model_construct(host=host, item="i"),
        at=datetime.now(UTC),
    )
    key = alert.routing_key()
    assert len(key.encode()) <= MAX_KEY_BYTES
    assert len(key.split(".")) == 5
