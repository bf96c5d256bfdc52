"""Tokens for the broker, without one: what they say, and that they fit."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import jwt
import pika
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from services.task.settings import TaskSettings
from shared.contracts import job_word
from shared.messaging import tokens
from shared.settings import SettingsError
from shared.topology import Principal

KEY = tokens.new_signing_key()
FAR = 4_000_000_000.0


def claims(url: str) -> dict[str, object]:
    found: dict[str, object] = jwt.decode(
        urlsplit(url).password or "",
        tokens.public_key(KEY),
        algorithms=[tokens.ALGORITHM],
        audience=tokens.RESOURCE_SERVER,
    )
    return found


def test_the_url_keeps_all_but_user_and_password() -> None:
    url = tokens.url_with_token(
        "amqps://member:p%40ss@mq.example:5671/a%2Fb?heartbeat=7", KEY, Principal.MEMBER, "j", FAR
    )

    parts = urlsplit(url)
    assert (parts.scheme, parts.hostname, parts.port) == ("amqps", "mq.example", 5671)
    assert (parts.path, parts.query) == ("/a%2Fb", "heartbeat=7")
    assert "p%40ss" not in url
    assert pika.URLParameters(url).credentials.password == parts.password
    assert "barograph.write:a%2Fb/from.member/pod.exited.j" in str(claims(url)["scope"]).split()


def test_a_token_names_its_job_its_end_and_nothing_it_is_not_granted() -> None:
    said = claims(
        tokens.url_with_token("amqp://u:p@h", KEY, Principal.MEMBER, job_word("a.b"), FAR)
    )

    assert (said["sub"], said["exp"]) == ("member.a:b", int(FAR))
    scopes = str(said["scope"]).split()
    own = {f"barograph.{right}:%2F/amq.gen-*" for right in ("configure", "write", "read")}
    assert own < set(scopes)
    assert all(scope.endswith(".a:b") for scope in set(scopes) - own)
    assert not any("tag:" in scope for scope in scopes)


def test_the_longest_id_fits_into_the_first_frame_of_a_login() -> None:
    # 4,096 bytes until frames are negotiated; client properties take less than 1,000 of them.
    url = tokens.url_with_token(
        "amqp://u:p@h", KEY, Principal.MEMBER, job_word("a" + ".b" * 63 + "c"), FAR
    )

    parts = urlsplit(url)
    assert len(f"\0{unquote(parts.username or '')}\0{parts.password}") < 3_000


def rsa_key() -> str:
    key = rsa.generate_private_key(65_537, 2_048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def with_passphrase() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"words")
    ).decode()


def other_curve() -> str:
    key = ec.generate_private_key(ec.SECP384R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.mark.parametrize(
    "key", [rsa_key(), with_passphrase(), other_curve(), tokens.public_key(KEY), "secret words"]
)
def test_a_key_that_cannot_sign_is_refused_at_start_and_not_repeated(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BAROGRAPH_TASK_MEMBER_SIGNING_KEY", key)
    with pytest.raises(SettingsError, match=r"MEMBER_SIGNING_KEY.*P-256") as refusal:
        TaskSettings.load("task")

    assert key.splitlines()[-1] not in str(refusal.value)


def test_a_key_may_be_given_on_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAROGRAPH_TASK_MEMBER_SIGNING_KEY", KEY.replace("\n", "\\n"))

    assert claims(TaskSettings.load("task").member_broker_url_of("j", 60))["sub"] == "member.j"


def test_without_a_key_all_jobs_share_the_urls_user() -> None:
    settings = TaskSettings()

    assert settings.member_broker_url_of("a", 1) == settings.member_broker_url.get_secret_value()
