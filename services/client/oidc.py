"""OpenID Connect: people sign in at an identity provider, by the code flow with PKCE.

Nothing is kept here between the way there and the way back: what must be the same on both is in a
signed cookie of the browser.
"""

from __future__ import annotations

import secrets
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from authlib.common.errors import AuthlibBaseError
from authlib.oauth2 import OAuth2Client
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from services.client.groups import Person, is_readable
from services.client.settings import ClientSettings
from shared.visible import visible

CALLBACK = "/login/oidc/callback"
FLOW_S = 600.0
"""How long somebody may take to sign in at the provider."""
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]
"""Signatures by a key that only the provider has; never none, and no shared secret."""
_TIMEOUT_S, _AT_ONCE, _MAX_WAIT_S = 5.0, 4, 1.0
_KNOWN_S, _RETRY_S = 3600.0, 10.0
"""For how long its keys are believed, and how often an unknown one makes us ask again."""
_LEEWAY_S = 60
_MAX_BYTES = 2**20
_MAX_GROUPS = 1_000


class ProviderUnavailable(Exception):
    """The identity provider does not answer, or not as one."""


class SignInRefused(Exception):
    """The provider, or what it answered, does not say who somebody is."""


@dataclass(frozen=True)
class Flow:
    """What is the same on the way to the provider and back."""

    state: str
    nonce: str
    verifier: str

    @classmethod
    def new(cls) -> Flow:
        """One that nobody can guess."""
        return cls(*(secrets.token_urlsafe(32) for _ in range(3)))


