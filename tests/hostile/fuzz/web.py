"""The three HTTP doors, with and without a token: below 500 whatever is asked, or a 503."""

from __future__ import annotations

import asyncio
import gzip
import io
import re
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
import schemathesis
from fastapi import FastAPI
from hypothesis import strategies as st
from starlette.types import Message, Scope

from services.client import handlers
from services.detector.gateway.http import make_app
from services.detector.gateway.ingest import Ingest
from services.detector.settings import Settings
from shared.contracts import JobFailed
from shared.messaging import Outgoing
from tests.hostile.fuzz.door import Door, ViolationError, drawn
from tests.hostile.fuzz.messages import healer
from tests.hostile.fuzz.mutation import Parts
from tests.hostile.fuzz.samples import NOW_MS, remote_writes
from tests.remote_write import V1, V2, compressed
from tests.unit.client.test_api import Desk, event

_TOKEN = "right"
_NO_TOKEN_NEEDED = re.compile(r"^(/static/|/login|/livez|/links/|/api/v1/openapi.json|/docs|/$)")
_UNFIT = re.compile(rb"[^\t\x20-\x7e\x80-\xff]")
"""What no HTTP server hands on in a header."""
_UNFIT_PATH = re.compile(rb"[^\x21-\x7e]|[?#]")


@schemathesis.serializer("application/gzip")
def _package(_context: object, value: Any) -> bytes:
    """A package with the drawn value as its program, so that it is looked into at all."""
    program = value if isinstance(value, bytes) else repr(value).encode("utf-8", "replace")
    member, packed = tarfile.TarInfo("code/main.py"), io.BytesIO()
    member.size = len(program)
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(member, io.BytesIO(program))
    return gzip.compress(packed.getvalue(), mtime=0)


def _inner(app: Any) -> FastAPI:
    """The application inside of what stands before it."""
    return app if isinstance(app, FastAPI) else _inner(app._app)


class Site:
    """An application as its server calls it, without a network."""

    def __init__(self, app: Any, *, token: bool, close: Callable[[], None] = lambda: None) -> None:
        self._app, self._token, self._close = app, token, close
        self._loop = asyncio.new_event_loop()
        document = FastAPI.openapi(_inner(app))
        schema = schemathesis.openapi.from_dict(document)
        self._strategies = [
            each.ok().as_strategy().map(self._parts) for each in schema.get_all_operations()
        ]

    def close(self) -> None:
        """Give back what it holds."""
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
        self._close()

    def _parts(self, case: Any) -> Parts:
        """Method, path, query, headers and body of what schemathesis would send."""
        arguments = case.as_transport_kwargs(base_url="http://127.0.0.1")
        known = ("method", "url", "headers", "params", "cookies", "data", "json", "files")
        given = {name: arguments[name] for name in known if arguments.get(name) is not None}
        try:
            request = requests.Request(**given).prepare()
        except (ValueError, requests.RequestException):
            return (b"GET", b"/", b"", b"", b"")
        url = urlsplit(str(request.url))
        headers = "\n".join(f"{name}:{value}" for name, value in request.headers.items())
        body = request.body or b""
        if not isinstance(body, str | bytes):
            body = b""
        return (
            str(request.method).encode(),
            url.path.encode(),
            url.query.encode(),
            headers.encode("latin-1", "replace"),
            body.encode() if isinstance(body, str) else body,
        )

    def seeds(self, seed: int, count: int) -> Sequence[Parts]:
        """Return what the document's operations take, and what they do not."""
        return drawn(st.one_of(self._strategies), seed, count)

    def enter(self, parts: Parts) -> str:
        """Ask, and judge the answer."""
        scope = self._scope(parts)
        status = self._loop.run_until_complete(self._asked(scope, parts[4]))
        where = f"{scope['method']} {scope['path']}"
        if status >= 500 and status != 503:
            raise ViolationError(f"{where}: {status}")
        if not self._token and status < 300 and not _NO_TOKEN_NEEDED.match(scope["path"]):
            raise ViolationError(f"{where} without a token: {status}")
        if status == 503:
            return "unavailable"
        return "answered" if status < 400 else "refused"

    def _scope(self, parts: Parts) -> Scope:
        method, path, query, lines, body = parts
        raw = b"/" + _UNFIT_PATH.sub(b"", path).lstrip(b"/")
        pairs = [line.partition(b":") for line in lines.split(b"\n")]
        headers = [
            (re.sub(rb"[^a-z0-9-]", b"", name.lower()), _UNFIT.sub(b"", value).strip())
            for name, _, value in pairs
        ]
        headers = [each for each in headers if each[0] not in {b"", b"content-length", b"host"}]
        if self._token:
            headers = [each for each in headers if each[0] != b"authorization"]
            headers.append((b"authorization", f"Bearer {_TOKEN}".encode()))
        headers += [(b"host", b"127.0.0.1"), (b"content-length", str(len(body)).encode())]
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "method": re.sub(r"[^A-Z]", "", method.decode("latin-1").upper()) or "GET",
            "path": unquote(raw.decode("ascii")),
            "raw_path": raw,
            "root_path": "",
            "query_string": _UNFIT_PATH.sub(b"", query),
            "scheme": "http",
            "http_version": "1.1",
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "headers": headers,
        }

    async def _asked(self, scope: Scope, body: bytes) -> int:
        """The status; whoever asked hangs up once the body is sent and an answer has begun."""
        begun = asyncio.Event()
        statuses: list[int] = []
        pieces = [body]

        async def receive() -> Message:
            if pieces:
                return {"type": "http.request", "body": pieces.pop(), "more_body": False}
            await begun.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
            begun.set()

        await asyncio.wait_for(self._app(scope, receive, send), 60)
        return statuses[0]


