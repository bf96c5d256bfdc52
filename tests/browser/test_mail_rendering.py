"""Mails as a person sees them: rendered by a real browser, with no address but the mail's own."""

from __future__ import annotations

import base64
import os
import struct
from collections.abc import Iterator
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path

import pytest

from services.healer.model.notice import Line, Notice, Summary
from services.healer.notify.links import LinkMaker, Links
from services.healer.notify.render.mail import build
from shared.contracts.alerts import SeriesRef, Severity
from shared.contracts.remediation import EvidenceRow, EvidenceTable
from tests.browser.test_page import Browser
from tests.unit.healer.stories import STORIES
from tests.unit.healer.test_mail import NOW, notice

LINKS = LinkMaker(Links([b"k" * 32]), "https://barograph.example.org", timedelta(hours=24))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    made = Browser()
    made.start()
    yield made
    made.stop()


def line(number: int, **changes: object) -> Line:
    values = {
        "incident_id": f"i{number}",
        "kind": "firing",
        "family": "other",
        "value": 9.0 + number,
        "severity": Severity.CRITICAL if number % 3 == 0 else Severity.WARNING,
        "series": SeriesRef(host=f"web-{number}", item="app.errors", labels={"rack": "r7"}),
        "sentence": "more errors than usual",
        "since": NOW,
    }
    return Line.model_validate(values | changes)


def alarm() -> Notice:
    rows = tuple(
        EvidenceRow(columns={"path": f"/log/app/{n}", "size": f"{9 - n} GiB", "age": f"{n} d"})
        for n in range(5)
    )
    kernel = EvidenceTable(
        title="Kernel messages",
        rows=tuple(
            EvidenceRow(
                columns={"at": f"{n} s after boot", "level": "err", "message": f"I/O {n} " * 9}
            )
            for n in range(7)
        ),
    )
    return notice(
        incident_id="i0",
        evidence=rows,
        evidence_more=(kernel,),
        planned=True,
        approval_id="a1",
        also=(line(1), line(2)),
        attached=(line(3, cause="i0"),),
        attached_total=14,
        actions=("clean-logs did 3 steps, 210.4 MB in all.", "archive /log/app/old.log (70 MB)"),
    )


def storm() -> Summary:
    return Summary(
        message_id="s.1@barograph",
        kind="storm",
        severity=Severity.CRITICAL,
        headline="264 alerts on 204 machines",
        sentences=("Since 10:00:00 UTC more alerts came than people are notified of one by one.",),
        counts=(("firing warning app.errors", 200), ("firing critical switch.up", 4)),
        listed=12,
        rows=tuple(line(n) for n in range(264)),
        attached={"i0": 50, "i1": 50},
        at=NOW,
    )


def as_page(mail: EmailMessage, path: Path) -> str:
    """Return what a mail program shows: the HTML, with the picture from inside the mail."""
    html = mail.get_body(("html",))
    assert html is not None
    page = str(html.get_content())
    assert page.count("http") == page.count("https://barograph.example.org"), "nothing from outside"
    for part in mail.walk():
        if part.get_content_type() == "image/png":
            picture = base64.b64encode(part.get_content()).decode()
            name = str(part["content-id"]).strip("<>")
            page = page.replace(f'"cid:{name}"', f'"data:image/png;base64,{picture}"')
    path.write_text(page)
    return path.as_uri()


@pytest.mark.parametrize("kind", ["alarm", "storm"])
def test_a_mail_is_drawn_whole(kind: str, browser: Browser, tmp_path: Path) -> None:
    told = alarm() if kind == "alarm" else storm()
    mail = build(told, "b@example.org", ("ann@example.org",), links=LINKS)
    browser.open(as_page(mail, tmp_path / "mail.html"))
    seen = browser.text()
    wanted = {
        "alarm": (
            "Acknowledge",
            "Silence",
            "/log/app/0",
            "9 GiB",
            "web-1",
            "14 alerts follow",
            "Kernel messages",
            "and 2 more, in the attached evidence",
            "du -xh -- /log",
            "clean-logs did 3 steps",
        ),
        "storm": ("264 alerts on 204 machines", "web-11", "50", "and 252 more", "switch.up"),
    }[kind]
    assert [words for words in wanted if words not in seen] == []
    assert browser.run("return document.documentElement.scrollWidth <= window.innerWidth")
    broken = "return [...document.images].filter(i => !i.complete || i.naturalWidth < 100).length"
    assert browser.run(broken) == 0
    assert browser.run("return document.images.length") == (2 if kind == "alarm" else 0)
    assert browser.run(_SHOWN) == ("plot" if kind == "alarm" else "")
    browser.picture(tmp_path / f"{kind}.png")
    width, height = struct.unpack(">II", (tmp_path / f"{kind}.png").read_bytes()[16:24])
    assert (width, height) > (800, 500)


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("story", sorted(STORIES))
def test_a_storys_mail_fits_and_can_be_read_in_both_themes(
    story: str, scheme: str, width: int, browser: Browser, tmp_path: Path
) -> None:
    told = STORIES[story]()
    mail = build(told, "b@example.org", ("ann@example.org",), links=LINKS)
    browser.seen_as(width, scheme)
    try:
        browser.open(as_page(mail, tmp_path / "mail.html"))
        first = told.opening if isinstance(told, Notice) else told.sentences[0]
        assert first in " ".join(browser.text().split())
        assert browser.run("return document.documentElement.scrollWidth") <= width
        assert browser.run(_TORN) == [], "no column is so narrow that it tears words"
        assert browser.run(_FAINTEST) >= 4.5, "text stands out from what is behind it"
        plot = {"light": "plot", "dark": "plot-dark"}[scheme]
        assert browser.run(_SHOWN) == (plot if plot in browser.run(_PICTURES) else "")
        if folder := os.environ.get("BAROGRAPH_PICTURES"):
            browser.picture(Path(folder) / f"{story}-{scheme}-{width}.png")
    finally:
        browser.seen_as(1200, "light")


_PICTURES = "return [...document.images].map(image => image.className).join()"
_SHOWN = "return [...document.images].filter(i => i.offsetWidth).map(i => i.className).join()"
_TORN = """
const line = document.createElement('canvas').getContext('2d');
return [...document.querySelectorAll('td, th')].filter(e => {
  const style = getComputedStyle(e);
  const shown = e.clientWidth > 0 && style.display === 'table-cell';
  if (!shown || !e.innerText.trim()) return false;
  line.font = style.font;
  const words = e.innerText.split(/[\\s\\/=.-]+/).filter(word => word.length < 15);
  return Math.max(0, ...words.map(word => line.measureText(word).width)) > e.clientWidth;
}).map(e => e.innerText);
"""
"""The cells whose words stand in parts below each other."""

_FAINTEST = """
const light = c => c.map(v => v / 255).map(
  v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
const shine = c => { const [r, g, b] = light(c); return 0.2126 * r + 0.7152 * g + 0.0722 * b };
const parts = text => text.match(/[0-9.]+/g).map(Number);
const behind = e => {
  for (; e; e = e.parentElement) {
    const c = parts(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c.slice(0, 3);
  }
  return [255, 255, 255];
};
let faintest = 21;
for (const e of document.querySelectorAll('p, td, th, h1, h2, li, a, pre')) {
  if (!e.innerText.trim()) continue;
  const [a, b] = [shine(parts(getComputedStyle(e).color).slice(0, 3)), shine(behind(e))];
  faintest = Math.min(faintest, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
}
return faintest;
"""
"""The lowest contrast of any text with its background, as WCAG counts it."""
