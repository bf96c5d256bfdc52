"""OpenID Connect: people sign in at an identity provider, by the code flow with PKCE.

Nothing is kept here between the way there and the way back: what must be the same on both is in a
signed cookie of the browser.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
from authlib.common.errors import AuthlibBaseError
from authlib.oauth2 import OAuth2Client
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, RSAKey

from services.client.claims import claim_at, texts_of
from services.client.groups import Person, is_readable
from services.client.provider_connection import ProviderConnection, ProviderUnavailable
from services.client.settings import ClientSettings
from shared.visible import visible

CALLBACK = "/login/oidc/callback"
FLOW_S = 600.0
"""The time that somebody may take to sign in at the provider."""
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]
"""Signatures by a key that only the provider has; never none, and no shared secret."""
_KNOWN_S, _RETRY_S = 3600.0, 10.0
"""The seconds for which fetched keys are used, and between requests because of unknown keys."""
_LEEWAY_S = 60
_MAX_KEYS = 100
_ODD = (ValueError, TypeError, LookupError, ArithmeticError, RecursionError)
"""Errors of libraries about an answer of no known form: one that is nested too deeply, has numbers
beyond counting, or texts where there should be lists."""


class SignInRefused(Exception):
    """The provider, or its answer, does not identify the person."""


@dataclass(frozen=True)
class Flow:
    """The values of one sign-in, the same on the way to the provider and back."""

    state: str
    nonce: str
    verifier: str

    @classmethod
    def new(cls) -> Flow:
        """Create random values for a sign-in."""
        return cls(*(secrets.token_urlsafe(32) for _ in range(3)))


class Provider:
    """An identity provider; its addresses and keys are fetched when they are needed."""

    def __init__(self, settings: ClientSettings, clock: Callable[[], float] = time.time) -> None:
        self.issuer = settings.oidc_issuer
        self._settings, self._clock = settings, clock
        self._connection = ProviderConnection()
        self._described: tuple[float, dict[str, Any]] | None = None
        self._keys: tuple[float, list[RSAKey | ECKey]] | None = None

    def address(self, flow: Flow) -> str:
        """The provider's address at which somebody signs in.

        Raises:
            ProviderUnavailable: when the provider does not say where.
        """
        endpoint = self._endpoint("authorization_endpoint")
        address, _ = self._client(None).create_authorization_url(
            endpoint, state=flow.state, code_verifier=flow.verifier, nonce=flow.nonce
        )
        return str(address)

    def sign_out_address(self) -> str | None:
        """Return where somebody's session at the provider ends; None where it offers no such thing.

        Without an ID token, which is not kept here, some providers ask the person once more.

        Raises:
            ProviderUnavailable: when the provider does not answer, or names an unsafe address.
        """
        if not self._description().get("end_session_endpoint"):
            return None
        endpoint = self._endpoint("end_session_endpoint")
        back = f"{self._settings.public_url.rstrip('/')}/login"
        asked = {"client_id": self._settings.oidc_client_id, "post_logout_redirect_uri": back}
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(asked)}"

    def person(self, flow: Flow, query: str) -> Person:
        """The person who came back from the provider with this query.

        Raises:
            ProviderUnavailable: when the provider does not answer.
            SignInRefused: when it does not say who it is, or not to us.
        """
        answer = _fields(query)
        if not secrets.compare_digest(answer.get("state", "").encode(), flow.state.encode()):
            raise SignInRefused("the answer belongs to another sign-in; begin again")
        if answer.get("iss", self.issuer) != self.issuer:
            raise SignInRefused("the answer is of another provider")
        if "code" not in answer:
            raise SignInRefused(f"the provider answered: {visible(answer.get('error', ''))[:200]}")
        tokens = self._tokens(answer["code"], flow)
        claims = self._claims(tokens, flow)
        groups = self._settings.oidc_groups_claim
        if claim_at(claims, groups) is None:
            claims = self._user_info(tokens, claims) | claims
        return Person(self._name(claims), tuple(texts_of(claim_at(claims, groups))))

    def _tokens(self, code: str, flow: Flow) -> Mapping[str, Any]:
        try:
            endpoint, secret = self._endpoint("token_endpoint"), self._settings.oidc_secret
            own = httpx.BasicAuth(self._settings.oidc_client_id, secret)
            auth = own if secret else httpx.Auth()
            with self._connection.opened() as http:
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
        except (httpx.HTTPError, httpx.InvalidURL, OSError, *_ODD) as error:
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
        except (JoseError, AuthlibBaseError, *_ODD) as error:
            text = f"its ID token is not valid: {type(error).__name__} {error}"
            raise SignInRefused(visible(text)[:300]) from error
        return dict(claims)

    def _key_of(self, token: Any) -> Any:
        """The provider's key that signed a token; keys are fetched again for an unknown one."""
        kid, algorithm = (token.headers().get(name) for name in ("kid", "alg"))
        kind = ECKey if str(algorithm).startswith("ES") else RSAKey
        for known_s in (_KNOWN_S, _RETRY_S):
            keys = self._key_set(known_s)
            found = [k for k in keys if isinstance(k, kind) and kid in (None, k.kid)]
            # One that is listed twice is one key; without its name it must be the only one.
            if found and (kid is not None or len(found) == 1):
                return found[0]
        raise SignInRefused("its ID token is signed with a key that the provider does not list")

    def _key_set(self, known_s: float) -> list[RSAKey | ECKey]:
        now = self._clock()
        if self._keys is None or abs(now - self._keys[0]) >= known_s:
            listed = self._connection.json(self._endpoint("jwks_uri")).get("keys")
            if not isinstance(listed, list):
                raise ProviderUnavailable(f"{self.issuer} lists no keys")
            found = map(_signing_key, listed[:_MAX_KEYS])
            self._keys = (now, [key for key in found if key is not None])
        return self._keys[1]

    def _user_info(self, tokens: Mapping[str, Any], claims: Mapping[str, Any]) -> dict[str, Any]:
        """The provider's user information; groups are often found only there."""
        endpoint = self._description().get("userinfo_endpoint")
        if not isinstance(endpoint, str) or not tokens.get("access_token"):
            return {}
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        found = self._connection.json(self._safe(endpoint), bearer)
        if found.get("sub") != claims["sub"]:
            raise SignInRefused("the provider's user information is of somebody else")
        return found

    def _name(self, claims: Mapping[str, Any]) -> str:
        named = claim_at(claims, self._settings.oidc_name_claim) or claims["sub"]
        # A list or an object in words would be a name that nobody gave.
        name = named.strip() if isinstance(named, str) else ""
        if not is_readable(name):
            raise SignInRefused("the provider gives no usable name")
        return name

    def _description(self) -> dict[str, Any]:
        now = self._clock()
        if self._described is None or abs(now - self._described[0]) >= _KNOWN_S:
            found = self._connection.json(
                f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"
            )
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
        try:
            scheme = urlsplit(address).scheme
        except ValueError as error:
            raise ProviderUnavailable(f"{self.issuer} names an address that is none") from error
        if scheme not in {"https", urlsplit(self.issuer).scheme}:
            raise ProviderUnavailable(f"{self.issuer} names an address without encryption")
        return address

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


def _signing_key(listed: object) -> RSAKey | ECKey | None:
    """A listed key, if it is one by which ID tokens are signed; others may stand beside it."""
    if not isinstance(listed, dict) or listed.get("kty") not in ("RSA", "EC"):
        return None
    try:
        key = JWKRegistry.import_key(listed)
    except (JoseError, ValueError, TypeError, LookupError, AttributeError):
        return None
    return key if isinstance(key, RSAKey | ECKey) and listed.get("use") != "enc" else None


def _fields(query: str) -> dict[str, str]:
    try:
        return {name: each[0] for name, each in parse_qs(query, max_num_fields=20).items()}
    except ValueError as error:
        raise SignInRefused("what came back from the provider is no answer of one") from error
