"""One of Barograph's APIs over HTTP: answers as values, everything else as an exception."""

from __future__ import annotations

import json
import re
import ssl
import time
from collections.abc import Collection, Iterator
from functools import cache
from typing import Any, Self, TypeVar
from urllib.parse import quote

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
from shared.trust import UntrustedError, context
from shared.visible import visible

_TIMEOUT_S = 30.0
PAUSES_S = (0.5, 1.0, 2.0, 5.0, 10.0, 10.0)
"""The pauses before what broke off is continued: a server may be starting again."""
_MAX_BYTES = 256 * 2**20
"""An answer may be so large, unpacked; the largest page of jobs has a fifth of it."""
_TOKEN = re.compile(r"[!-~]+")
T = TypeVar("T")
_FAULTS = TypeAdapter(list[Fault])
_BY_STATUS: dict[int, type[ClientError]] = {
    400: BadInputError,
    404: NotFoundError,
    408: UnreachableError,
    422: BadInputError,
    429: UnreachableError,
    502: UnreachableError,
    503: UnreachableError,
    504: UnreachableError,
}


class Connection:
    """Requests to one API, over connections that are kept."""

    def __init__(self, where: Address) -> None:
        headers = {"Authorization": f"Bearer {where.token}"} if where.token else {}
        self._url = where.url
        if not where.url.startswith(("http://", "https://")):
            raise BadInputError(f"{where.url!r} is not an http address")
        if where.token and not _TOKEN.fullmatch(where.token):
            # httpx's own message repeats the token, into a terminal or a log of CI.
            text = "the token is not usable: it has spaces, line ends or letters that no token has"
            raise BadInputError(text)
        try:
            self._http = httpx.Client(
                base_url=where.url,
                headers=headers,
                timeout=_TIMEOUT_S,
                trust_env=False,
                verify=trusted(where.url),
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise BadInputError(f"the address is not usable: {error}") from None

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(
        self, method: str, path: str, *, accepted: Collection[int] = (), **options: Any
    ) -> Any:
        """Make a request below ``/api/v1``; returns its JSON answer, None for an empty one.

        Args:
            method: the HTTP method.
            path: what follows ``/api/v1``, with its leading slash.
            accepted: statuses of errors whose answers the caller reads.
            options: what httpx takes, such as ``params``, ``json`` and ``timeout``.

        Raises:
            ClientError: one of its kinds, for everything else.
        """
        answer = self.request(method, path, accepted=accepted, **options)
        if not answer.content:
            return None
        try:
            return answer.json()
        except (ValueError, RecursionError):
            raise self._stranger("no JSON") from None

    def ask(self, kind: type[T], method: str, path: str, **options: Any) -> T:
        """The JSON answer as a value of this type; otherwise as ``call``."""
        return self.read(kind, self.call(method, path, **options))

    def read(self, kind: type[T], answer: Any) -> T:
        """An answer as a value of this type.

        Raises:
            UnreachableError: it is none.
        """
        try:
            return TypeAdapter(kind).validate_python(answer)
        except ValidationError as error:
            place = ".".join(map(str, error.errors(include_url=False)[0]["loc"])) or "all of it"
            raise self._stranger(f"not this version's: {place}") from None

    def request(
        self, method: str, path: str, *, accepted: Collection[int] = (), **options: Any
    ) -> httpx.Response:
        """The whole response of a request that was not refused; arguments as for ``call``.

        Nothing leads on to another server.
        """
        answer = self._answer(method, path, accepted, options)
        self._stay(answer)
        return answer

    def location(self, path: str) -> str:
        """The address, in the object store, to which a path leads; our token is not for it."""
        answer = self._answer("GET", path, (), {})
        if not answer.headers.get("location"):
            raise self._stranger("it names no place of the file")
        return str(answer.headers["location"])

    def _answer(
        self, method: str, path: str, accepted: Collection[int], options: dict[str, Any]
    ) -> httpx.Response:
        if "json" in options:
            # In ASCII: an argument of a shell may hold bytes that are no text.
            options["content"] = json.dumps(options.pop("json"))
            options["headers"] = {"Content-Type": "application/json"}
        try:
            with self._http.stream(method, f"/api/v1{path}", **options) as began:
                answer = self._whole(began)
        except httpx.HTTPError as error:
            raise UnreachableError(f"{self._url} does not answer: {error}") from error
        except (httpx.InvalidURL, ValueError, OverflowError) as error:
            raise BadInputError(f"no address can be made of it: {error}") from error
        if answer.status_code not in accepted:
            _check(answer)
        return answer

    def _stay(self, answer: httpx.Response) -> None:
        if answer.has_redirect_location:
            place = answer.headers["location"][:200]
            text = f"{self._url} leads on to {place}; name the address that Barograph itself has"
            raise UnreachableError(text)

    def _whole(self, began: httpx.Response) -> httpx.Response:
        data = bytearray()
        for piece in began.iter_bytes():
            data += piece
            if len(data) > _MAX_BYTES:
                raise self._stranger(f"more than {_MAX_BYTES} bytes")
        headers = {k: v for k, v in began.headers.multi_items() if k != "content-encoding"}
        return httpx.Response(began.status_code, headers=headers, content=bytes(data))

    def _stranger(self, what: str) -> UnreachableError:
        return UnreachableError(f"what answers at {self._url} is not Barograph's API ({what})")

    def text(self, path: str, **options: Any) -> Iterator[str]:
        """The answer piece by piece."""
        try:
            with self._http.stream("GET", f"/api/v1{path}", **options) as answer:
                _check_streamed(answer)
                self._stay(answer)
                yield from answer.iter_text()
        except httpx.HTTPError as error:
            raise UnreachableError(f"{self._url} does not answer: {error}") from error

    def events(self, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """``(event, data)`` until the event ``end``; goes on after a broken connection."""
        position, begun, failures = "0", False, 0
        while True:
            problem = UnreachableError(f"{self._url} keeps breaking off")
            try:
                with self._http.stream(
                    "GET", f"/api/v1{path}", headers={"Last-Event-ID": position}
                ) as answer:
                    _check_streamed(answer)
                    self._stay(answer)
                    for number, event, data in _events(answer.iter_lines()):
                        position, begun, failures = number or position, True, 0
                        yield event, data
                        if event == "end":
                            return
            except httpx.HTTPError:
                pass  # the loop continues from the last event that came
            except UnreachableError as error:
                problem = error
            except ValueError:
                raise self._stranger("no events") from None
            failures += 1
            if not begun or failures > len(PAUSES_S):
                raise problem
            time.sleep(PAUSES_S[failures - 1])


def path_part(text: str) -> str:
    """One part of a path, whatever is in it.

    Raises:
        BadInputError: nothing can be named so.
    """
    if not text:
        raise BadInputError("an id is needed")
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise BadInputError(f"{visible(text)} is no id: it holds bytes that are no text") from None


def trusted(url: str) -> ssl.SSLContext | bool:
    """The authorities of the machine and of BAROGRAPH_CA_FILE; reading them takes a while."""
    if not url.lower().startswith("https:"):
        return False  # there is nothing to verify
    try:
        return _context()
    except UntrustedError as error:
        raise BadInputError(str(error)) from None


@cache
def _context() -> ssl.SSLContext:
    return context()


def _events(lines: Iterator[str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    number = event = ""
    for line in lines:
        name, _, value = line.partition(": ")
        if name == "id":
            number = value
        elif name == "event":
            event = value
        elif name == "data":
            data = json.loads(value)
            if not isinstance(data, dict):
                raise ValueError(f"{event} has no fields")
            yield number, event, data


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
        status = f"{answer.status_code} {answer.reason_phrase}"
        raise kind(f"{status}, without Barograph's words for it: check the address") from None
    raise kind("", faults)
