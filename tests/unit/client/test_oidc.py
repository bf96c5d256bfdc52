"""People sign in at an identity provider: a real one, over HTTP, with real keys."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey
from pydantic import ValidationError

from services.client import callers, provider_connection
from services.client.sessions import Sessions
from services.client.settings import ClientSettings
from shared.contracts import IncidentAcknowledge
from tests.identity_provider import CLIENT, SECRET, IdentityProvider, identity_provider, new_key
from tests.unit.client.alerts.events import ALERT, changed
from tests.unit.client.alerts.test_alert_pages import hear
from tests.unit.client.test_api import Desk

SESSION = Sessions("root").cookie_name("session")
GROUPS = {
    "ml": {"role": "operator", "projects": ["vision"]},
    "guests": {"role": "viewer", "projects": ["speech"]},
    "admins": {"role": "admin"},
}


@pytest.fixture(scope="module", autouse=True)
def _authorities_read_once() -> Iterator[None]:
    """Every desk trusts the same certificates, and to parse them takes longer than most tests."""
    read = {"create_default_context": cache(ssl.create_default_context)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provider_connection, "ssl", SimpleNamespace(**vars(ssl) | read))
        yield


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    with identity_provider() as made:
        yield made


def desk_for(issuer: str, **more: object) -> Desk:
    settings = {
        "api_token": "root",
        "oidc_issuer": issuer,
        "oidc_client_id": CLIENT,
        "oidc_client_secret": SECRET,
        "public_url": "https://barograph.example.org",
        "groups": GROUPS,
    }
    return Desk(**settings | more)


@pytest.fixture
def desk(provider: IdentityProvider) -> Iterator[Desk]:
    made = desk_for(provider.issuer)
    yield made
    made.store.close()


def cookies_of(answer: httpx.Response) -> dict[str, str]:
    given = (each.partition(";")[0] for each in answer.headers.get_list("set-cookie"))
    return dict(each.split("=", 1) for each in given)


def as_header(cookies: dict[str, str]) -> dict[str, str]:
    return {"cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}


def come_back(desk: Desk) -> tuple[str, dict[str, str]]:
    """The way back from the provider, and the headers of the browser that takes it."""
    begun = desk.call("GET", "/login/oidc")
    assert begun.status_code == 303, begun.text
    back = httpx.get(begun.headers["location"], timeout=60)
    assert back.status_code == 302, back.text
    parts = urlsplit(back.headers["location"])
    assert parts.netloc == "barograph.example.org"
    return f"{parts.path}?{parts.query}", as_header(cookies_of(begun))


def enter(desk: Desk) -> httpx.Response:
    way, browser = come_back(desk)
    return desk.call("GET", way, headers=browser)


def session_of(answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code == 200, answer.text
    return as_header({SESSION: cookies_of(answer)[SESSION]})


def test_who_signs_in_has_name_role_and_projects_and_decides_in_that_name(desk: Desk) -> None:
    entered = enter(desk)
    cookies = [each for each in entered.headers.get_list("set-cookie") if each.startswith(SESSION)]
    assert {"HttpOnly", "SameSite=strict", "Secure"} <= set(cookies[0].split("; "))
    session = session_of(entered)
    hear(desk, changed(1, "firing"))
    page = desk.call("GET", f"/alerts/{ALERT}", headers=session).text
    assert "Signed in as <bdi>Ann</bdi> (operator)" in page
    csrf = re.search(r'name="csrf" value="(\w+)"', page)
    assert csrf
    form = {"csrf": csrf[1], "alert": ALERT}
    done = desk.call("POST", "/alerts/acknowledge", headers=session, data=form)
    assert done.status_code == 303, done.text
    assert desk.sent == [IncidentAcknowledge(alert_id=ALERT, by="Ann")]
    assert desk.call("GET", "/settings", headers=session).status_code == 403
    job = {"name": "n", "main": "a.py", "package": "barograph:packages/vision:x.tar.gz"}
    assert desk.call("POST", "/api/v1/jobs", json=job, headers=session).is_success
    sent: Any = desk.sent[-1]
    assert (sent.submitted_by, sent.project) == ("Ann", "vision")
    assert desk.call("POST", "/logout", headers=session, data={"csrf": csrf[1]}).is_redirect
    assert desk.call("GET", "/jobs", headers=session).status_code == 401


def sign_out(desk: Desk, session: dict[str, str]) -> httpx.Response:
    csrf = re.search(r'name="csrf" value="(\w+)"', desk.call("GET", "/jobs", headers=session).text)
    assert csrf
    return desk.call("POST", "/logout", headers=session, data={"csrf": csrf[1]})


@pytest.mark.parametrize("query", ["", "?tenant=a"])
def test_who_signs_out_is_led_to_the_providers_own_sign_out(
    provider: IdentityProvider, desk: Desk, query: str
) -> None:
    provider.description = {"end_session_endpoint": f"{provider.issuer}/out{query}"}
    session = session_of(enter(desk))
    left = sign_out(desk, session)
    assert left.status_code == 200
    refresh = re.search(r'content="0;url=([^"]+)"', left.text)
    assert refresh
    way = urlsplit(refresh[1].replace("&amp;", "&"))
    assert f"{way.scheme}://{way.netloc}{way.path}" == f"{provider.issuer}/out"
    asked = parse_qs(way.query)
    assert asked["client_id"] == [CLIENT]
    assert asked["post_logout_redirect_uri"] == ["https://barograph.example.org/login"]
    assert ("tenant" in asked) == bool(query)
    assert "Ann" not in left.text
    assert f'{SESSION}=""' in left.headers["set-cookie"]
    assert desk.call("GET", "/jobs", headers=session).status_code == 401


@pytest.mark.parametrize("endpoint", ["http://elsewhere.example.org/out", 7, "javascript:alert(1)"])
def test_no_unsafe_way_out_is_taken_and_tokens_lead_nowhere(
    provider: IdentityProvider, endpoint: object
) -> None:
    desk = desk_for(provider.issuer)
    entered = desk.call("POST", "/login", data={"token": "root", "name": "Bob"})
    session = as_header({SESSION: cookies_of(entered)[SESSION]})
    provider.description = {"end_session_endpoint": endpoint}
    assert sign_out(desk, session).headers["location"] == "/login", "a token is of no provider"
    if endpoint != "http://elsewhere.example.org/out":
        assert sign_out(desk, session_of(enter(desk))).headers["location"] == "/login"
    desk.store.close()


def test_a_role_holds_in_the_projects_of_its_group_alone(
    desk: Desk, provider: IdentityProvider
) -> None:
    provider.claims["groups"] = ["guests", "ml", "unknown"]
    session = session_of(enter(desk))
    job = {"name": "n", "main": "a.py", "project": "speech"}
    job["package"] = "barograph:packages/speech:x.tar.gz"
    refused = desk.call("POST", "/api/v1/jobs", json=job, headers=session)
    assert refused.status_code == 403
    assert "this needs the role submitter in project speech; you are viewer" in refused.text


@pytest.mark.parametrize("claim", [None, [], "strangers", ["strangers"], {"ml": 1}, 7])
def test_who_is_of_no_group_with_rights_is_told_so_and_does_not_enter(
    desk: Desk, provider: IdentityProvider, claim: object
) -> None:
    provider.claims["groups"] = claim
    provider.user_info = {"sub": "u1"}
    refused = enter(desk)
    assert refused.status_code == 403
    assert "Ann is of no group that has rights here" in refused.text
    assert SESSION not in cookies_of(refused)


def test_groups_below_another_claim_or_in_the_user_information_count(
    provider: IdentityProvider,
) -> None:
    desk = desk_for(provider.issuer, oidc_groups_claim="realm_access.roles")
    provider.claims = {"sub": "u1"}
    provider.user_info = {"sub": "u1", "realm_access": {"roles": ["admins"]}}
    page = desk.call("GET", "/jobs", headers=session_of(enter(desk))).text
    assert "Signed in as <bdi>u1</bdi>" in page
    provider.user_info["sub"] = "u2"
    assert "of somebody else" in enter(desk).text
    desk.store.close()


Change = Callable[[dict[str, Any]], dict[str, Any]]
CHANGES: dict[str, Change] = {
    "another nonce": lambda c: c | {"nonce": "x"},
    "no nonce": lambda c: {k: v for k, v in c.items() if k != "nonce"},
    "another audience": lambda c: c | {"aud": "other"},
    "audience among others, for another": lambda c: c | {"aud": [CLIENT, "o"], "azp": "o"},
    "no audience": lambda c: {k: v for k, v in c.items() if k != "aud"},
    "another issuer": lambda c: c | {"iss": "https://evil.example.org"},
    "expired": lambda c: c | {"exp": int(time.time()) - 90},
    "no end": lambda c: {k: v for k, v in c.items() if k != "exp"},
    "an end that is no number": lambda c: c | {"exp": "tomorrow"},
    "not yet": lambda c: c | {"nbf": int(time.time()) + 90},
    "made in the future": lambda c: c | {"iat": int(time.time()) + 90},
    "no subject": lambda c: {k: v for k, v in c.items() if k != "sub"},
    "a name that nobody can see": lambda c: c | {"preferred_username": "\u200b\x1b"},
    "the name of who gives none": lambda c: c | {"preferred_username": callers.UNNAMED},
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_token_that_does_not_say_who_this_is_opens_nothing(
    desk: Desk, provider: IdentityProvider, change: str
) -> None:
    provider.change = CHANGES[change]
    refused = enter(desk)
    assert refused.status_code == 403, refused.text
    assert SESSION not in cookies_of(refused)


def _unsigned(provider: IdentityProvider, claims: dict[str, Any]) -> str:
    head, _, rest = provider.signed(claims).partition(".")
    del head
    import base64

    none = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    return f"{none}.{rest.partition('.')[0]}."


def _by_shared_secret(provider: IdentityProvider, claims: dict[str, Any]) -> str:
    """Signed with the provider's public key as if it were a secret."""
    pem = provider.keys[0].as_pem(private=False)
    key = OctKey.import_key(pem.replace(b"-----", b""))
    return jwt.encode({"alg": "HS256", "kid": "k1"}, claims, key)


