"""Forms of the pages: who sent it, from which page, and its fields within bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import Depends, Request
from fastapi.responses import RedirectResponse

from services.client.api.faults import refusal
from services.client.sessions import CURRENT
from shared.service.http import same

_MAX_FIELDS = 300
_LONGEST_WAY = 500


@dataclass(frozen=True)
class Form:
    """A form of a signed-in person."""

    by: str
    fields: dict[str, list[str]]

    def text(self, name: str, most: int = 500) -> str:
        """The field's text; '' for none."""
        # Browsers end lines with a carriage return, which pages would show as a sign of its own.
        return self.fields.get(name, [""])[0].replace("\r\n", "\n").strip()[:most]

    def back(self, said: str, otherwise: str) -> RedirectResponse:
        """To the page the form stood on, which then says what was done."""
        way = self.text("back", _LONGEST_WAY)
        if not way.startswith("/") or way.startswith(("//", "/\\")) or not way.isprintable():
            way = otherwise
        mark = "&" if "?" in way else "?"
        return RedirectResponse(f"{way}{mark}said={said}", 303)


async def sent(request: Request) -> Form:
    """The request's form.

    Raises:
        Refusal: when nobody is signed in, or the form is not of this person's own page.
    """
    session = CURRENT.get()
    if session is None:
        raise refusal(403, "sign in at /login: decisions on the pages carry a person's name")
    body = (await request.body()).decode(errors="replace")
    try:
        fields = parse_qs(body, max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise refusal(422, f"a form has at most {_MAX_FIELDS} fields") from None
    if not same(fields.get("csrf", [""])[0], session.csrf):
        raise refusal(403, "this form is of another session; open the page again")
    return Form(session.name, fields)


SentForm = Annotated[Form, Depends(sent)]
