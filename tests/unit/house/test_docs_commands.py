"""What the documentation shows is true: commands, settings, values, files and addresses."""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from fastapi import FastAPI
from pydantic import TypeAdapter
from typer.exceptions import TyperException
from typer.main import get_command

from scripts import release
from services.client.api.app import create_app as client_app
from services.client.groups import GroupRights
from services.client.job_file import read_job_file
from services.client.settings import ClientSettings
from services.client.tshell.app import app as tshell
from services.detector.overrides import Overrides
from services.detector.settings import EngineSettings
from services.healer.api.app import create_app as healer_app
from services.healer.api.dependencies import Healer
from services.healer.incidents.alertmanager_alerts import OutsideAlert
from services.healer.jobs.rules import JobRule
from services.healer.model.policy import Policy
from services.healer.notify.channels import parse
from services.healer.notify.settings import Alerting
from services.healer.notify.silences import Silence
from services.healer.settings import HealerSettings
from shared import observe
from shared.cli import application
from shared.cli.config import faults_of
from shared.contracts import JobSubmit
from shared.documents.http_page import ABSENT
from shared.documents.settings_page import service_settings
from shared.setting_sources import ConfigFile
from shared.settings import ServiceSettings
from shared.tfjob.importing import import_tfjob
from tests.documented import PAGES, ROOT, Block, assignments, blocks, commands, indented, inline

SHELL = blocks("sh")
LANGUAGES = {"sh", "json", "toml", "yaml", "python", "ini", "text", "mermaid", "javascript", ""}
OTHER_PROGRAMS = {
    *("amqp-publish", "cat", "cd", "curl", "docker", "echo", "eval", "git", "grep", "head", "helm"),
    *("kubectl", "ls", "mkdir", "openssl", "rabbitmq-plugins", "rabbitmqctl", "rm", "sh", "tar"),
    *(".", "envsubst", "hostname", "until", "sleep", "pg_dump", "pg_restore", "rclone"),
}
"""Programs of others that the documentation uses; a misspelt one is none of them."""
OURS = {"barograph": get_command(application.complete()), "tshell": get_command(tshell)}
PYTHONS = {"python", "python3", ".venv/bin/python"}
MAKEFILE = (ROOT / "Makefile").read_text()
SETTINGS = dict(service_settings(ROOT))
PLACEHOLDERS = {"BAROGRAPH_X", "BAROGRAPH_TASK_X", "BAROGRAPH_CLIENT_", "BAROGRAPH_HEALER_"}
GROUPS = {kind.group: kind for cls in SETTINGS.values() for kind in cls.REGISTRIES}
SUBMIT = TypeAdapter(JobSubmit)
WHOLE_JOB = {
    "job_id": "digits",
    "name": "digits",
    "package": "barograph:packages:p",
    "main": "train.py",
    "type": "distribute",
    "chief": True,
    "ps": 1,
    "workers": 1,
}
JSON: dict[str, Callable[[Any], object]] = {
    "docs/how-to/alert-lifecycle.md#0": Alerting.model_validate,
    "docs/how-to/alert-lifecycle.md#4": lambda body: [
        OutsideAlert.model_validate(alert) for alert in body["alerts"]
    ],
    "docs/how-to/channels.md#0": parse,
    "docs/how-to/channels.md#1": TypeAdapter(tuple[JobRule, ...]).validate_python,
    "docs/how-to/channels.md#3": lambda channel: parse([channel]),
    "docs/how-to/handle-alarms.md#1": Policy.model_validate,
    **{
        f"docs/how-to/run-a-job.md#{number}": lambda part: SUBMIT.validate_python(WHOLE_JOB | part)
        for number in range(9, 14)
    },
    "docs/how-to/silences.md#0": Silence.model_validate,
    "docs/how-to/who-may-do-what.md#1": TypeAdapter(dict[str, GroupRights]).validate_python,
    "docs/algorithms/detection.md#0": EngineSettings.model_validate,
}
"""What reads each JSON block."""


