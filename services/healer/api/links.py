"""Links from mails: the page asks, its button acts, so link scanners change nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter
from fastapi import Path as InPath
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader

from services.healer.api.dependencies import Healer, Provided
from services.healer.notify.links import Link, LinkExpired, LinkRefused
from services.healer.people.acknowledgement import NotFound
from services.healer.people.link_actions import Click

routes = APIRouter(include_in_schema=False)
_PAGES = Environment(loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True)
Token = Annotated[str, InPath(max_length=2048)]


class _Answer(Exception):
    """The page to show instead of the question: there is nothing to confirm."""

    def __init__(self, status: int, headline: str, text: str) -> None:
        super().__init__(text)
        self.status, self.headline, self.text = status, headline, text


class _Followed:
    """The part of a link that both of its methods need."""

    def __init__(self, healer: Healer) -> None:
        self._healer = healer

    def ask(self, token: str) -> HTMLResponse:
        link, click = self._read(token)
        with self._healer.unit() as unit:
            ctx = self._healer.context(unit.records)
            question, details = click.question(link, ctx), click.details(link, ctx)
        return _page(200, question, "Nothing has been done yet.", click.button, details)

    def do(self, token: str) -> HTMLResponse:
        link, click = self._read(token)
        with self._healer.unit() as unit:
            said, messages = click.deed(link, self._healer.context(unit.records))
            unit.emit(*messages)
        self._healer.wake()
        return _page(200, "Done", said)

    def _read(self, token: str) -> tuple[Link, Click]:
        dead = "This link does not work"
        try:
            link = self._healer.links.read(token, self._healer.clock())
        except LinkExpired as error:
            text = f"{error}. A newer mail has newer links."
            raise _Answer(410, "This link is over", text) from error
        except LinkRefused as error:
            raise _Answer(404, dead, f"{error}.") from error
        click = self._healer.clicks.get(link.purpose)
        if click is None:
            raise _Answer(404, dead, "The healer does not offer this.")
        return link, click


def _page(
    status: int, headline: str, text: str, button: str = "", details: str = ""
) -> HTMLResponse:
    values = {"headline": headline, "text": text, "button": button, "details": details}
    return HTMLResponse(_PAGES.get_template("link.html").render(values), status)


def _answered(answer: Callable[[str], HTMLResponse], token: str) -> HTMLResponse:
    try:
        return answer(token)
    except _Answer as said:
        return _page(said.status, said.headline, said.text)
    except NotFound as error:
        return _page(410, "There is nothing left to do", f"{error}.")


@routes.get("/links/{token}")
def ask(healer: Provided, token: Token) -> HTMLResponse:
    """Ask whether the link's deed is wanted."""
    return _answered(_Followed(healer).ask, token)


@routes.post("/links/{token}")
def do(healer: Provided, token: Token) -> HTMLResponse:
    """Do what the link is for."""
    return _answered(_Followed(healer).do, token)
