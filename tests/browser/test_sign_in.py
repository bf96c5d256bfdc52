"""People sign in at a certified OpenID Connect provider with a real browser, and out again."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.client.alerts.model import AlertModel
from services.client.api.app import create_app
from services.client.logs import Followers, Logs
from services.client.model import ReadModel
from services.client.questions import Questions
from services.client.settings import ClientSettings
from shared.embedded.process import LOOPBACK, free_ports
from shared.service.http import HttpServer
from shared.storage import MemoryStore
from shared.store import Store
from tests.browser.test_alert_pages import Silent
from tests.browser.test_page import Browser, until
from tests.foreign import node_root

SECRET = "s3cret"
GROUPS = {"ops": {"role": "operator", "projects": ["vision"]}, "guests": {"role": "viewer"}}
PROGRAM = Path(__file__).parents[1] / "node" / "identity_provider.mjs"


@contextmanager
def provider(port: int, console: str) -> Iterator[str]:
    command = ["node", str(PROGRAM), str(port), "barograph", SECRET, console]
    environment = dict(os.environ) | {"BAROGRAPH_NODE_ROOT": str(node_root())}
    program = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    )
    with program:
        assert program.stdout is not None
        assert program.stdin is not None
        while "listening" not in (line := program.stdout.readline()):
            assert line, "it ended before it listened"
        yield f"http://{LOOPBACK}:{port}"
        program.stdin.close()


@pytest.fixture(scope="module")
def console() -> Iterator[str]:
    port, own = free_ports(2)
    url = f"http://{LOOPBACK}:{own}"
    store, objects = Store("sqlite://"), MemoryStore()
    with provider(port, url) as issuer:
        settings = {"api_token": "root", "public_url": url, "groups": GROUPS}
        settings |= {"oidc_issuer": issuer, "oidc_client_id": "barograph"}
        model = ReadModel(store)
        app = create_app(
            ClientSettings.model_validate(settings | {"oidc_client_secret": SECRET}),
            Silent(),
            model,
            AlertModel(store),
            objects,
            Logs(model, objects, "barograph"),
            Followers(),
            Questions(Silent()),
        )
        server = HttpServer(app, LOOPBACK, own)
        server.start()
        yield url
        server.stop()
        store.close()


@pytest.fixture
def browser() -> Iterator[Browser]:
    made = Browser()
    made.start()
    yield made
    made.stop()


def press(browser: Browser, selector: str) -> None:
    assert browser.run(f"const e = document.querySelector({selector!r}); e?.click(); return !!e")


def sign_in(browser: Browser, console: str, name: str) -> None:
    browser.open(f"{console}/login")
    press(browser, "a[href='/login/oidc']")
    until(lambda: browser.count("input[name=login]"), 60)
    browser.run(
        f"document.querySelector('[name=login]').value = '{name}';"
        "document.querySelector('[name=password]').value = 'x'; return 1"
    )
    press(browser, "button[type=submit]")
    # The page before has such a button, too: pressed again, it would sign in twice.
    until(lambda: not browser.count("input[name=login]") and browser.count("button.login"))
    press(browser, "button[type=submit]")


def test_a_person_of_a_group_enters_with_its_role_and_leaves_at_the_provider_too(
    console: str, browser: Browser
) -> None:
    sign_in(browser, console, "ann")
    until(lambda: "Signed in as Ann (operator)" in browser.text(), 60)
    assert browser.run("return location.href").startswith(console)
    press(browser, "form.who button")
    until(lambda: browser.count("[value=yes], button[name=logout]"), 60)
    press(browser, "[value=yes], button[name=logout]")
    until(lambda: browser.run("return location.href") == f"{console}/login", 60)
    browser.open(f"{console}/alerts")
    assert "Sign in" in browser.text()


def test_each_person_has_the_name_and_the_role_that_the_provider_says(
    console: str, browser: Browser
) -> None:
    sign_in(browser, console, "vera")
    until(lambda: "Signed in as Vera (viewer)" in browser.text(), 60)


def test_who_is_of_no_group_with_rights_does_not_enter(console: str, browser: Browser) -> None:
    sign_in(browser, console, "eve")
    until(lambda: "group" in browser.text(), 60)
    browser.open(f"{console}/alerts")
    assert "Signed in" not in browser.text()