def _all_settings(content: dict[str, Any]) -> None:
    assert faults_of(ConfigFile(Path("barograph.toml"), content), {}) == []


TOML: dict[str, Callable[[Any], object]] = {
    "docs/how-to/configure.md#0": _all_settings,
    "docs/how-to/tune-detection.md#0": Overrides.model_validate,
    "docs/how-to/write-a-plug-in.md#2": lambda project: [
        GROUPS[group] for group in project["project"]["entry-points"]
    ],
}
PROMETHEUS = {"docs/how-to/alert-lifecycle.md#2", "docs/how-to/send-metrics.md#0"}
ALERTMANAGER = {"docs/how-to/alert-lifecycle.md#3"}
VALUES = {"docs/how-to/install-on-kubernetes.md#7", "docs/how-to/install-on-kubernetes.md#8"}
EXTERNAL_SECRETS = {"docs/how-to/install-on-kubernetes.md#13"}
ADAPTER = {"docs/how-to/scale.md#3"}
EXTERNAL_SECRETS = {"docs/how-to/install-on-kubernetes.md#13"}
COMPOSE_OVERRIDES = {"docs/how-to/who-may-do-what.md#2"}
JOB_FILES = {"docs/how-to/run-a-job.md#1"}
TFJOBS = {"docs/how-to/run-a-job.md#7"}
INDEXED_JOBS = {"docs/how-to/replay.md#2"}
READERS = [
    *JSON,
    *TOML,
    *PROMETHEUS,
    *ALERTMANAGER,
    *VALUES,
    *EXTERNAL_SECRETS,
    *ADAPTER,
    *EXTERNAL_SECRETS,
    *COMPOSE_OVERRIDES,
    *JOB_FILES,
    *TFJOBS,
    *INDEXED_JOBS,
]


def test_every_block_has_a_language_that_is_looked_at() -> None:
    for page in PAGES:
        languages = re.findall(
            r"^```(\S*)\n(?:.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL
        )
        assert set(languages) <= LANGUAGES, page


def test_every_block_of_values_has_a_reader() -> None:
    assert {str(block) for block in blocks("json", "toml", "yaml")} == set(READERS)


def test_external_secrets_bring_a_secret_that_the_example_values_name() -> None:
    known: set[str] = set()
    for block in blocks("yaml"):
        if str(block) in VALUES:
            parts = [part for part in yaml.safe_load(block.text).values() if isinstance(part, dict)]
            known |= {part["existingSecret"] for part in parts if "existingSecret" in part}
    (brought,) = (yaml.safe_load(b.text) for b in blocks("yaml") if str(b) in EXTERNAL_SECRETS)
    assert brought["kind"] == "ExternalSecret"
    assert brought["metadata"]["name"] == brought["spec"]["target"]["name"]
    assert brought["spec"]["target"]["name"] in known


def test_rules_of_prometheus_adapter_ask_for_metrics_that_there_are() -> None:
    (rules,) = (yaml.safe_load(b.text) for b in blocks("yaml") if str(b) in ADAPTER)
    (rule,) = rules["rules"]["external"]
    assert rule["seriesQuery"] in Path(observe.__file__).read_text()
    assert "<<.LabelMatchers>>" in rule["metricsQuery"]


