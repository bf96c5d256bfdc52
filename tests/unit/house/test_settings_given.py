"""Whoever starts a service gives it only settings it knows: an unknown one stops it."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import get_args
from urllib.parse import urlsplit

import pytest
import yaml
from pydantic import BaseModel

from services.detector.detectors import registered as detectors
from services.healer.notify.channels import registered as channels
from services.healer.remediations import registered as remediations
from services.predictor.forecasters import registered as forecasters
from shared.embedded.stack import MODULES, Stack
from shared.messaging import tokens
from shared.settings import ServiceSettings, SettingsError

ROOT = Path(__file__).parents[3]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES = ("client", "task", "autospec", "detector", "predictor", "healer")


def settings_class(module: str) -> type[ServiceSettings]:
    found = [
        value
        for value in vars(importlib.import_module(f"{module}.settings")).values()
        if isinstance(value, type)
        and issubclass(value, ServiceSettings)
        and value is not ServiceSettings
    ]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("name", SERVICES)
def test_compose_gives_a_service_only_what_it_knows(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (file,) = COMPOSE["services"][name]["configs"]
    given = dict(COMPOSE["services"][name]["environment"])
    assert given["BAROGRAPH_CONFIG"] == file["target"]
    given["BAROGRAPH_CONFIG"] = str(tmp_path / "barograph.toml")
    (tmp_path / "barograph.toml").write_text("# as the script writes it\n")
    for key, value in given.items():
        given_alone = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)  # as compose without an .env
        monkeypatch.setenv(
            key, tokens.new_signing_key() if key.endswith("_SIGNING_KEY") else given_alone
        )

    settings = settings_class(f"services.{name}").load(name)

    assert settings.broker_url.get_secret_value().startswith(f"amqp://{name}:")


def test_the_brokers_of_compose_and_quickstart_and_the_guides_accept_our_tokens() -> None:
    chart = ROOT / "charts/barograph/files"
    configs = COMPOSE["configs"]
    guide = (ROOT / "docs/how-to/install-on-kubernetes.md").read_text()
    for conf, plugins, directory in (
        (configs["rabbitmq"]["content"], configs["plugins"]["content"], "rabbitmq"),
        (
            (chart / "rabbitmq.conf").read_text(),
            (chart / "enabled_plugins").read_text(),
            "barograph",
        ),
        (guide, guide, "rabbitmq"),
    ):
        expected = tokens.server_settings(f"/etc/{directory}/members.pem")
        assert {f"{name} = {value}" for name, value in expected.items()} <= set(conf.splitlines())
        assert tokens.PLUGIN in plugins


@pytest.mark.parametrize("name", MODULES)
def test_the_supervisor_gives_a_service_only_what_it_knows(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = Stack(tmp_path)
    stack.plan_addresses()
    given = stack.environment(name)
    for key, value in given.items():
        monkeypatch.setenv(key, value)

    settings = settings_class(MODULES[name]).load(name)

    assert settings.state_dir == tmp_path / name
    assert settings.store_url.get_secret_value() == f"sqlite:///{tmp_path / name}.db"
    # Services are started beside the servers: by then every server must have its port.
    ports = {key: urlsplit(value).port for key, value in given.items() if "://127." in value}
    ports |= {"mailbox": urlsplit(stack.file.smtp_url).port}
    assert [key for key, port in ports.items() if not port and "STORE" not in key] == []


OLD_NAMES = [
    ("healer", "ALERTING", {"storm": {"longest_interval_s": 9}}, "max_interval_s"),
    ("healer", "ALERTING", {"escalation": [{"after_s": 9, "least": "info"}]}, "min_severity"),
    ("healer", "POLICY", {"rules": [{"level": "observe", "least": "info"}]}, "min_severity"),
    ("healer", "CHANNELS", [{"type": "slack", "name": "a", "least": "info"}], "min_severity"),
    ("healer", "REMEDIATIONS", {"scale-deployment": {"most": 3}}, "max_replicas"),
    ("healer", "REMEDIATIONS", {"expand-claim": {"most_gib": 3}}, "max_gib"),
    ("detector", "ENGINE", {"most_series": 9}, "max_series"),
    ("detector", "ENGINE", {"most_clock_step_s": 9}, "max_clock_step_s"),
    ("predictor", "ENGINE", {"least_points": 9}, "min_points"),
]


@pytest.mark.parametrize(("service", "name", "value", "new"), OLD_NAMES, ids=lambda v: str(v)[:40])
def test_an_old_name_anywhere_is_refused_with_the_new_one(
    service: str, name: str, value: object, new: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = f"BAROGRAPH_{service.upper()}_{name}"
    monkeypatch.setenv(variable, json.dumps(value))

    with pytest.raises(SettingsError) as refused:
        settings_class(f"services.{service}").load(service)

    assert f"it is called {new} now" in str(refused.value)
    assert variable in str(refused.value)


def test_a_misspelt_name_within_json_is_answered_with_the_near_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BAROGRAPH_HEALER_ALERTING", '{"storm": {"alrets": 3}}')

    with pytest.raises(SettingsError, match=r"storm.alrets: no such setting; is alerts meant\?"):
        settings_class("services.healer").load("healer")


def test_every_setting_is_described_and_none_is_named_least_or_most() -> None:
    models: list[type[BaseModel]] = [settings_class(f"services.{name}") for name in SERVICES]
    models += [settings_class("services.healer.agent"), *remediations().values()]
    models += [*channels().values(), *detectors().values(), *forecasters().values()]
    seen: set[type[BaseModel]] = set()
    silent: list[str] = []
    while models:
        model = models.pop()
        for name, field in model.model_fields.items():
            assert not {"least", "most"} & set(name.split("_")), (model, name)
            if not field.description:
                silent.append(f"{model.__name__}.{name}")
            models += [each for each in held(field.annotation) if each not in seen]
        seen.add(model)
    assert silent == []


def held(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for each in get_args(annotation) for model in held(each)]