def _by_another_key(_: IdentityProvider, claims: dict[str, Any]) -> str:
    return jwt.encode({"alg": "RS256", "kid": "k1"}, claims, new_key("other"))


def _by_an_unlisted_key(_: IdentityProvider, claims: dict[str, Any]) -> str:
    return jwt.encode({"alg": "RS256", "kid": "k9"}, claims, new_key("other"))


def _cut(provider: IdentityProvider, claims: dict[str, Any]) -> str:
    return provider.signed(claims).rpartition(".")[0] + "."


def _nonsense(_: IdentityProvider, _claims: dict[str, Any]) -> str:
    return "a.b.c"


@pytest.mark.parametrize(
    "sign",
    [_unsigned, _by_shared_secret, _by_another_key, _by_an_unlisted_key, _cut, _nonsense],
)
def test_a_token_without_the_providers_signature_opens_nothing(
    desk: Desk, provider: IdentityProvider, sign: Callable[[IdentityProvider, Any], str]
) -> None:
    provider.sign = lambda claims: sign(provider, claims)
    refused = enter(desk)
    assert refused.status_code == 403, refused.text
    assert SESSION not in cookies_of(refused)


@pytest.mark.parametrize("late_s", [-50, 50])
def test_clocks_that_differ_by_less_than_a_minute_do_not_matter(
    desk: Desk, provider: IdentityProvider, late_s: int
) -> None:
    now = int(time.time())
    provider.change = lambda c: c | {"iat": now + late_s, "exp": now - 50 + 100 * (late_s > 0)}
    session_of(enter(desk))


