"""Tests of what a mail looks like when it is read again."""

from __future__ import annotations

import email
import email.policy
import re
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from email.header import decode_header, make_header
from email.message import EmailMessage
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.healer.model.notice import Notice
from services.healer.notify.addresses import address
from services.healer.notify.channels.mail import Mail
from services.healer.notify.render.mail import build
from services.healer.notify.render.numbers import one_line, span
from services.healer.notify.render.title import title as subject
from services.healer.settings import HealerSettings
from shared.contracts.alerts import BandPoint, Point, SeriesRef
from shared.contracts.remediation import EvidenceRow, EvidenceTable
from shared.quantity import quantity

NOW = datetime(2026, 1, 1, 10, 0, tzinfo=UTC)
MS = int(NOW.timestamp() * 1000)
HOUR = 3_600_000
KINDS = get_args(Notice.model_fields["kind"].annotation)
NASTY = "x\r\nBcc: all@example.org\r\n\r\n<script>alert(1)</script> \u202eü"


_DRAWN_OF = (
    *("series", "unit", "threshold", "above", "crossing_ms"),
    *("recent", "band", "remediation", "after"),
)
"""The fields of a notice that its plot shows."""
_DRAWN: dict[str, dict[str, bytes]] = {}


@pytest.fixture(autouse=True, scope="module")
def _draw_each_plot_once() -> Iterator[None]:
    """Drawing takes most of a mail's time, and most mails here have the same plot."""
    from services.healer.notify.render import plot

    draw = plot.pngs

    def drawn(content: Notice) -> dict[str, bytes]:
        key = repr([getattr(content, name) for name in _DRAWN_OF])
        if key not in _DRAWN:
            _DRAWN[key] = draw(content)
        return _DRAWN[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plot, "pngs", drawn)
        yield


def notice(**changes: Any) -> Notice:
    values: dict[str, Any] = {
        "message_id": "a.2@barograph",
        "thread_id": "a.1@barograph",
        "kind": "predicted",
        "severity": "critical",
        "family": "disk",
        "series": SeriesRef(host="host17", item="df.bytes.used.percent", labels={"mount": "/log"}),
        "value": 80.2,
        "unit": "percent",
        "threshold": 90.0,
        "sentence": "it grows steadily",
        "crossing_ms": MS + 20 * HOUR,
        "earliest_ms": MS + 16 * HOUR,
        "latest_ms": None,
        "predicted_value": 99.5,
        "recent": tuple(Point(time_ms=MS - k * HOUR, value=80 - k) for k in range(30, 0, -1)),
        "band": tuple(
            BandPoint(time_ms=MS + k * HOUR, mean=80 + k, lower=79, upper=82 + k)
            for k in range(1, 20)
        ),
        "evidence_title": "Biggest directories",
        "evidence": (EvidenceRow(columns={"path": "/log/app", "size": "9 GiB"}),),
        "actions": ("clean-logs did 3 steps",),
        "suggested_command": "du -xh -- /log",
        "at": NOW,
    }
    return Notice.model_validate(values | changes)


def reread(content: Notice) -> EmailMessage:
    raw = build(
        content, "Barograph <b@example.org>", ("a@example.org", "c@example.org"), "http://x/"
    )
    parsed = email.message_from_bytes(raw.as_bytes(), policy=email.policy.default)
    assert isinstance(parsed, EmailMessage)
    return parsed


def part(mail: EmailMessage, kind: str) -> Any:
    (found,) = [
        p
        for p in mail.walk()
        if p.get_content_type() == kind
        and p.get_filename() not in {"evidence.txt", "plot-dark.png"}
    ]
    return found.get_content()


def text_of(mail: EmailMessage) -> str:
    return str(part(mail, "text/plain")).replace("\r", "")


def test_a_prediction_says_everything_a_person_needs() -> None:
    mail = reread(notice())
    assert mail["Subject"] == (
        "[critical] predicted: df.bytes.used.percent of /log on host17 is 80.2 % and reaches 90 % "
        "in 20 h; please look before 02:00:00 UTC"
    )
    text = part(mail, "text/plain")
    wanted = (
        "host17",
        "mount=/log",
        "80.2 %",
        "above 90 %",
        "99.5 %",
        "2026-01-02 06:00:00 UTC",
        "not before 2026-01-02 02:00:00 UTC",
        "it grows steadily",
        "clean-logs did 3 steps",
        "du -xh -- /log",
        "9 GiB",
        "http://x/",
    )
    assert [words for words in wanted if words not in text] == []
    assert [words for words in wanted if words not in part(mail, "text/html")] == []


