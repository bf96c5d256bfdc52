"""Secrets do not leave the machine with a command line; what is harmless stays readable."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.healer.masking import MASK, masked, masked_text

_SECRET = "Zk9qTr4Lw7Xc2Vb8"  # what must not be seen below


@pytest.mark.parametrize(
    "line",
    [
        "app --password {}",
        "app --password={}",
        "app -password {}",
        "app --db-password='{}'",
        "env DB_PASSWORD={} app",
        "env PGPASSWORD={} psql",
        "app --token {} --port 1",
        "app --api-key {}",
        "app --apikey={}",
        "java -Dserver.ssl.key-store-password={} -jar a.jar",
        "java -Djavax.secretKey={} Main",
        'app --config \'{{"password": "{}", "x": 1}}\'',
        "curl -u me:{} https://example.org",
        "curl -ume:{} https://example.org",
        "curl -H 'Authorization: Bearer {}' https://example.org",
        "curl -H 'Authorization: Basic {}' https://example.org",
        "curl -H 'X-Api-Key: {}' https://example.org",
        "curl https://example.org/?access_token={}&x=1",
        "curl https://me:{}@example.org/x",
        "app amqp://user:{}@broker:5672/%2F",
        "app redis://:{}@cache:6379/0",
        "app postgresql+psycopg://u:p@{}@db/x",
        "app amqp://user:a/{}@broker:5672",
        "mysql -uroot -p{} shop",
        "sshpass -p {} ssh host",
        "/usr/bin/redis-cli -a {} info",
        "app --secret {} run",
        "env AWS_SECRET_ACCESS_KEY={} aws s3 ls",
        "bash -c 'export TOKEN={}; run'",
    ],
)
def test_a_secret_is_masked(line: str) -> None:
    text = masked(shlex.split(line.format(_SECRET)))

    assert _SECRET not in text
    assert MASK in text


@pytest.mark.parametrize(
    "secret",
    [
        "AKIAIOSFODNN7EXAMPLE",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "ghp_0123456789abcdefghijABCDEFGHIJ012345",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0abcdef.c2lnbmF0dXJl",
    ],
)
def test_what_looks_like_a_known_kind_of_key_is_masked_wherever_it_stands(secret: str) -> None:
    assert masked(["tool", "copy", secret, "there"]) == f"tool copy {MASK} there"


@pytest.mark.parametrize(
    "line",
    [
        "python -m services.healer.agent",
        "/usr/sbin/sshd -D -p 22",
        "tar -czf /backup/2024-01-01.tar.gz /var/lib/app",
        "nginx: worker process",
        "java -Xmx4g -cp /opt/app/lib/app-1.2.3-SNAPSHOT-jar-with-dependencies.jar Main",
        "postgres: checkpointer",
        "grep -r author /srv/books",
        "curl https://example.org/path?page=2",
        "app --user me --host db.example.org --port 5432",
    ],
)
def test_a_harmless_command_line_stays_as_it_is(line: str) -> None:
    assert masked(line.split()) == line


@given(st.lists(st.text(max_size=300), max_size=20))
def test_any_command_line_gives_a_short_printable_text(arguments: list[str]) -> None:
    text = masked(arguments)

    assert len(text) <= 200
    assert text.isprintable()


@given(
    st.text(st.characters(min_codepoint=48, max_codepoint=122, categories=["L", "N"]), min_size=8),
    st.sampled_from(["--password", "--auth-token", "--client-secret", "-passwd"]),
)
def test_whatever_the_secret_is_its_option_hides_it(secret: str, option: str) -> None:
    assert secret not in masked(["/bin/x", option, secret])
    assert secret not in masked(["/bin/x", f"{option}={secret}"])


@pytest.mark.parametrize(
    "text",
    [
        "token." * 30_000,
        "secret.token-" * 15_000,
        "a." * 100_000,
        "a://b:" * 30_000,
        "://" * 60_000,
        ":" * 200_000,
        "aA1:" * 50_000,
        "eyJ-" * 3_000,
        "token" + " " * 200_000,
        "x" * 200_000,
    ],
    ids=lambda text: text[:6],
)
def test_text_that_nearly_holds_a_secret_costs_time_in_proportion(text: str) -> None:
    """Each took minutes to years while an expression looked at the same letters again."""
    assert masked_text(text) == text
