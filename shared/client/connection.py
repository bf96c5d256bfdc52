"""One of Barograph's APIs over HTTP: answers as values, everything else as an exception."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from pydantic import TypeAdapter, ValidationError

from shared.client.addresses import Address
from shared.client.errors import (
    BadInputError,
    ClientError,
    NotFoundError,
    RefusedError,
    UnreachableError,
)
from shared.contracts import Fault

_TIMEOUT_S = 30.0
_FAULTS = TypeAdapter(list[Fault])
_BY_STATUS: dict[int, type[ClientError]] = {
    400: BadInputError,
    404: NotFoundError,
    422: BadInputError,
    502: UnreachableError,
    503: UnreachableError,
}


class Connection:
    """Requests to one API, over connections that are kept."""

    def __init__(self, where: Address) -> None:
        headers = {"Authorization": f"Bearer {where.token}"} if where.token else {}
        self._url = where.url
        if not where.url.startswith(("http://", "https://")):
            raise BadInputError(f"{where.url!r} is not an http address")
        try:
            self._http = httpx.Client(
                base_url=where.url, headers=headers, timeout=_TIMEOUT_S, trust_env=False
            )
        except (httpx.InvalidURL, ValueError) as error:  # a token beyond ASCII is a ValueError
            raise BadInputError(f"the address and the token are not usable: {error}") from None

    def close(self) -> None:
        """Give up what is kept."""
        self._http.close()

    def call(self, method: str, path: str, **options: Any) -> Any:
        """The JSON answer below /api/v1, None for an empty one.

        Args:
            method: HTTP's.
            path: what stands after /api/v1, with its first slash.
            options: httpx', such as ``params``, ``json`` and ``timeout``.

        Raises:
            ClientError: one of its kinds, for everything else.
        """
        answer = self.request(method, path, **options)
        if not answer.content:
            return None
        try:
            return answer.json()
        except ValueError:
            raise UnreachableError(f"{self._url} is not Barograph's API") from None

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """The answer that is no refusal, as HTTP has it."""
        if "json" in options:
            # In ASCII: an argument of a shell may hold bytes that are no text.
            options["content"] = json.dumps(options.pop("json"))
            options["headers"] = {"Content-Type": "application/json"}
        try:
            answer = self._http.request(method, f"/api/v1{path}", **options)
        except httpx.HTTPError as error:
            raise UnreachableError(f"{self._url} does not answer: {error}") from error
        except httpx.InvalidURL as error:
            raise BadInputError(f"no address can be made of it: {error}") from error
        _check(answer)
        return answer

    def text(self, path: str, **options: Any) -> Iterator[str]:
        """The answer piece by piece."""
        try:
            with self._http.stream("GET", f"/api/v1{path}", **options) as answer:
                _check_streamed(answer)
                yield from answer.iter_text()
        except httpx.HTTPError as error:
            raise UnreachableError(f"{self._url} does not answer: {error}") from error

    def events(self, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """``(event, data)`` until the event ``end``; goes on after a broken connection."""
        position, failures = "0", 0
        while failures < 5:  # noqa: PLR2004 - attempts without any news
            try:
                with self._http.stream(
                    "GET", f"/api/v1{path}", headers={"Last-Event-ID": position}
                ) as answer:
                    _check_streamed(answer)
                    for number, event, data in _events(answer.iter_lines()):
                        position, failures = number or position, 0
                        yield event, data
                        if event == "end":
                            return
            except httpx.HTTPError:
                pass  # the loop goes on from the last event that came
            failures += 1
        raise UnreachableError(f"{self._url} keeps breaking off")


def put_part(url: str, part: bytes) -> None:
    """Send a part of an upload to the object store, which our token is not for."""
    try:
        httpx.put(url, content=part, timeout=300, trust_env=False).raise_for_status()
    except httpx.HTTPStatusError as error:
        raise RefusedError(f"the object store refused a part: {error}") from error
    except httpx.HTTPError as error:
        text = f"upload interrupted, the same command continues it: {error}"
        raise UnreachableError(text) from error


def fetch(url: str, target: Path) -> tuple[int, str]:
    """Write what the object store has at ``url``, which our token is not for; size and SHA-256."""
    size, digest = 0, hashlib.sha256()
    try:
        with httpx.stream("GET", url, timeout=60, trust_env=False) as answer:
            answer.raise_for_status()
            with target.open("wb") as file:
                for piece in answer.iter_raw():
                    file.write(piece)
                    digest.update(piece)
                    size += len(piece)
    except httpx.HTTPStatusError as error:
        raise RefusedError(f"the object store refused {target.name}: {error}") from error
    except httpx.HTTPError as error:
        raise UnreachableError(f"{target.name} was not fetched whole: {error}") from error
    return size, digest.hexdigest()


def _events(lines: Iterator[str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    number = event = ""
    for line in lines:
        name, _, value = line.partition(": ")
        if name == "id":
            number = value
        elif name == "event":
            event = value
        elif name == "data":
            yield number, event, json.loads(value)


def _check_streamed(answer: httpx.Response) -> None:
    if answer.is_error:
        answer.read()
    _check(answer)


def _check(answer: httpx.Response) -> None:
    if not answer.is_error:
        return
    kind = _BY_STATUS.get(answer.status_code, RefusedError)
    try:
        faults = _FAULTS.validate_python(answer.json()["faults"])
    except (ValueError, KeyError, TypeError, ValidationError):
        raise kind(f"{answer.status_code} {answer.reason_phrase}") from None
    raise kind("", faults)
