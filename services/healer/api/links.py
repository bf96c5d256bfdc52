"""Followed links: the page asks, its button acts; so what only looks at links changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter
from fastapi import Path as InPath
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader

from services.healer.notify.links import Link, LinkExpired, LinkRefused
from services.healer.people.acknowledgement import NotFound
from services.healer.people.link_actions import Click

if TYPE_CHECKING:
    from services.healer.api.app import Healer

Token = Annotated[str, InPath(max_length=2048)]


class _Answer(Exception):
    """There is nothing to ask or do: this page says why."""

    def __init__(self, status: int, headline: str, text: str) -> None:
        super().__init__(text)
        self.status, self.headline, self.text = status, headline, text


class _Followed:
    """What both methods of a link need."""

    def __init__(self, healer: Healer) -> None:
        self._healer = healer
        folder = Path(__file__).parent / "templates"
        self._pages = Environment(loader=FileSystemLoader(folder), autoescape=True)

    def page(
        self, status: int, headline: str, text: str, button: str = "", details: str = ""
    ) -> HTMLResponse:
        values = {"headline": headline, "text": text, "button": button, "details": details}
        return HTMLResponse(self._pages.get_template("link.html").render(values), status)

    def ask(self, token: str) -> HTMLResponse:
        link, click = self._read(token)
        with self._healer.unit() as unit:
            ctx = self._healer.context(unit.records)
            question, details = click.question(link, ctx), click.details(link, ctx)
        return self.page(200, question, "Nothing has been done yet.", click.button, details)

    def do(self, token: str) -> HTMLResponse:
        link, click = self._read(token)
        with self._healer.unit() as unit:
            said, messages = click.deed(link, self._healer.context(unit.records))
            unit.emit(*messages)
        self._healer.wake()
        return self.page(200, "Done", said)

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


def router(healer: Healer) -> APIRouter:
    """``/links/{token}``: GET asks, POST does."""
    routes = APIRouter(include_in_schema=False)
    followed = _Followed(healer)

    def answered(answer: Callable[[str], HTMLResponse], token: str) -> HTMLResponse:
        try:
            return answer(token)
        except _Answer as said:
            return followed.page(said.status, said.headline, said.text)
        except NotFound as error:
            return followed.page(410, "There is nothing left to do", f"{error}.")

    @routes.get("/links/{token}")
    def ask(token: Token) -> HTMLResponse:
        return answered(followed.ask, token)

    @routes.post("/links/{token}")
    def do(token: Token) -> HTMLResponse:
        return answered(followed.do, token)

    return routes
