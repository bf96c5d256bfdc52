"""``python -m tests.chart.renew``: write again what the chart's tests compare with.

The golden manifests, and in the schema the names of the settings that values may give.
"""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

import yaml

from shared.settings import ServiceSettings
from tests.chart.rendering import CHART, SCENARIOS, Manifest, render

GOLDEN = Path(__file__).parent / "golden"
SCHEMA = CHART / "values.schema.json"
_WIDTH = 100
SETTINGS = {
    "client": "services.client.settings",
    "task": "services.task.settings",
    "autospec": "services.autospec.settings",
    "detector": "services.detector.settings",
    "predictor": "services.predictor.settings",
    "healer": "services.healer.settings",
    "agent": "services.healer.agent.settings",
}


def settings_class(service: str) -> type[ServiceSettings]:
    """The service's own settings."""
    found = [
        value
        for value in vars(importlib.import_module(SETTINGS[service])).values()
        if isinstance(value, type)
        and issubclass(value, ServiceSettings)
        and value is not ServiceSettings
    ]
    assert len(found) == 1
    return found[0]


def variables(manifests: list[Manifest], service: str) -> dict[str, str]:
    """Return what the chart tells a service: values as given, or what they are taken from."""
    found: dict[str, str] = {}
    for manifest in manifests:
        if manifest["metadata"]["name"].endswith(f"-{service}"):
            if manifest["kind"] == "ConfigMap":
                found |= manifest["data"]
            elif manifest["kind"] in {"Deployment", "StatefulSet", "DaemonSet"}:
                pod = manifest["spec"]["template"]["spec"]
                # The values may put sidecars beside the service.
                (container,) = [each for each in pod["containers"] if each["name"] == service]
                for each in container["env"]:
                    found[each["name"]] = each.get("value") or str(each["valueFrom"])
    return found


def free_settings(service: str) -> list[str]:
    """The service's own settings that the chart leaves to the values."""
    names = set(settings_class(service).model_fields) - set(ServiceSettings.model_fields)
    for path in (CHART / "templates").glob("*.*"):
        told = re.findall(rf"BAROGRAPH_{service.upper()}_(\w+)", path.read_text())
        names -= {name.lower() for name in told}
    # The chart decides about these in some installations only.
    chosen = {"agent": {"items"}, "detector": {"roles"}}.get(service, set())
    return sorted(names | chosen | {"log_level"})


def renewed_schema() -> str:
    """The schema with the services' settings as they are now."""
    schema = json.loads(SCHEMA.read_text())
    for service in SETTINGS:
        part = schema["properties"]["nodeAgent" if service == "agent" else service]
        part["properties"]["settings"]["properties"] = dict.fromkeys(free_settings(service), True)
    own = [n for n in free_settings("detector") if n.startswith("gateway_")]
    gateway = schema["properties"]["gateway"]["properties"]["settings"]
    gateway["properties"] = dict.fromkeys([*own, "heartbeat_s", "log_level"], True)
    return _compact(schema, 0, 0) + "\n"


def golden(scenario: str) -> str:
    """The scenario's manifests, without what is made up anew each time or a file of the chart."""
    manifests = [_shortened(manifest) for manifest in render(scenario)]
    manifests.sort(
        key=lambda m: (m["kind"], m["metadata"].get("namespace", ""), m["metadata"]["name"])
    )
    return yaml.safe_dump_all(manifests, width=_WIDTH)


def _shortened(manifest: Manifest) -> Manifest:
    if manifest["kind"] == "ConfigMap":
        data = {n: "(a file)" if "\n" in text else text for n, text in manifest["data"].items()}
        return manifest | {"data": data}
    if manifest["kind"] != "Secret":
        return manifest
    hidden = {
        part: dict.fromkeys(manifest[part], "(made up)")
        for part in ("data", "stringData")
        if part in manifest
    }
    return manifest | hidden


def _compact(value: Any, indent: int, used: int) -> str:
    """JSON with as much on a line as fits."""
    line = json.dumps(value)
    if not isinstance(value, dict | list) or indent + used + len(line) < _WIDTH:
        return line
    pad = " " * (indent + 2)
    if isinstance(value, list):
        parts, ends = [_compact(each, indent + 2, 0) for each in value], "[]"
    else:
        parts, ends = [], "{}"
        for key, each in value.items():
            name = f"{json.dumps(key)}: "
            parts.append(name + _compact(each, indent + 2, len(name)))
    body = ",\n".join(pad + part for part in parts)
    return f"{ends[0]}\n{body}\n{' ' * indent}{ends[1]}"


def main() -> None:
    """The program."""
    SCHEMA.write_text(renewed_schema())
    for path in GOLDEN.glob("*.yaml"):
        path.unlink()
    GOLDEN.mkdir(exist_ok=True)
    for scenario in SCENARIOS:
        (GOLDEN / f"{scenario}.yaml").write_text(golden(scenario))


if __name__ == "__main__":
    main()
