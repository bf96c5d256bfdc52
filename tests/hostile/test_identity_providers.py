"""An identity provider that answers in no known form, or never to the end: nobody enters by it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi import Request
from fastapi.responses import Response
from joserfc import jws

from services.client.provider_connection import ProviderConnection, ProviderUnavailable
from tests.hostile.test_receivers import answering
from tests.identity_provider import IdentityProvider, identity_provider
from tests.unit.client.test_api import Desk
from tests.unit.client.test_oidc import desk_for, enter

DEEP = "[" * 20_000 + "]" * 20_000
DEEP_OBJECTS = '{"a":' * 20_000 + "1" + "}" * 20_000
ODD = [
    "",
    "1",
    "[]",
    "\x00",
    DEEP,
    DEEP_OBJECTS,
    '{"id_token": "a.b.c", "expires_in": 1e999}',
    '{"id_token": "a.b.c", "expires_at": "soon"}',
    '{"id_token": "a.b.c", "access_token": ["x"]}',
    '{"error": ["x"], "error_description": {"a": 1}}',
    '{"keys": [{"kty": "RSA", "kid": "k1", "n": 1, "e": [1]}, {"kty": ["RSA"]}, 7, null]}',
    '{"keys": ' + "9" * 5_000 + "}",
]
WAYS = {"keys": "/keys", "token": "/token", "user": "/userinfo"}
CLAIMS = [
    f'"x": {DEEP}',
    '"exp": 1e999',
    '"exp": NaN',
    '"exp": ' + "9" * 5_000,
    '"exp": [1]',
    '"sub": {}',
    '"at_hash": "\\u00e9"',
    '"preferred_username": "\\ud800x"',
    '"preferred_username": ["Ann"]',
    '"preferred_username": {"a": 1}',
    '"preferred_username": 7',
]


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    with identity_provider() as made:
        yield made


@pytest.fixture
def desk(provider: IdentityProvider) -> Iterator[Desk]:
    made = desk_for(provider.issuer)
    yield made
    made.store.close()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("body", ODD, ids=range(len(ODD)))
def test_an_answer_of_no_known_form_opens_nothing(
    way: str, body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = Response(body, media_type="application/json")

    async def instead(
        self: IdentityProvider, request: Request, go_on: Callable[[Request], Any]
    ) -> Response:
        if request.url.path.startswith(WAYS[way]):
            return answer
        found: Response = await go_on(request)
        return found

    monkeypatch.setattr(IdentityProvider, "_packing", instead)
    with identity_provider() as provider:
        del provider.claims["groups"]
        desk = desk_for(provider.issuer)
        assert enter(desk).status_code in (403, 503)
        desk.store.close()


@pytest.mark.parametrize("claim", CLAIMS, ids=range(len(CLAIMS)))
def test_an_id_token_of_no_known_form_opens_nothing(
    desk: Desk, provider: IdentityProvider, claim: str
) -> None:
    def sign(claims: dict[str, Any]) -> str:
        key = provider.keys[-1]
        payload = f"{json.dumps(claims)[:-1]}, {claim}}}".encode()
        return jws.serialize_compact({"alg": "RS256", "kid": key.kid}, payload, key)

    provider.sign = sign
    assert enter(desk).status_code == 403


@pytest.mark.parametrize("name", ["token_endpoint", "jwks_uri", "userinfo_endpoint"])
@pytest.mark.parametrize("address", ["https://[::1", "http://h:99999999/", "http://a\r\nb/", "x"])
def test_an_address_that_is_none_opens_nothing(
    desk: Desk, provider: IdentityProvider, name: str, address: str
) -> None:
    del provider.claims["groups"]
    provider.description[name] = address
    assert enter(desk).status_code == 503


@pytest.mark.parametrize("begun", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\n"])
def test_an_answer_that_drips_for_ever_ends_with_the_whole_requests_time(begun: bytes) -> None:
    drip = b" " if begun.endswith(b"\r\n\r\n") else b"X-Y: z\r\n"
    with (
        answering(begun, drip=drip) as place,
        pytest.raises(ProviderUnavailable, match=r"within 0\.5 s"),
    ):
        ProviderConnection(whole_s=0.5).json(f"http://{place}/")
