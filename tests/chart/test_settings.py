"""The chart tells each service only what it knows, and all that it needs."""

from __future__ import annotations

import ast
import os

import pytest

from shared.messaging.tokens import new_signing_key
from tests.chart.helm import ChartError
from tests.chart.rendering import SCENARIOS, Manifest, render
from tests.chart.renew import SETTINGS, settings_class, variables

# Stand-ins for values that come from Secrets and from the pod itself.
_SECRET = {
    "BAROGRAPH_BROKER_URL": "amqp://user:secret@broker:5672/%2F",
    "BAROGRAPH_STORE_URL": "postgresql+psycopg://user:secret@database/name",
    "BAROGRAPH_HEALER_SMTP_URL": "smtp://mail.example:25",
    "BAROGRAPH_HEALER_CHANNELS": '[{"type": "slack", "name": "ops", "url": "https://x.example"}]',
    "BAROGRAPH_HEALER_LINK_KEYS": "0123456789abcdef0123456789abcdef",
    "BAROGRAPH_TASK_MEMBER_BROKER_URL": "amqp://member:secret@broker:5672/%2F",
    "BAROGRAPH_TASK_MEMBER_SIGNING_KEY": new_signing_key(),
    "BAROGRAPH_AGENT_HOST": "node-1.example",
}


def environment(manifests: list[Manifest], service: str) -> dict[str, str]:
    """Return what the service's container gets; what a Secret or the pod holds is made up."""
    given = variables(manifests, service)
    return {
        name: _SECRET.get(name, "x") if value.startswith("{") and "Ref" in value else value
        for name, value in given.items()
    }


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("service", SETTINGS)
def test_a_service_starts_with_what_it_is_told(
    service: str, scenario: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("BAROGRAPH_")]:
        monkeypatch.delenv(name)
    told = environment(render(scenario), service)
    for name, value in told.items():
        monkeypatch.setenv(name, value)

    settings = settings_class(service).load(service)

    assert settings.broker_url.get_secret_value() == _SECRET["BAROGRAPH_BROKER_URL"]
    assert (settings.health_host, str(settings.state_dir)) == ("0.0.0.0", "/var/lib/barograph")
    shared = {f"BAROGRAPH_{name.upper()}" for name in type(settings).model_fields}
    own = {f"BAROGRAPH_{service.upper()}_{name.upper()}" for name in type(settings).model_fields}
    for_tshell = {"BAROGRAPH_URL", "BAROGRAPH_TOKEN"} if service == "client" else set()
    for_libraries = {"PGSSLROOTCERT", "HTTPS_PROXY"} if scenario == "everything" else set()
    assert set(told) <= shared | own | for_tshell | for_libraries


def test_every_service_has_its_own_broker_user_and_database() -> None:
    manifests = render()
    for service in SETTINGS:
        given = variables(manifests, service)
        broker = ast.literal_eval(given["BAROGRAPH_BROKER_URL"])["secretKeyRef"]
        assert broker == {"name": "barograph-broker", "key": service}
        store = given.get("BAROGRAPH_STORE_URL", "")
        if "secretKeyRef" in store:
            assert ast.literal_eval(store)["secretKeyRef"]["key"] == service


def test_only_who_uses_the_object_store_gets_its_keys() -> None:
    manifests = render()
    users = {s for s in SETTINGS if "BAROGRAPH_S3_SECRET_KEY" in variables(manifests, s)}

    assert users == {"client", "task", "detector", "predictor", "healer"}


def test_only_the_healer_and_the_page_have_the_healers_token() -> None:
    manifests = render()
    holders = {
        (service, name)
        for service in SETTINGS
        for name, value in variables(manifests, service).items()
        if "'key': 'healer'" in value and "tokens" in value
    }
    assert holders == {
        ("client", "BAROGRAPH_CLIENT_HEALER_TOKEN"),
        ("healer", "BAROGRAPH_HEALER_HTTP_TOKEN"),
    }
    assert variables(manifests, "client")["BAROGRAPH_CLIENT_HEALER_API_URL"] == (
        "http://demo-barograph-healer:8081"
    )


def test_values_reach_the_service_as_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(render("everything"), "healer").items():
        monkeypatch.setenv(name, value)

    settings = settings_class("healer").load("healer")

    assert settings.model_dump()["mail_to"] == "oncall@example.com"
    assert settings.model_dump()["policy"]["rules"][0]["items"] == "df.*"


def test_without_the_nodes_network_the_agent_sends_no_figures_of_it() -> None:
    in_pod = variables(render(), "agent")["BAROGRAPH_AGENT_ITEMS"]

    assert "cpu.idle" in in_pod
    assert "net.if" not in in_pod
    assert "BAROGRAPH_AGENT_ITEMS" not in variables(render("everything"), "agent")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"replicas": 3}, "additional properties 'replicas' not allowed"),
        ({"client": {"replica": 2}}, "at '/client': additional properties 'replica' not allowed"),
        ({"client": {"replicas": 0}}, "at '/client/replicas': minimum: got 0, want 1"),
        ({"task": {"replicas": 0}}, "at '/task/replicas': minimum: got 0, want 1"),
        ({"logLevel": "loud"}, "value must be one of 'DEBUG', 'INFO', 'WARNING', 'ERROR'"),
        ({"broker": {"port": "amqp"}}, "at '/broker/port': got string, want integer"),
        ({"healer": {"settings": {"mail": "x"}}}, "at '/healer/settings': additional properties"),
        ({"nodeAgent": {"hostPaths": [{"path": "/"}]}}, "at '/nodeAgent/hostPaths/0/path'"),
        ({"objectStore": {"url": "s3.example"}}, "at '/objectStore/url'"),
        ({"objectStore": {"url": ""}}, "Not set: objectStore.url."),
        ({"jobs": {"namespace": "barograph"}}, "must not be the release's own namespace"),
        ({"quickstart": {"enabled": True}}, "quickstart.enabled brings its own"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_wrong(values: Manifest, said: str) -> None:
    with pytest.raises(ChartError) as refusal:
        render(values=values)

    assert said in str(refusal.value)


@pytest.mark.parametrize("name", ["channels", "link_keys", "smtp_url", "http_token"])
def test_a_secret_of_the_healer_cannot_be_given_as_a_setting(name: str) -> None:
    with pytest.raises(ChartError) as refusal:
        render(values={"healer": {"settings": {name: "x"}}})

    assert name in str(refusal.value)


def test_channels_and_link_keys_come_from_a_secret() -> None:
    given = variables(render("everything"), "healer")
    for variable, key in (("CHANNELS", "channels"), ("LINK_KEYS", "link-keys")):
        reference = ast.literal_eval(given[f"BAROGRAPH_HEALER_{variable}"])["secretKeyRef"]
        assert (reference["name"], reference["key"]) == ("barograph-channels", key)


def test_all_that_is_missing_is_said_at_once() -> None:
    nothing = {
        "broker": {"existingSecret": ""},
        "objectStore": {"url": "", "existingSecret": ""},
        "database": {"existingSecret": ""},
    }
    with pytest.raises(ChartError) as refusal:
        render(values=nothing)

    for name in ("broker.", "objectStore.url", "objectStore.existingSecret", "database.", "quick"):
        assert name in str(refusal.value)
