"""A client of the healer's HTTP API: previews, silences, machines, rules, audit log."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx
import orjson

from services.client.settings import ClientSettings
from services.client.turns import TooManyError, Turns
from shared.client.connection import trusted

_TIMEOUT_S = 10.0
_GLANCE_S = 2.0
"""A page that can be drawn without the healer's answer does not wait longer for it."""
_AT_ONCE = 8
"""The most questions at one time. A healer that hangs must not take all threads that answer
requests."""
_MAX_PART = 300
"""The most characters of a name in a path; no id, machine or channel has a longer one."""


class HealerUnavailable(Exception):
    """The healer is unavailable, or this service does not know its address."""


class HealerRefused(Exception):
    """The healer refused the request; ``faults`` has a sentence for each fault."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


class HealerApi:
    """Asks with the healer's token, which no page shows."""

    def __init__(self, settings: ClientSettings) -> None:
        self._address = (settings.healer_api_url or settings.healer_url).rstrip("/")
        token = settings.healer_token.get_secret_value()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(
            headers=headers,
            timeout=_TIMEOUT_S,
            trust_env=False,
            verify=trusted(self._address),
        )
        self._turns = Turns(_AT_ONCE)
        self._hangs = threading.Event()
        self._probing = threading.Lock()
        self.known = bool(self._address and token)
        """True if there is a healer to ask."""

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def get(self, *path: str, **query: str | int | Sequence[str]) -> Any:
        """The healer's answer to a question; see ``ask``."""
        answer = self.ask("GET", *path, params=query)
        try:
            return answer.json()
        except (ValueError, RecursionError) as error:
            raise HealerUnavailable(f"what answers there is no healer: {error}") from error

    def glance(self, *path: str, **query: str | int | Sequence[str]) -> Any:
        """The answer to a question without which its page is drawn, too.

        Once one did not come in time, pages do not wait for any: they are refused at once until the
        healer answers again, which is found out beside them.

        Raises:
            HealerUnavailable: when it cannot be asked, or has not answered lately.
            HealerRefused: when it refuses.
        """
        if self._hangs.is_set():
            if self._probing.acquire(blocking=False):
                probe = partial(self._probe, path, query)
                threading.Thread(target=probe, name="healer-probe", daemon=True).start()
            raise HealerUnavailable("the healer has not answered lately")
        try:
            # A day of 300 machines is half a megabyte.
            return orjson.loads(self.ask("GET", *path, params=query, timeout=_GLANCE_S).content)
        except HealerUnavailable as error:
            if isinstance(error.__cause__, httpx.TimeoutException):
                self._hangs.set()
            raise

    def _probe(self, path: Sequence[str], query: Mapping[str, Any]) -> None:
        """Ask once, and note that the healer answers again if it does."""
        try:
            self.ask("GET", *path, params=query, timeout=_GLANCE_S)
        except HealerUnavailable as error:
            if isinstance(error.__cause__, httpx.TimeoutException):
                return  # it still hangs
        except HealerRefused:
            pass  # which is an answer
        finally:
            self._probing.release()
        self._hangs.clear()

    def ask(self, method: str, *path: str, **options: Any) -> httpx.Response:
        """The healer's answer to a request.

        Raises:
            HealerUnavailable: when it cannot be asked.
            HealerRefused: when it refuses.
        """
        if not self.known:
            raise HealerUnavailable(
                "the healer is not known here: set BAROGRAPH_CLIENT_HEALER_API_URL and HEALER_TOKEN"
            )
        if not all(map(_is_name, path)):
            raise HealerRefused(["there is nothing of that name"])
        way = "/".join(quote(part, safe="") for part in path)
        try:
            with self._turns.one():
                answer = self._http.request(method, f"{self._address}/api/v1/{way}", **options)
        except TooManyError:
            raise HealerUnavailable("it is slow, and too many questions wait for it") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise HealerUnavailable(f"the healer does not answer: {error}") from error
        if answer.is_client_error or answer.status_code == HTTPStatus.BAD_GATEWAY:
            raise HealerRefused(_faults(answer))
        if not answer.is_success:
            raise HealerUnavailable(f"the healer answered with status {answer.status_code}")
        return answer


def _is_name(part: str) -> bool:
    """Return whether it is safe in a path; names of dots alone lead elsewhere."""
    return 0 < len(part) <= _MAX_PART and not set(part) <= {"."}


def _faults(answer: httpx.Response) -> list[str]:
    try:
        body = answer.json()
        if "failed" in body:  # a channel's test, and what its other side said
            return [f"{name}: {why}" for name, why in body["failed"].items()]
        if "faults" not in body:
            return [str(body["detail"])]
        return [f"{each['field']} {each['problem']}".strip() for each in body["faults"]]
    except (ValueError, LookupError, TypeError, RecursionError):
        return [f"status {answer.status_code}"]
