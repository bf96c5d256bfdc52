"""A rendered container run as a process of this machine: its command, environment and files.

What is mounted in the pod lies in a directory here, and paths are changed to match; nothing else
of what the chart says is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from shared.embedded.process import OwnedProcess
from tests.chart.rendering import Manifest, named


def start(
    manifests: list[Manifest],
    component: str,
    directory: Path,
    *,
    instead: Mapping[str, str],
    environment: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
) -> OwnedProcess:
    """Start the only container of a StatefulSet.

    Args:
        directory: where its volumes are, by name.
        instead: text in commands, variables and files to replace, for ports.
        environment: further variables.
        options: further arguments of the command.
    """
    pod = named(manifests, "StatefulSet", component)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    replaced = dict(instead)
    for mount in container["volumeMounts"]:
        volume = directory / mount["name"]
        volume.mkdir(parents=True, exist_ok=True)
        replaced[mount["mountPath"]] = str(volume)
    for name, text in _files(manifests, component).items():
        (directory / "configuration" / name).write_text(_with(text, replaced))
    place = container.get("workingDir")
    told = {each["name"]: _with(each["value"], replaced) for each in container.get("env", [])}
    return OwnedProcess(
        [*(_with(part, replaced) for part in container["command"]), *options],
        log=directory / "log",
        env={"PATH": os.environ["PATH"]} | told | dict(environment or {}),
        cwd=Path(_with(place, replaced)) if place else directory,
    )


def _files(manifests: list[Manifest], component: str) -> dict[str, str]:
    found: dict[str, str] = dict(named(manifests, "Secret", component)["stringData"])
    for manifest in manifests:
        if manifest["kind"] == "ConfigMap" and manifest["metadata"]["name"].endswith(component):
            found |= manifest["data"]
    return found


def _with(text: str, replaced: Mapping[str, str]) -> str:
    # In one pass: what is put in may look like what is looked for.
    pattern = "|".join(re.escape(old) for old in sorted(replaced, key=len, reverse=True))
    return re.sub(pattern, lambda found: replaced[found[0]], text)
