"""Signed links: who may do what, until when."""

from __future__ import annotations

import string
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.healer.notify.links import PURPOSES, Link, LinkExpired, LinkRefused, Links

NOW = datetime(2026, 1, 1, 10, 0, tzinfo=UTC)
KEY, OLD = b"k" * 32, b"o" * 32
LINK = Link("approve", "a" * 36, "Ann <ann@example.org>", NOW + timedelta(hours=4))


@pytest.mark.slow
@given(
    st.sampled_from(PURPOSES),
    st.text(max_size=100),
    st.text(max_size=100),
    st.datetimes(datetime(2027, 1, 1), datetime(2090, 1, 1)),
)
def test_what_was_signed_is_read(purpose, subject, by, until) -> None:
    link = Link(purpose, subject, by, until.replace(tzinfo=UTC, microsecond=0))
    assert Links([KEY]).read(Links([KEY]).sign(link), NOW) == link


def test_an_expired_link_is_told_from_a_false_one() -> None:
    token = Links([KEY]).sign(LINK)
    assert Links([KEY]).read(token, LINK.expires - timedelta(seconds=1)) == LINK
    with pytest.raises(LinkExpired, match="2026-01-01 14:00:00 UTC"):
        Links([KEY]).read(token, LINK.expires)


@given(st.data())
def test_no_changed_link_is_accepted(data) -> None:
    token = Links([KEY]).sign(LINK)
    place = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.sampled_from("abcXYZ019-_.=é"))
    changed = token[:place] + letter + token[place + 1 :]
    try:
        read = Links([KEY]).read(changed, NOW)
    except LinkRefused:
        return
    assert (read, changed) == (LINK, token)


@pytest.mark.parametrize("token", ["", ".", "a.b", "é.é", "=.=", "x" * 5000, "W10.W10"])
def test_rubbish_is_refused(token: str) -> None:
    with pytest.raises(LinkRefused):
        Links([KEY]).read(token, NOW)


def test_keys_are_changed_without_breaking_links_on_their_way() -> None:
    token = Links([OLD]).sign(LINK)
    assert Links([KEY, OLD]).read(token, NOW) == LINK
    with pytest.raises(LinkRefused, match="no longer used"):
        Links([KEY]).read(token, NOW)


def test_a_guessable_key_and_an_unknown_purpose_are_errors() -> None:
    with pytest.raises(ValueError, match="at least 16 bytes"):
        Links([b"short"])
    with pytest.raises(ValueError, match="no purpose 'delete'"):
        Links([KEY]).sign(Link("delete", "x", "y", NOW))


def test_the_address_is_one_path_below_the_public_one() -> None:
    url = Links([KEY]).url("https://b.example.org/healer/", LINK)
    prefix, _, token = url.rpartition("/")
    assert prefix == "https://b.example.org/healer/links"
    assert Links([KEY]).read(token, NOW) == LINK


def test_a_link_has_one_spelling() -> None:
    letters = string.ascii_letters + string.digits + "-_"
    token = Links([KEY]).sign(LINK)
    others = [token[:-1] + letter for letter in letters if letter != token[-1]]
    for other in [*others, f"{token}=", token.replace(".", "=.")]:
        with pytest.raises(LinkRefused):
            Links([KEY]).read(other, NOW)
