"""Every page over a full store: how large it is, and that none is left out."""

from __future__ import annotations

import gzip
import io
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.routing import APIRoute

from bench.full_console import FullConsole
from bench.full_store import JOB
from bench.pages import sign_in
from services.client.api.app import _OF_PAGES
from shared.packages import pack
from shared.packages.folder import LEFT_OUT
from tests.browser.test_page import Browser, until

MAX_PAGE_BYTES = 60_000
"""A page after gzip; plots count, too, though they need not."""
_ELSEWHERE = {
    "/mail": "a mailbox is on one machine only, and its page shows the newest 50",
    "/login/oidc": "it leads away at once",
    "/login/oidc/callback": "the provider leads back to it, and it leads to the overview",
}
"""The pages that a store does not fill."""
_LIVE = re.compile(r'data-refresh="[1-9]')
SCRIPTS = Path(__file__).parents[2] / "services" / "client" / "static"


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FullConsole]:
    folder = tmp_path_factory.mktemp("full")
    # More than any page shows at once: 300 machines, 100 alerts, 50 jobs.
    with FullConsole(f"sqlite:///{folder}/client.db", 1_600) as made:
        yield made


@pytest.fixture(scope="module")
def browser(console: FullConsole) -> Iterator[Browser]:
    made = Browser()
    made.start()
    try:
        sign_in(made, console)
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def http(console: FullConsole) -> Iterator[httpx.Client]:
    with console.signed_in() as made:
        yield made


def test_no_page_is_larger_than_60_kilobytes_after_gzip(
    console: FullConsole, http: httpx.Client
) -> None:
    sizes = {}
    for page in console.pages():
        answer = http.get(page)
        assert answer.status_code == 200, page
        sizes[page] = len(gzip.compress(answer.content))
    large = {page: size for page, size in sizes.items() if size > MAX_PAGE_BYTES}
    assert large == {}
    assert len(http.get("/machines").text) > 100_000, "the store is full indeed"


def test_every_page_of_the_client_is_among_them(console: FullConsole) -> None:
    shown = {page.partition("?")[0] for page in console.pages()}
    routes = [r for router in _OF_PAGES for r in router.routes if isinstance(r, APIRoute)]
    missing = {
        route.path
        for route in routes
        if "GET" in route.methods
        and not route.path.startswith("/api/")
        and not any(route.path_regex.fullmatch(page) for page in shown)
    }
    assert missing == set(_ELSEWHERE) & missing
    assert "/machines/{name}" not in missing


def test_every_page_that_changes_is_live_and_every_list_is_filtered_by_its_address(
    console: FullConsole, http: httpx.Client
) -> None:
    text = {page: http.get(page).text for page in console.pages() if "offset" not in page}
    still = {page.partition("?")[0] for page, shown in text.items() if not _LIVE.search(shown)}
    # Forms keep what was typed; a job that ended and the older pages of a list do not change.
    assert still == {"/submit", "/silences/new", "/login", f"/jobs/{JOB}"}
    unfiltered = {
        page.partition("?")[0]
        for page, shown in text.items()
        if shown.count("<tr>") + shown.count("<li") > 60 and 'method="get"' not in shown
    }
    whole = {"/", f"/alerts/{console.alert}", f"/jobs/{JOB}", "/ledger", "/settings"}
    assert unfiltered == whole, "the overview, and pages of one thing"