def test_the_plot_is_inside_the_page() -> None:
    mail = reread(notice())
    assert [p.get_content_type() for p in mail.walk()] == [
        "multipart/alternative",
        "text/plain",
        "multipart/related",
        "text/html",
        "image/png",
        "image/png",
    ]
    picture = part(mail, "image/png")
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", picture[16:24]) == (880, 426)
    pictures = [p for p in mail.walk() if p.get_content_type() == "image/png"]
    assert [p["content-id"] for p in pictures] == ["<plot>", "<plot-dark>"]
    assert [f'src="cid:{name}"' in part(mail, "text/html") for name in ("plot", "plot-dark")]
    assert part(reread(notice(value=1, recent=notice().recent[:9])), "image/png") != picture


def test_without_points_there_is_no_plot_and_no_broken_picture() -> None:
    mail = reread(notice(recent=(), band=()))
    assert "image/png" not in [p.get_content_type() for p in mail.walk()]
    assert "cid:" not in part(mail, "text/html")


def rows(count: int, name: str) -> tuple[EvidenceRow, ...]:
    return tuple(
        EvidenceRow(columns={"what": f"{name}-{n:02d}", "why": "w" * 90}) for n in range(count)
    )


def test_every_look_at_the_machine_is_shown_in_part_and_attached_whole() -> None:
    kernel = EvidenceTable(title="Kernel messages", rows=rows(7, "oom"), truncated=True)
    started = EvidenceTable(title="Started lately", rows=rows(5, "cron"))
    mail = reread(notice(evidence=rows(12, "dir"), evidence_more=(kernel, started)))
    (attached,) = mail.iter_attachments()
    assert attached.get_filename() == "evidence.txt"
    whole = attached.get_content()
    for kind in ("text/plain", "text/html"):
        text = part(mail, kind)
        for name, total, most in (("dir", 12, 10), ("oom", 7, 5), ("cron", 5, 5)):
            seen = [number for number in range(total) if f"{name}-{number:02d}" in text]
            assert seen == list(range(most))
            assert whole.count(f"{name}-") == total
        assert text.count("and 2 more, in the attached evidence") == 2
    assert "Kernel messages (cut short):" in whole
    assert "Kernel messages (cut short)" in part(mail, "text/html")
    assert "w" * 90 in whole, "cells are not cut as in the mail"
    small = reread(notice(evidence=rows(10, "dir"), evidence_more=(started,)))
    assert list(small.iter_attachments()) == []


@pytest.mark.parametrize(
    ("changes", "heading"),
    [
        ({}, "To look closer"),
        ({"planned": True}, "To repair it"),
        ({"planned": True, "approval_id": "a"}, "What approving runs"),
    ],
)
def test_what_the_command_is_for_is_said(changes: dict[str, Any], heading: str) -> None:
    mail = reread(notice(suggested_command="kill -TERM 1\nkill -TERM 2", **changes))
    assert f"{heading}:\n  kill -TERM 1\n  kill -TERM 2\n" in text_of(mail)
    assert f">{heading}<" in part(mail, "text/html")


def test_where_a_remediation_brought_the_value_is_said_and_drawn() -> None:
    before = notice(kind="handled", remediation="clean-logs")
    after = notice(
        kind="handled", remediation="clean-logs", after=Point(time_ms=MS + HOUR, value=11.5)
    )
    assert "After clean-logs  11.5 %" in text_of(reread(after))
    assert part(reread(after), "image/png") != part(reread(before), "image/png")
    assert "du -xh" not in text_of(reread(after)), "there is nothing to look at any more"


def test_long_paths_lose_their_middle_and_long_columns_stand_last() -> None:
    path = f"/srv/{'deep/' * 30}app.log"
    row = EvidenceRow(columns={"path": path, "size": "9 GiB", "container": "c1"})
    text = text_of(reread(notice(evidence=(row,))))
    (line,) = [line for line in text.splitlines() if "9 GiB" in line]
    assert line.split()[:3] == ["9", "GiB", "c1"]
    assert line.endswith("app.log")
    assert len(line.split()[-1]) == 60
    command = EvidenceRow(columns={"command": f"{path} --serve {'x' * 90}"})
    assert "  …/app.log --serve xxxx" in text_of(reread(notice(evidence=(command,))))


def test_an_incidents_mails_are_one_thread() -> None:
    first, second = reread(notice(message_id="a.1@barograph", thread_id="")), reread(notice())
    assert first["In-Reply-To"] is None
    assert second["In-Reply-To"] == second["References"] == first["Message-ID"]
    assert first["Auto-Submitted"] == "auto-generated"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_its_subject(kind: str) -> None:
    assert len({subject(notice(kind=k)) for k in KINDS}) == len(KINDS)
    mail = reread(notice(kind=kind))
    assert mail["Subject"].startswith("[critical] ")
    assert mail["X-Barograph-Alert"] == f"{kind} critical disk"