def test_a_new_key_is_fetched_once_it_is_used_and_an_unknown_one_not_over_and_over(
    desk: Desk, provider: IdentityProvider
) -> None:
    session_of(enter(desk))
    session_of(enter(desk))
    assert provider.asked.count("keys") == 1
    oidc: Any = desk.app.state.client.provider
    oidc._clock = lambda: time.time() + 11
    provider.keys = [new_key("k2")]
    session_of(enter(desk))
    assert provider.asked.count("keys") == 2
    provider.sign = lambda claims: _by_an_unlisted_key(provider, claims)
    assert [enter(desk).status_code for _ in range(3)] == [403] * 3
    assert provider.asked.count("keys") == 2


def test_keys_that_were_fetched_while_the_clock_was_ahead_are_fetched_again(
    desk: Desk, provider: IdentityProvider
) -> None:
    oidc: Any = desk.app.state.client.provider
    oidc._clock = lambda: time.time() + 10_000_000
    oidc._key_set(3600)
    provider.keys = [new_key("k2")]
    oidc._clock = time.time
    session_of(enter(desk))


def test_keys_that_nobody_can_use_stand_beside_those_that_sign(
    desk: Desk, provider: IdentityProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    unusable: list[Any] = [None, 7, {"kty": ["RSA"]}, {"kty": "RSA"}, {"kty": "oct", "k": "AA"}]
    unusable += [{"kty": "EC", "crv": "BP-256", "x": "AA", "y": "AA", "kid": "k1"}]
    unusable += [{"kty": "RSA", "n": "!", "e": "AQAB"}, {"kty": "AKP", "alg": "ML-DSA-44"}]
    named_alike = ECKey.generate_key("P-256", {"kid": "k1"}).as_dict(private=False)
    listed = [*unusable, named_alike, *provider.listed(), *provider.listed()]
    monkeypatch.setattr(provider, "listed", lambda: listed)
    session_of(enter(desk))


@pytest.mark.parametrize("part", ["keys", "token", "description"])
def test_a_provider_that_packs_what_never_ends_is_away(
    desk: Desk, provider: IdentityProvider, part: str
) -> None:
    provider.packed = part
    answer = desk.call("GET", "/login/oidc") if part == "description" else enter(desk)
    assert answer.status_code == 503


@pytest.mark.parametrize(
    "name",
    [
        "the holder of the token",
        "The Holder of the Token",
        "th\u0435 us\u0435r",
        "th\u00e9 us\u200ber",
        "\u13a2he \u057dser",
    ],
)
def test_nobody_is_called_as_the_holder_of_the_api_token(
    desk: Desk, provider: IdentityProvider, name: str
) -> None:
    provider.claims["preferred_username"] = name
    assert enter(desk).status_code == 403


def test_an_answer_of_too_many_fields_opens_nothing(desk: Desk) -> None:
    _, browser = come_back(desk)
    many = "&".join(f"a{number}=1" for number in range(30))
    assert desk.call("GET", f"/login/oidc/callback?{many}", headers=browser).status_code == 403


def test_an_answer_is_of_the_browser_that_began_and_good_once(desk: Desk) -> None:
    way, browser = come_back(desk)
    elsewhere = desk.call("GET", way)
    assert elsewhere.status_code == 400
    assert "began elsewhere" in elsewhere.text
    _, others = come_back(desk)
    assert "another sign-in" in desk.call("GET", way, headers=others).text
    session_of(desk.call("GET", way, headers=browser))
    again = desk.call("GET", way, headers=browser)
    assert again.status_code == 403
    assert "invalid_grant" in again.text


def test_a_sign_in_that_takes_too_long_begins_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    way, browser = come_back(desk)
    later = time.time() + 601
    monkeypatch.setattr(callers.time, "time", lambda: later)
    assert desk.call("GET", way, headers=browser).status_code == 400


@pytest.mark.parametrize(
    "change",
    [
        lambda query: query.replace("state=", "state=x"),
        lambda query: query.replace("state=", "other="),
        lambda query: re.sub("iss=[^&]+", "iss=https://evil.example.org", query),
        lambda query: query.replace("code=", "error=access_denied&x="),
        lambda query: query.replace("code=", "code=x"),
    ],
)
def test_an_answer_that_was_changed_on_the_way_opens_nothing(
    desk: Desk, change: Callable[[str], str]
) -> None:
    way, browser = come_back(desk)
    path, _, query = way.partition("?")
    refused = desk.call("GET", f"{path}?{change(query)}", headers=browser)
    assert refused.status_code == 403, refused.text


def test_failed_sign_ins_are_limited_like_wrong_tokens(
    desk: Desk, provider: IdentityProvider
) -> None:
    provider.change = CHANGES["another nonce"]
    way, browser = come_back(desk)
    for _ in range(10):
        assert desk.call("GET", way, headers=browser).status_code == 403
    assert desk.call("GET", way, headers=browser).status_code == 429
    assert desk.call("GET", "/login/oidc").status_code == 429
    assert desk.call("POST", "/login", data={"token": "root"}).status_code == 429


def test_a_provider_that_is_away_is_said_and_tokens_go_on() -> None:
    desk = desk_for("http://127.0.0.1:1")
    page = desk.call("GET", "/login/oidc")
    assert page.status_code == 503
    assert "The identity provider does not answer" in page.text
    assert desk.call("POST", "/login", data={"token": "root", "name": "Ann"}).is_redirect
    desk.store.close()


def test_a_provider_that_goes_away_between_is_said(desk: Desk, provider: IdentityProvider) -> None:
    way, browser = come_back(desk)
    provider.description = {"jwks_uri": "http://127.0.0.1:1/keys"}
    oidc: Any = desk.app.state.client.provider
    oidc._described = None
    assert desk.call("GET", way, headers=browser).status_code == 503


@pytest.mark.parametrize(
    "description",
    [
        {"issuer": "https://evil.example.org"},
        {"authorization_endpoint": None},
        {"authorization_endpoint": "ftp://127.0.0.1/authorize"},
        {"padding": "x" * 2**20},
    ],
)
def test_what_is_no_description_of_this_issuer_is_not_followed(
    desk: Desk, provider: IdentityProvider, description: dict[str, Any]
) -> None:
    provider.description = description
    assert desk.call("GET", "/login/oidc").status_code == 503


def test_a_group_that_loses_its_rights_ends_the_sessions_of_its_people(desk: Desk) -> None:
    session = session_of(enter(desk))
    known: Any = desk.app.state.client.callers
    known._groups = {}
    assert desk.call("GET", "/jobs", headers=session).status_code == 401


def test_the_secret_is_read_from_its_file(provider: IdentityProvider, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    desk = desk_for(provider.issuer, oidc_client_secret="", oidc_client_secret_file=str(file))
    session_of(enter(desk))
    desk.store.close()


def test_the_way_there_asks_for_a_code_with_pkce_state_and_nonce(desk: Desk) -> None:
    asked = parse_qs(urlsplit(desk.call("GET", "/login/oidc").headers["location"]).query)
    assert asked["code_challenge_method"] == ["S256"]
    assert asked["redirect_uri"] == ["https://barograph.example.org/login/oidc/callback"]
    assert {"state", "nonce", "code_challenge"} <= asked.keys()


def test_settings_by_which_nobody_could_sign_in_stop_the_start() -> None:
    with pytest.raises(ValidationError) as error:
        ClientSettings.model_validate({"oidc_issuer": "https://id.example.org"})
    for name in ("PUBLIC_URL", "OIDC_CLIENT_ID", "API_TOKEN", "GROUPS"):
        assert f"OIDC_ISSUER needs {name}" in str(error.value)


def test_without_a_provider_there_is_nothing_to_sign_in_at() -> None:
    desk = Desk(api_token="root")
    assert desk.call("GET", "/login/oidc").status_code == 404
    assert desk.call("GET", "/login/oidc/callback?code=x").status_code == 404
    assert "organisation" not in desk.call("GET", "/login").text
    desk.store.close()