def test_no_output_hides_a_command() -> None:
    shown = "\n".join(block.text for block in blocks("text", ""))

    assert not re.search(r"^(barograph|tshell|make|curl|python) ", shown, re.MULTILINE)


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_every_command_of_a_block_exists_as_it_is_written(block: Block) -> None:
    for words in commands(block.text):
        check(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_within_the_text_exists(page: Path) -> None:
    assert not re.search(r"^ +(barograph|tshell|make) ", indented(page), re.MULTILINE)
    for text in inline(page):
        if re.match(r"(barograph|tshell|make|python|\.venv/bin/python) [^=]", text):
            words = text.replace("[", "").replace("]", "").split()
            check(["1" if word == "N" else word for word in words], whole=False)


def check(words: list[str], *, whole: bool = True) -> None:
    """Fail unless the command is one; ``whole``: it is complete, too."""
    program, arguments = words[0], words[1:]
    for within in re.findall(r"\$\(([^()]+)\)", " ".join(words)):
        check(within.split())
    if program in OURS:
        parsed(OURS[program], arguments) if whole else known(OURS[program], arguments)
    elif program == "make":
        made(arguments)
    elif program in PYTHONS:
        run_by_python(arguments)
    elif program == "curl":
        requested(arguments)
    else:
        assert program in OTHER_PROGRAMS or (ROOT / program).exists(), words


def parsed(command: Any, arguments: list[str]) -> None:
    """Let the command's own parser read the arguments; nothing is run."""
    try:
        context = command.make_context(command.name, list(arguments))
    except TyperException as fault:
        if str(fault).endswith("does not exist."):
            return  # a file of the reader's
        raise
    if hasattr(command, "commands"):
        rest = [*context._protected_args, *context.args]
        _, command, rest = command.resolve_command(context, rest)
        parsed(command, rest)


def known(command: Any, words: list[str]) -> None:
    """The subcommands and options exist; arguments may be missing in a sentence."""
    while words and hasattr(command, "commands") and re.match(r"[a-z][a-z-]*$", words[0]):
        assert words[0] in command.commands, (command.name, words)
        command, words = command.commands[words[0]], words[1:]
    options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    assert {word for word in words if re.match(r"--?[a-z]", word)} <= options, words


def made(words: list[str]) -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    for word in words:
        name, assigned, _ = word.partition("=")
        used = re.search(rf"\$[({{]{name}[)}},]|\({name}\)|ifdef {name}\b", MAKEFILE)
        assert used if assigned else name in targets, words


def run_by_python(words: list[str]) -> None:
    if words[0] == "-c":
        for node in ast.walk(ast.parse(words[1])):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(str(node.module))
                assert all(hasattr(module, each.name) for each in node.names), words
        return
    if words[0] != "-m":
        assert (ROOT / words[0]).exists(), words
        return
    module, arguments = words[1], words[2:]
    if "<" in module:
        return
    spec = importlib.util.find_spec(module)
    assert spec is not None, words
    if spec.submodule_search_locations is not None:
        spec = importlib.util.find_spec(f"{module}.__main__")
    assert spec is not None, words
    assert spec.origin is not None, words
    if arguments and module.split(".")[0] in {"services", "shared", "bench", "examples", "tests"}:
        read_by_program(module, Path(spec.origin).read_text(), arguments)


class Read(BaseException):
    """The arguments were read."""


def read_by_program(module: str, source: str, arguments: list[str]) -> None:
    """The program's own parser takes the arguments; it gets no further."""
    for entered in re.findall(r'entry\.run\("([\w.]+)"', source):
        source += Path(str(importlib.util.find_spec(entered).origin)).read_text()
    if "argparse" not in source:
        package = "".join(p.read_text() for p in (ROOT / module.replace(".", "/")).glob("*.py"))
        assert f'"{arguments[0]}"' in package, (module, arguments)
        return
    own = argparse.ArgumentParser.parse_args

    def read(parser: argparse.ArgumentParser, *_: object) -> None:
        own(parser, arguments)
        raise Read

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", read)
        patch.setattr(sys, "argv", [module, *arguments])
        # A package's ``__main__`` is run: other tests use the package itself, too.
        program = f"{module}.__main__" if hasattr(sys.modules.get(module), "__path__") else module
        patch.delitem(sys.modules, program, raising=False)
        interrupts = signal.getsignal(signal.SIGINT)
        try:
            with pytest.raises(Read):
                runpy.run_module(module, run_name="__main__")
        finally:
            signal.signal(signal.SIGINT, interrupts)


def apps() -> Iterator[FastAPI]:
    yield client_app(ClientSettings(), *[ABSENT] * 7)
    yield healer_app(Healer(HealerSettings(), *[ABSENT] * 5, {}, ABSENT))


@cache
def routes() -> set[tuple[str, str]]:
    return {
        (method.upper(), re.sub(r"\{[^}]+\}", "[^/]+", path))
        for app in apps()
        for path, methods in app.openapi()["paths"].items()
        for method in methods
    }


def requested(words: list[str]) -> None:
    """The address of a request to one of our services is one that it answers."""
    options = argparse.ArgumentParser(exit_on_error=False)
    options.add_argument("-H", action="append")
    options.add_argument("-X")
    options.add_argument("-d")
    options.add_argument("address")
    found = options.parse_args(words)
    method = found.X or ("POST" if found.d else "GET")
    assert re.match(r"\$(HEALER|CLIENT|GATEWAY)/", found.address), "a port may be another"
    path = urlsplit(found.address).path.partition("/")[2]
    assert any(m == method and re.fullmatch(p, f"/{path}") for m, p in routes()), words


def test_every_setting_that_is_named_exists() -> None:
    common = {f"BAROGRAPH_{name.upper()}" for name in ServiceSettings.model_fields}
    known_names = common | {
        f"BAROGRAPH_{service.upper()}_{name.upper()}"
        for service, cls in SETTINGS.items()
        for name in cls.model_fields
    }
    code = [
        *(p for d in ("shared", "services", "replay", "tests", "scripts") for p in files(d)),
        *(ROOT / name for name in ("Makefile", "Dockerfile", "compose.yaml")),
    ]
    read = set(re.findall(r"BAROGRAPH_[A-Z0-9_]+", "\n".join(p.read_text() for p in code)))
    for page in PAGES:
        named = set(re.findall(r"BAROGRAPH_[A-Z0-9_]+", page.read_text()))
        assert named - known_names - read <= PLACEHOLDERS, page


def files(directory: str) -> list[Path]:
    own = Path(__file__)
    return [
        path
        for path in (ROOT / directory).rglob("*")
        if path.suffix in {".py", ".sh"} and path != own and "fuzz" not in path.parts
    ]


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_every_value_given_to_a_setting_is_one(
    block: Block, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = assignments(block.text)
    for name, value in given.items():
        monkeypatch.setenv(name, os.path.expandvars(value))

    for service, cls in SETTINGS.items():
        if any(name.startswith(f"BAROGRAPH_{service.upper()}_") for name in given):
            cls.load(service)


@pytest.mark.parametrize("block", blocks("json"), ids=str)
def test_json_is_what_its_reader_takes(block: Block) -> None:
    JSON[str(block)](json.loads(block.text))


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_toml_is_what_its_reader_takes(block: Block) -> None:
    TOML[str(block)](tomllib.loads(block.text))


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_programs_compile_and_import_what_there_is(block: Block) -> None:
    tree = ast.parse(block.text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert all(importlib.util.find_spec(each.name) for each in node.names)
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            assert all(hasattr(module, each.name) for each in node.names)


def chosen(names: set[str]) -> list[Block]:
    return [block for block in blocks("yaml") if str(block) in names]


@pytest.mark.parametrize("block", chosen(PROMETHEUS), ids=str)
def test_prometheus_takes_its_configuration(block: Block, tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    assert promtool, "install prometheus"
    (tmp_path / "prometheus.yml").write_text(block.text.replace("http://GATEWAY", "http://gateway"))
    command = [promtool, "check", "config", str(tmp_path / "prometheus.yml")]

    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("block", chosen(ALERTMANAGER), ids=str)
def test_the_webhook_for_alertmanager_leads_to_the_healer(block: Block, tmp_path: Path) -> None:
    found = yaml.safe_load(block.text)
    (receiver,) = found["receivers"]
    (webhook,) = receiver["webhook_configs"]

    assert ("POST", urlsplit(webhook["url"]).path) in routes()
    assert set(webhook) <= {"url", "url_file", "http_config", "send_resolved", "max_alerts"}
    amtool = shutil.which("amtool")
    if amtool:
        whole = {"route": {"receiver": receiver["name"]}} | found
        (tmp_path / "alertmanager.yml").write_text(yaml.safe_dump(whole))
        subprocess.run([amtool, "check-config", str(tmp_path / "alertmanager.yml")], check=True)


@pytest.mark.parametrize("block", chosen(VALUES), ids=str)
def test_values_of_the_chart_fit_its_schema(block: Block) -> None:
    chart = ROOT / "charts/barograph"
    schema = json.loads((chart / "values.schema.json").read_text())

    # Imported here: its formats take a second, which every process of the unit tests would pay.
    import jsonschema

    jsonschema.validate(yaml.safe_load(block.text), schema)


@pytest.mark.parametrize("block", chosen(EXTERNAL_SECRETS), ids=str)
def test_an_external_secret_fills_one_that_the_values_name(block: Block) -> None:
    secret = yaml.safe_load(block.text)
    values = "".join(each.text for each in chosen(VALUES))

    assert secret["kind"] == "ExternalSecret"
    assert secret["spec"]["target"]["name"] == secret["metadata"]["name"]
    assert f"existingSecret: {secret['metadata']['name']}" in values


@pytest.mark.parametrize("block", chosen(COMPOSE_OVERRIDES), ids=str)
def test_an_override_of_compose_gives_settings_that_exist(block: Block) -> None:
    override = yaml.safe_load(block.text)
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]

    for name, service in override["services"].items():
        assert name in services
        known = {
            f"BAROGRAPH_{name.upper()}_{field.upper()}" for field in SETTINGS[name].model_fields
        }
        assert set(service["environment"]) <= known
        assert set(service["secrets"]) <= set(override["secrets"])


@pytest.mark.parametrize("block", chosen(JOB_FILES), ids=str)
def test_a_jobs_file_is_one(block: Block) -> None:
    assert read_job_file(block.text.encode())["name"] == "digits"


@pytest.mark.parametrize("block", chosen(TFJOBS), ids=str)
def test_a_tfjob_can_be_imported(block: Block) -> None:
    import_tfjob(block.text.encode())


@pytest.mark.parametrize("block", chosen(INDEXED_JOBS), ids=str)
def test_an_indexed_job_has_a_pod_for_each_share(block: Block) -> None:
    spec = yaml.safe_load(block.text)["spec"]
    assert spec["completionMode"] == "Indexed"
    (container,) = spec["template"]["spec"]["containers"]
    written = " ".join([*container["command"], *container["args"]])
    check(written.replace("$(JOB_COMPLETION_INDEX)", "0").split())
    assert f"--share $(JOB_COMPLETION_INDEX)/{spec['completions']} " in written


def test_the_images_that_are_built_for_the_chart_are_all_that_it_runs() -> None:
    ours = set(release.OURS)
    loops = re.compile(r"^for s in ([a-z ]+); do\n +docker build", re.MULTILINE)
    built = [set(names.split()) for block in SHELL for names in loops.findall(block.text)]
    assert len(built) > 1
    assert all(names == ours for names in built)


def test_a_wrong_command_of_each_kind_is_found() -> None:
    for wrong in (
        "barograph healing wy db7",
        "barograph status --tokns",
        "tshell submit digits --mian train.py",
        "make tset",
        "make test AGRS=tests/unit",
        "python -m services.healer.agnet",
        "python -m services.healer test-chanel ops",
        "python -m shared.store sett-aside",
        "curl $HEALER/api/v1/alert",
        'eval "$(barograph status --shel)"',
        "curl http://127.0.0.1:8081/api/v1/alerts",
        "kubctl get pods",
    ):
        (words,) = commands(wrong)
        with pytest.raises(BaseException):  # noqa: B017, PT011 - each program has its own
            check(words)
