"""A small OpenID Connect provider for tests: real HTTP, real keys, and faults on demand."""

from __future__ import annotations

import base64
import gzip
import hashlib
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from urllib.parse import parse_qs, urlencode

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from joserfc import jwt
from joserfc.jwk import RSAKey

from shared.service.http import HttpServer

CLIENT, SECRET = "barograph", "s3cret"


@cache
def new_key(kid: str) -> RSAKey:
    """The key of this name; each takes a while to make."""
    return RSAKey.generate_key(2048, {"kid": kid, "use": "sig"})


class IdentityProvider:
    """Signs in whoever comes as ``claims`` say, and counts what it is asked."""

    def __init__(self) -> None:
        self.claims: dict[str, Any] = {"sub": "u1", "preferred_username": "Ann", "groups": ["ml"]}
        self.user_info: dict[str, Any] = {}
        self.keys = [new_key("k1")]
        self.change: Callable[[dict[str, Any]], dict[str, Any]] = lambda claims: claims
        self.sign: Callable[[dict[str, Any]], str] = self.signed
        self.description: dict[str, Any] = {}
        self.asked: list[str] = []
        self.issuer = ""
        self.packed = ""
        self._codes: dict[str, dict[str, str]] = {}

    def signed(self, claims: dict[str, Any]) -> str:
        key = self.keys[-1]
        return jwt.encode({"alg": "RS256", "kid": key.kid}, claims, key)

    def app(self) -> FastAPI:
        app = FastAPI()
        app.middleware("http")(self._packing)
        app.get("/.well-known/openid-configuration")(self._describe)
        app.get("/authorize")(self._authorize)
        app.post("/token")(self._token)
        app.get("/keys")(self._list_keys)
        app.get("/userinfo")(self._user_info)
        return app

    def _describe(self) -> dict[str, Any]:
        self.asked.append("description")
        ways = {"authorization_endpoint": "authorize", "token_endpoint": "token"}
        ways |= {"jwks_uri": "keys", "userinfo_endpoint": "userinfo"}
        found = {name: f"{self.issuer}/{way}" for name, way in ways.items()}
        return {"issuer": self.issuer} | found | self.description

    def _authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        wanted = {"response_type": "code", "client_id": CLIENT, "code_challenge_method": "S256"}
        if wanted.items() - asked.items() or not asked.get("nonce"):
            return Response("not this way", 400)
        code = secrets.token_hex(8)
        self._codes[code] = asked
        back = urlencode({"code": code, "state": asked["state"], "iss": self.issuer})
        return RedirectResponse(f"{asked['redirect_uri']}?{back}", 302)

    async def _token(self, request: Request) -> Response:
        self.asked.append("token")
        form = {name: found[0] for name, found in parse_qs((await request.body()).decode()).items()}
        asked = self._codes.pop(form.get("code", ""), None)
        own = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if (
            asked is None
            or request.headers.get("authorization") != f"Basic {own}"
            or asked["code_challenge"] != challenge
            or asked["redirect_uri"] != form.get("redirect_uri")
        ):
            return JSONResponse({"error": "invalid_grant"}, 400)
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300}
        claims |= {"nonce": asked["nonce"]} | self.claims
        token = self.sign(self.change(claims))
        return JSONResponse({"access_token": "at", "token_type": "Bearer", "id_token": token})

    def _list_keys(self) -> dict[str, Any]:
        self.asked.append("keys")
        return {"keys": self.listed()}

    def listed(self) -> list[Any]:
        return [key.as_dict(private=False) for key in self.keys]

    async def _packing(self, request: Request, go_on: Callable[[Request], Any]) -> Response:
        """One answer of mebibytes of nothing, packed, in place of the one that was asked for."""
        ways = {"keys": "/keys", "token": "/token", "description": "/.well-known"}
        if not self.packed or not request.url.path.startswith(ways[self.packed]):
            answer: Response = await go_on(request)
            return answer
        return Response(gzip.compress(bytes(2**24)), headers={"content-encoding": "gzip"})

    def _user_info(self, request: Request) -> Response:
        if request.headers.get("authorization") != "Bearer at":
            return Response("", 401)
        return JSONResponse(self.user_info)


@contextmanager
def identity_provider() -> Iterator[IdentityProvider]:
    """One that listens on a free port."""
    made = IdentityProvider()
    server = HttpServer(made.app(), "127.0.0.1", 0)
    made.issuer = server.url
    server.start()
    try:
        yield made
    finally:
        server.stop()
