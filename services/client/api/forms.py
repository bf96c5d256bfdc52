"""Forms of the pages: who sent it, from which page, and its fields within bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import Depends, Request
from fastapi.responses import RedirectResponse

from services.client.api.faults import refusal
from services.client.sessions import CURRENT, Session
from shared.service.http import same

_MAX_FIELDS = 300
_LONGEST_WAY = 500


@dataclass(frozen=True)
class Form:
    """A form of a signed-in person."""

    session: Session
    fields: dict[str, list[str]]

    @property
    def by(self) -> str:
        """The person's name."""
        return self.session.name

    def text(self, name: str, most: int = 500) -> str:
        """The field's text; '' for none."""
        # Browsers end lines with a carriage return, which pages would show as a sign of its own.
        return self.fields.get(name, [""])[0].replace("\r\n", "\n").strip()[:most]

    def back(self, said: str, otherwise: str) -> RedirectResponse:
        """Return to the form's page, which then says what was done."""
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
    fields = fields_of(await request.body(), _MAX_FIELDS)
    if not same(fields.get("csrf", [""])[0], session.csrf):
        raise refusal(403, "this form is of another session; open the page again")
    return Form(session, fields)


def fields_of(body: bytes, most: int) -> dict[str, list[str]]:
    """The fields of a form's body.

    Raises:
        Refusal: when there are more than ``most``, or one that databases cannot hold.
    """
    try:
        fields = parse_qs(body.decode(errors="replace"), max_num_fields=most)
    except ValueError:
        raise refusal(422, f"a form has at most {most} fields") from None
    if any("\x00" in text for values in fields.values() for text in values):
        raise refusal(422, "a NUL character cannot be passed on")
    return fields


SentForm = Annotated[Form, Depends(sent)]