def test_nothing_in_a_notice_becomes_a_header_or_markup() -> None:
    series = SeriesRef.model_construct(host=NASTY, item=NASTY, labels={"mount": NASTY})
    nasty = notice().model_copy(
        update={
            "series": series,
            "family": NASTY,
            "sentence": NASTY,
            "evidence_title": NASTY,
            "evidence": (EvidenceRow(columns={NASTY: NASTY}),),
            "evidence_note": NASTY,
            "evidence_more": (EvidenceTable(title=NASTY, rows=rows(6, NASTY)),),
            "actions": (NASTY,),
            "suggested_command": NASTY,
            "unit": NASTY,
        }
    )
    mail = reread(nasty)
    assert mail["Bcc"] is None
    assert "\n" not in mail["Subject"]
    assert "<script>" not in part(mail, "text/html")
    assert "ü" in part(mail, "text/plain")
    assert "\nBcc:" not in part(mail, "text/plain").replace("\r", "")


def test_unknown_and_infinite_numbers_are_said_not_drawn() -> None:
    values = (float("nan"), float("inf"), 1.0, 2.0)
    recent = tuple(Point(time_ms=MS + k, value=value) for k, value in enumerate(values))
    mail = reread(notice().model_copy(update={"value": float("nan"), "recent": recent}))
    assert "unknown" in part(mail, "text/plain")


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (93.123, "percent", "93.1 %"),
        (1536.0, "bytes", "1.5 KiB"),
        (3 * 2**30, "bytes per second", "3 GiB per second"),
        (123456.7, "sockets", "123\u202f457 sockets"),
        (0.5, "", "0.5"),
        (1.7976931348623157e308, "", "1.8e+308"),
    ],
)
def test_quantities(value: float, unit: str, words: str) -> None:
    assert quantity(value, unit) == words


def test_spans() -> None:
    from datetime import timedelta

    assert span(timedelta(hours=3, minutes=20, seconds=5)) == "3 h 20 min"
    assert span(timedelta(days=2, minutes=1)) == "2 d 1 min"
    assert span(timedelta()) == "0 s"


BARE = notice(recent=(), band=())
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=180)


@given(TEXTS)
def test_every_subject_is_decoded_to_itself_and_its_words_keep_to_the_standard(text: str) -> None:
    shown = one_line(text) or "x"
    raw = build(BARE, "b@example.org", ("a@example.org",), heading=shown).as_bytes()
    head = raw.partition(b"\r\n\r\n")[0]
    assert head.isascii()
    assert email.message_from_bytes(raw, policy=email.policy.default)["Subject"] == shown
    words = re.findall(rb"=\?utf-8\?.\?\S*?\?=", head)
    assert all(len(word) <= 75 for word in words)
    coded = [one for one in head.split(b"\r\n") if b"=?utf-8?" in one]
    assert all(len(one) <= 76 for one in coded)


def test_a_recipients_name_in_another_alphabet_keeps_to_the_standard() -> None:
    name = "Дежурная смена центра обработки данных на Васильевском острове"
    raw = build(BARE, f"{name} <b@example.org>", (f"{name} <ops@bücher.example>",)).as_bytes()
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    # Python's newer parser puts spaces between adjacent words, which RFC 2047 forbids.
    shown = str(make_header(decode_header(email.message_from_bytes(raw)["To"])))
    assert shown.startswith(f"{name} <")
    assert mail["To"].addresses[0].addr_spec == "ops@xn--bcher-kva.example"
    coded = [one for one in raw.partition(b"\r\n\r\n")[0].split(b"\r\n") if b"=?" in one]
    assert all(len(one) <= 76 for one in coded)


ADDRESSES = [
    *("ops@example.org", "Büro <ops@bücher.example>", '"Ops, Team" <ops@example.org>', "a@b.c"),
    *("büro@example.org", ".a@example.org", "a..b@example.org", "ops@example.org.", "a@b@c"),
    *("@example.org", "a@", "a", "", "Ops, Team <o@example.org>", "a\r\nBcc: b@example.org"),
    *("a@" + "x" * 300 + ".example", "a@ä..example", "a@" + "ä" * 70 + ".example", "<>", "a b@c"),
]


@pytest.mark.parametrize("text", ADDRESSES)
def test_an_address_that_is_accepted_is_one_that_a_mail_can_be_sent_to(text: str) -> None:
    """Otherwise the settings are fine, and every notice is lost."""
    for make in (lambda: Mail(name="m", to=(text,)), lambda: HealerSettings(mail_from=text)):
        try:
            make()
        except ValidationError:
            with pytest.raises(ValueError, match="no mail address"):
                address(text)
        else:
            raw = build(BARE, text, (text,)).as_bytes()
            back = email.message_from_bytes(raw, policy=email.policy.default)["To"].addresses
            assert [one.addr_spec for one in back] == [address(text).addr_spec]
            assert address(text).addr_spec.isascii()


def test_no_machine_answers_a_mail() -> None:
    mail = reread(notice())
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["X-Auto-Response-Suppress"] == "OOF, AutoReply"
