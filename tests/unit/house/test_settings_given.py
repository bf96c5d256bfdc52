"""Whoever starts a service gives it only settings it knows: an unknown one stops it."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import yaml

from shared.embedded.stack import MODULES, Stack
from shared.messaging import tokens
from shared.settings import ServiceSettings

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
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in COMPOSE["services"][name]["environment"].items():
        monkeypatch.setenv(key, tokens.new_signing_key() if key.endswith("_SIGNING_KEY") else value)

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
    for key, value in stack.environment(name).items():
        monkeypatch.setenv(key, value)

    settings = settings_class(MODULES[name]).load(name)

    assert settings.state_dir == tmp_path / name
    assert settings.store_url.get_secret_value() == f"sqlite:///{tmp_path / name}.db"