def _client(*, token: bool) -> Site:
    desk = Desk(api_token=_TOKEN)
    desk.hear(handlers.job_event, event(JobFailed, 3, "failed", failure_class="unknown"))
    app = desk.transport.app
    return Site(app, token=token, close=desk.store.close)


class _Nowhere:
    def publish_partitions(self, batches: Sequence[tuple[int, bytes, str]]) -> None:
        del batches


class _Gateway(Site):
    """Its document knows no bodies: those come from the door of samples."""

    def seeds(self, seed: int, count: int) -> Sequence[Parts]:
        found = list(super().seeds(seed, 3))
        for number, (kind, raw) in enumerate(remote_writes(seed, count)):
            media = V2 if kind == b"2" else V1
            encoding = "zstd" if number % 2 else "snappy"
            lines = f"content-type:{media}\ncontent-encoding:{encoding}".encode()
            found.append((b"POST", b"/api/v1/write", b"", lines, compressed(raw, encoding)))
        return found


def _gateway(*, token: bool) -> Site:
    settings = Settings.model_validate({"gateway_token": _TOKEN})
    app = make_app(settings, Ingest(_Nowhere(), 4, lambda: NOW_MS))
    return _Gateway(app, token=token)


def _nothing(outgoing: Sequence[Outgoing], timeout_s: float = 60.0) -> None:
    del outgoing, timeout_s


def _healer(*, token: bool) -> Site:
    folder = tempfile.TemporaryDirectory(prefix="barograph-fuzz-")
    service = healer(Path(folder.name), http_token=_TOKEN)
    service.bus.publish_prepared = _nothing

    def close() -> None:
        service.store.close()
        folder.cleanup()

    return Site(service.http._server.config.app, token=token, close=close)


_SITES: dict[str, Callable[..., Site]] = {
    "client": _client,
    "healer": _healer,
    "gateway": _gateway,
}


def _maker(name: str, *, token: bool) -> Callable[[], Door]:
    def make() -> Door:
        site = _SITES[name](token=token)
        full = name if token else f"{name}-without-token"
        return Door(f"http-{full}", site.seeds, site.enter, close=site.close)

    return make


DOORS = {
    f"http-{name}{'' if token else '-without-token'}": _maker(name, token=token)
    for name in _SITES
    for token in (True, False)
}