class Provider:
    """One identity provider, whose addresses and keys are asked for when they are needed."""

    def __init__(self, settings: ClientSettings, clock: Callable[[], float] = time.time) -> None:
        self.issuer = settings.oidc_issuer
        self._settings, self._clock = settings, clock
        self._trusted = ssl.create_default_context()
        self._turns = threading.BoundedSemaphore(_AT_ONCE)
        self._described: tuple[float, dict[str, Any]] | None = None
        self._keys: tuple[float, list[dict[str, Any]]] | None = None

    def address(self, flow: Flow) -> str:
        """Where somebody signs in.

        Raises:
            ProviderUnavailable: when the provider does not say where.
        """
        endpoint = self._endpoint("authorization_endpoint")
        address, _ = self._client(None).create_authorization_url(
            endpoint, state=flow.state, code_verifier=flow.verifier, nonce=flow.nonce
        )
        return str(address)

    def person(self, flow: Flow, query: str) -> Person:
        """Who has come back with this query.

        Raises:
            ProviderUnavailable: when the provider does not answer.
            SignInRefused: when it does not say who it is, or not to us.
        """
        answer = {name: values[0] for name, values in parse_qs(query, max_num_fields=20).items()}
        if not secrets.compare_digest(answer.get("state", "").encode(), flow.state.encode()):
            raise SignInRefused("the answer belongs to another sign-in; begin again")
        if answer.get("iss", self.issuer) != self.issuer:
            raise SignInRefused("the answer is of another provider")
        if "code" not in answer:
            raise SignInRefused(f"the provider answered: {visible(answer.get('error', ''))[:200]}")
        tokens = self._tokens(answer["code"], flow)
        claims = self._claims(tokens, flow)
        groups = self._settings.oidc_groups_claim
        if _at(claims, groups) is None:
            claims = self._user_info(tokens, claims) | claims
        return Person(self._name(claims), tuple(_texts(_at(claims, groups))))

    def _tokens(self, code: str, flow: Flow) -> Mapping[str, Any]:
        try:
            endpoint, secret = self._endpoint("token_endpoint"), self._settings.oidc_secret
            own = httpx.BasicAuth(self._settings.oidc_client_id, secret)
            auth = own if secret else httpx.Auth()
            with self._connection() as http:
                found = self._client(http).fetch_token(
                    endpoint,
                    auth=auth,
                    client_id=None if secret else self._settings.oidc_client_id,
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=flow.verifier,
                    redirect_uri=self._redirect,
                )
        except AuthlibBaseError as error:
            raise SignInRefused(f"the provider refused: {visible(str(error))[:200]}") from error
        except (httpx.HTTPError, ValueError) as error:
            raise ProviderUnavailable(f"{self.issuer} gives no token: {error}") from error
        if not isinstance(found.get("id_token"), str):
            raise SignInRefused("the provider sent no ID token")
        return dict(found)

    def _claims(self, tokens: Mapping[str, Any], flow: Flow) -> dict[str, Any]:
        """The claims of an ID token that is the provider's, for us, of this flow, and in time."""
        try:
            token = jwt.decode(tokens["id_token"], self._key_of, algorithms=_ALGORITHMS)
            claims = CodeIDToken(
                token.claims,
                token.header,
                options={
                    "iss": {"essential": True, "value": self.issuer},
                    "aud": {"essential": True, "value": self._settings.oidc_client_id},
                },
                params={
                    "nonce": flow.nonce,
                    "client_id": self._settings.oidc_client_id,
                    "access_token": tokens.get("access_token"),
                },
            )
            claims.validate(now=int(self._clock()), leeway=_LEEWAY_S)
        except (JoseError, AuthlibBaseError, ValueError, TypeError, KeyError) as error:
            text = f"its ID token is not valid: {type(error).__name__} {error}"
            raise SignInRefused(visible(text)[:300]) from error
        return dict(claims)

    def _key_of(self, token: Any) -> Any:
        """The provider's key that a token says it is signed with, fetched anew if it is unknown."""
        kid = token.headers().get("kid")
        for keys in (self._key_set(_KNOWN_S), self._key_set(_RETRY_S)):
            found = [key for key in keys if kid is None or key.kid == kid]
            if len(found) == 1:
                return found[0]
        raise SignInRefused("its ID token is signed with a key that the provider does not list")

    def _key_set(self, known_s: float) -> KeySet:
        now = self._clock()
        if self._keys is None or now - self._keys[0] >= known_s:
            listed = self._json(self._endpoint("jwks_uri")).get("keys")
            if not isinstance(listed, list):
                raise ProviderUnavailable(f"{self.issuer} lists no keys")
            self._keys = (now, [key for key in listed if _signs(key)])
        return KeySet.import_key_set({"keys": self._keys[1]})

    def _user_info(self, tokens: Mapping[str, Any], claims: Mapping[str, Any]) -> dict[str, Any]:
        """What the provider says of the person beside the token; groups often stand there alone."""
        endpoint = self._description().get("userinfo_endpoint")
        if not isinstance(endpoint, str) or not tokens.get("access_token"):
            return {}
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        found = self._json(self._safe(endpoint), bearer)
        if found.get("sub") != claims["sub"]:
            raise SignInRefused("the provider's user information is of somebody else")
        return found

    def _name(self, claims: Mapping[str, Any]) -> str:
        named = _at(claims, self._settings.oidc_name_claim) or claims["sub"]
        name = str(named).strip()
        if not is_readable(name):
            raise SignInRefused("the provider names nobody readably")
        return name

    def _description(self) -> dict[str, Any]:
        now = self._clock()
        if self._described is None or now - self._described[0] >= _KNOWN_S:
            found = self._json(f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")
            if found.get("issuer") != self.issuer:
                raise ProviderUnavailable(f"what answers at {self.issuer} is another issuer")
            self._described = (now, found)
        return self._described[1]

    def _endpoint(self, name: str) -> str:
        found = self._description().get(name)
        if not isinstance(found, str):
            raise ProviderUnavailable(f"{self.issuer} names no {name}")
        return self._safe(found)

    def _safe(self, address: str) -> str:
        """The address, unless it would send secrets without encryption."""
        if urlsplit(address).scheme not in {"https", urlsplit(self.issuer).scheme}:
            raise ProviderUnavailable(f"{self.issuer} names an address without encryption")
        return address

    def _json(self, address: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        data = bytearray()
        try:
            with self._connection() as http, http.stream("GET", address, headers=headers) as answer:
                answer.raise_for_status()
                for piece in answer.iter_bytes():
                    data += piece
                    if len(data) > _MAX_BYTES:
                        raise ProviderUnavailable(f"{address} answers with too much")
            found = httpx.Response(200, content=bytes(data)).json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise ProviderUnavailable(f"{address} does not answer as it should: {error}") from error
        if not isinstance(found, dict):
            raise ProviderUnavailable(f"{address} does not answer as it should")
        return found

    @property
    def _redirect(self) -> str:
        return f"{self._settings.public_url.rstrip('/')}{CALLBACK}"

    def _client(self, http: httpx.Client | None) -> OAuth2Client:
        return OAuth2Client(
            http,
            client_id=self._settings.oidc_client_id,
            scope=self._settings.oidc_scopes,
            redirect_uri=self._redirect,
            code_challenge_method="S256",
        )

    @contextmanager
    def _connection(self) -> Iterator[httpx.Client]:
        """One of few at a time: a provider that hangs must not take all threads."""
        if not self._turns.acquire(timeout=_MAX_WAIT_S):
            raise ProviderUnavailable("it is slow, and too many sign-ins wait for it")
        try:
            with httpx.Client(timeout=_TIMEOUT_S, trust_env=False, verify=self._trusted) as http:
                yield http
        finally:
            self._turns.release()


def _signs(key: object) -> bool:
    return isinstance(key, dict) and key.get("kty") in {"RSA", "EC"} and key.get("use") != "enc"


def _at(claims: Mapping[str, Any], way: str) -> Any:
    """The claim of this name, or below it as ``realm_access.roles``; None for none."""
    if way in claims:
        return claims[way]
    found: Any = claims
    for part in way.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _texts(claim: Any) -> Iterable[str]:
    listed = claim if isinstance(claim, list) else [claim]
    return [each for each in listed[:_MAX_GROUPS] if isinstance(each, str)]
