"""What is written about the chart is true of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.chart.helm import helm
from tests.chart.rendering import CHART, KUBERNETES, named, render

ROOT = Path(__file__).parents[2]
HOW_TO = (ROOT / "docs/how-to/install-on-kubernetes.md").read_text()
README = (ROOT / "README.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_way_into_a_cluster_is_short_and_the_same_in_both_places() -> None:
    (in_readme,) = [b for b in blocks(README, "sh") if "helm install" in b]
    (in_how_to,) = [b for b in blocks(HOW_TO, "sh") if "helm install" in b]

    assert re.sub(r" +#", " #", in_readme) == re.sub(r" +#", " #", in_how_to)
    assert len(in_readme.splitlines()) < 10


def test_the_documented_install_renders() -> None:
    (block,) = [b for b in blocks(README, "sh") if "helm install" in b]
    settings = re.findall(r"--set (\S+)", block)
    options = [part for each in settings for part in ("--set", each)]

    text = helm(
        "template",
        "barograph",
        str(CHART),
        "--namespace",
        "barograph",
        "--kube-version",
        KUBERNETES,
        *options,
    )

    manifests = [m for m in yaml.safe_load_all(text) if m]
    image = named(manifests, "Deployment", "task")["spec"]["template"]["spec"]["containers"][0]
    built = re.search(r"-t (\S+)\$s:(\S+)", block)
    assert built is not None
    assert image["image"] == f"{built[1]}task:{built[2]}"


def test_the_documented_values_for_servers_of_ones_own_and_for_projects_render() -> None:
    servers, projects = (v for v in map(yaml.safe_load, blocks(HOW_TO, "yaml")) if "kind" not in v)

    manifests = render(values=servers | projects)

    assert named(manifests, "StatefulSet", "detector")["spec"]["replicas"] == 2
    quota = named(manifests, "ResourceQuota", "jobs")
    assert quota["metadata"]["namespace"] == projects["jobs"]["projects"]["vision"]["namespace"]


def _of_secrets(node: Any) -> Iterator[tuple[str, str]]:
    """Name and key of everything in a manifest that is read from a Secret."""
    if isinstance(node, dict):
        if "secretKeyRef" in node:
            yield node["secretKeyRef"]["name"], node["secretKeyRef"]["key"]
        secret = node.get("secret") or {}
        name = secret.get("secretName") or secret.get("name")
        yield from ((name, item["key"]) for item in secret.get("items") or [])
        for value in node.values():
            yield from _of_secrets(value)
    elif isinstance(node, list):
        for value in node:
            yield from _of_secrets(value)


def test_the_documented_secrets_have_the_keys_that_pods_read() -> None:
    rows = re.findall(r"^\| `(\w+)\.(\w+Secret)` \| (.*) \|$", HOW_TO, re.MULTILINE)
    given: dict[str, Any] = {"objectStore": {"url": "https://s3.example"}}
    for section, value, _ in rows:
        given.setdefault(section, {})[value] = f"{section}-{value}".lower()
    documented = {
        (given[section][value], key)
        for section, value, keys in rows
        for key in re.findall("`([a-z-]+)`", keys)
    }

    read = set(_of_secrets(render(values=given | {"nodeAgent": {"enabled": True}})))

    assert read == documented
    fetched = yaml.safe_load(blocks(HOW_TO, "yaml")[-1])
    assert fetched["kind"] == "ExternalSecret"
    assert fetched["spec"]["target"]["name"] in HOW_TO.split("## Where jobs run")[0]


def test_what_is_documented_as_kept_is_what_is_kept() -> None:
    name = "barograph-quickstart-passwords"
    kept = [
        m["metadata"]["name"].replace("demo-", "")
        for m in render("quickstart")
        if m["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"
    ]

    assert sorted(kept) == ["barograph-jobs", name]
    assert f"delete secret {name}" in HOW_TO
    assert "delete namespace barograph-jobs" in HOW_TO


def test_every_value_the_schema_allows_is_declared_with_its_default() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    assert missing(schema, values, schema["definitions"], "") == []


def missing(schema: Any, values: Any, definitions: Any, path: str) -> list[str]:
    """Paths the schema names and the values do not have, where the values say anything."""
    reference = schema.get("$ref", "").rpartition("/")[2] if isinstance(schema, dict) else ""
    if reference in {"pods", "text"} and path.count(".") > 1:
        return []  # a service's own: what `pods` at the top declares
    if reference:
        schema = definitions[reference]
    found = []
    for name, part in (schema.get("properties") or {} if isinstance(schema, dict) else {}).items():
        where = f"{path}.{name}"
        if name == "global" or path.endswith(".settings"):
            continue
        if not isinstance(values, dict) or name not in values:
            found.append(where)
        else:
            found += missing(part, values[name], definitions, where)
    return found


def test_every_block_of_values_says_what_it_is_for() -> None:
    lines = (CHART / "values.yaml").read_text().splitlines()
    undocumented = []
    for number, line in enumerate(lines):
        top = re.match(r"(\w+):", line)
        if top is None:
            continue
        above = lines[number - 1].startswith("#")
        end = next((n for n in range(number + 1, len(lines)) if re.match(r"\w", lines[n])), None)
        within = any("# --" in each for each in lines[number + 1 : end])
        if not (above or within):
            undocumented.append(top[1])

    assert undocumented == []