@pytest.mark.parametrize("page", ["/alerts", "/forecasts", "/metrics"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_filter_leaves_the_phone_to_the_list_and_is_open_where_there_is_room(
    page: str, scheme: str, browser: Browser, console: FullConsole
) -> None:
    controls = "return [...document.querySelectorAll('.filter input')]"
    seen = (
        f"{controls}.filter((each) => each.checkVisibility({{contentVisibilityAuto: true}})).length"
    )
    top = (
        "return document.querySelector('main tbody tr, main .list li').getBoundingClientRect().top"
    )
    browser.open(f"{console.url}{page}")
    browser.seen_as(1280, scheme)
    assert browser.run(seen) >= 3
    browser.seen_as(390, scheme)
    assert browser.run(seen) == 0
    assert browser.run(top) < 500
    browser.run("document.querySelector('.filters summary').click(); return 1")
    until(lambda: browser.run(seen) >= 3)
    browser.open(f"{console.url}{page}?search=nothing-of-this-name")
    assert browser.run(seen) >= 3, "what is filtered by shows"


def test_no_word_of_an_alerts_state_is_broken(browser: Browser, console: FullConsole) -> None:
    browser.open(f"{console.url}/alerts")
    for width in (390, 768, 1024, 1280, 1920):
        browser.seen_as(width, "light")
        lines = (
            "return [...document.querySelectorAll('[data-label=State] small')]"
            ".filter((each) => /^\\w+$/.test(each.textContent.trim()))"
            ".map((each) => { const range = document.createRange(); range.selectNodeContents(each);"
            " return range.getClientRects().length; })"
        )
        found = browser.run(lines)
        assert found, "some are notified"
        assert set(found) == {1}, width


_ASIDE = """
const right = (cell) => getComputedStyle(cell).textAlign === 'right';
return [...document.querySelectorAll('main table')].flatMap((table) => {
  const row = table.querySelector('tbody tr');
  return [...table.querySelectorAll('thead th')].filter((head, n) => row?.children[n]
    && right(head) !== right(row.children[n]))
    .map((head) => head.textContent);
});
"""


def test_every_head_stands_over_its_column(browser: Browser, console: FullConsole) -> None:
    browser.seen_as(1440, "light")
    aside = {}
    for page in console.pages():
        browser.open(f"{console.url}{page}")
        aside[page] = browser.run(_ASIDE)
    assert {page: heads for page, heads in aside.items() if heads} == {}


def test_all_of_a_page_are_chosen_at_once(browser: Browser, console: FullConsole) -> None:
    chosen = "return document.querySelectorAll('.pick input:checked').length"
    for page in ("/alerts", "/jobs"):
        browser.open(f"{console.url}{page}")
        browser.run("document.querySelector('[data-all]').click(); return 1")
        assert browser.run(chosen) == browser.count(".pick input") > 1
        browser.run("document.querySelector('[data-all]').click(); return 1")
        assert browser.run(chosen) == 0


def test_the_own_script_has_at_most_300_lines() -> None:
    lines = [len(each.read_text().splitlines()) for each in SCRIPTS.glob("*.js")]
    assert 0 < sum(lines) <= 300


_MARKED = """
const kinds = 'a[href], button, input, select, textarea, summary, [tabindex="0"]';
const controls = [...document.querySelectorAll(kinds)]
  .filter((each) => each.checkVisibility() && each.type !== 'hidden' && !each.disabled);
controls.forEach((each, n) => { each.dataset.control = n; });
return controls.map((each) => each.outerHTML.slice(0, 100));
"""
_FOCUSED = """
const focused = document.activeElement;
return [focused.dataset.control ?? '', getComputedStyle(focused).outlineStyle];
"""


@pytest.mark.parametrize(
    "page", ["/", "/submit", "/silences/new", "/machines/web-0", "/channels", "ALERT", "SERIES"]
)
def test_the_tab_key_reaches_every_control_and_shows_where_it_is(
    page: str, console: FullConsole, browser: Browser
) -> None:
    series = next(each for each in console.pages() if each.startswith("/metrics/series"))
    way = {"ALERT": f"/alerts/{console.alert}", "SERIES": series}.get(page, page)
    browser.command("Emulation.setScriptExecutionDisabled", value=True)  # nothing is replaced
    try:
        browser.open(console.url + way)
        controls = browser.run(_MARKED)
        reached = {}
        for _ in range(len(controls) + 5):
            browser.press_key("Tab")
            control, outline = browser.run(_FOCUSED)
            reached[control] = outline
        missed = [html for n, html in enumerate(controls) if str(n) not in reached]
        assert missed == []
        unseen = [controls[int(n)] for n, outline in reached.items() if n and outline == "none"]
        assert unseen == []
    finally:
        browser.command("Emulation.setScriptExecutionDisabled", value=False)


def test_a_folder_and_an_archive_are_dropped_on_the_page(
    console: FullConsole, browser: Browser, tmp_path: Path
) -> None:
    folder = tmp_path / "digits"
    (folder / "code" / "parts").mkdir(parents=True)
    names = {"digits/code/train.py"} | {f"digits/code/parts/part_{n}.py" for n in range(130)}
    for name in names:
        (tmp_path / name).write_text(f"print({name!r})\n")
    archive = tmp_path / "digits.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(folder, "digits")
    progress = "return document.querySelector('[data-progress]').textContent"
    for dropped in (folder, archive):
        browser.open(f"{console.url}/submit")
        browser.drop_files("[data-upload]", dropped)
        until(lambda: browser.run(progress).startswith("uploaded, "), 60)
        stored = browser.run("return document.querySelector('[name=package]').value")
        content = console.objects.get("barograph", "/".join(stored.split(":")[1:]))
        with tarfile.open(fileobj=io.BytesIO(content)) as packed:
            files = {each.name: packed.extractfile(each) for each in packed if each.isfile()}
            assert files.keys() == names
            texts = {name: file.read().decode() for name, file in files.items() if file}
        assert texts == {name: f"print({name!r})\n" for name in names}
    browser.open(f"{console.url}/submit")
    browser.drop_files("[data-upload]", folder, archive)
    until(lambda: "drop one folder, or one archive" in browser.run(progress), 20)


def test_the_page_packs_of_a_folder_what_the_command_packs(
    console: FullConsole, browser: Browser, tmp_path: Path
) -> None:
    folder = tmp_path / "digits"
    for name in (
        "code/train.py",
        "code/train.pyc",
        "code/closed.pyc",
        "code/.venv/pyvenv.cfg",
        "code/.venv/bin/python",
        "code/envs/tf/conda-meta/history",
        "code/envs/tf/lib/x.py",
        f"code/{'long' * 60}.py",
        f"data/{'数' * 60}/{'据' * 70}/{'x' * 90}.csv",
        "results/old.csv",
        *(f"code/{each}/kept" for each in sorted(LEFT_OUT)),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{name}\n")
    with tarfile.open(pack(folder, tmp_path / "of-the-command.tar.gz").path) as packed:
        names = {each.name for each in packed if each.isfile()}
    assert len(names) == 4
    browser.open(f"{console.url}/submit")
    browser.drop_files("[data-upload]", folder)
    progress = "return document.querySelector('[data-progress]').textContent"
    until(lambda: browser.run(progress).startswith("uploaded, "), 60)
    stored = browser.run("return document.querySelector('[name=package]').value")
    content = console.objects.get("barograph", "/".join(stored.split(":")[1:]))
    with tarfile.open(fileobj=io.BytesIO(content)) as packed:
        files = {each.name: packed.extractfile(each) for each in packed if each.isfile()}
        assert files.keys() == names
        for name, file in files.items():
            assert file
            assert file.read().decode() == f"{name.removeprefix('digits/')}\n"
