"""Repairs RabbitMQ's stream coordinator after a node was killed in its first second.

Ra, RabbitMQ's consensus library, keeps the names of its members in ``names.dets`` and writes that
file half a second after a name was added. A node that is killed before has the coordinator's log
but not its name: the coordinator is not started again, and each stream is "down or inaccessible"
forever (seen with 3.10.8). With the name put back it continues from its log; nothing is lost.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from shared.embedded.process import EmbeddedError

_NAME = "rabbit_stream_coordinator"
_UID = re.compile(r"[A-Z0-9_]{1,64}")
_TIMEOUT_S = 120


def forgotten_coordinator(data: Path) -> str:
    """The directory of a log whose member's name was lost, below a node's ``data``; or nothing."""
    for logs in data.glob("*/coordination/*/"):
        names = logs / "names.dets"
        if names.is_file() and _NAME.encode() in names.read_bytes():
            continue
        for config in logs.glob("*/config"):
            if _NAME in config.read_text(errors="replace") and _UID.fullmatch(config.parent.name):
                return config.parent.name
    return ""


def remember_coordinator(
    uid: str, command: Path, node: str, environment: Mapping[str, str]
) -> None:
    """Put the name back on the running node, and start the coordinator from its log.

    Args:
        uid: what ``forgotten_coordinator`` found before the node was started.
        command: the ``rabbitmqctl`` of the node's version.
        node: the node's name.
        environment: the node's own, with its cookie.

    Raises:
        EmbeddedError: it could not be started.
    """
    expression = (
        f'dets:insert(ra_coordination_directory_reverse, {{{_NAME}, <<"{uid}">>}}),'
        " dets:sync(ra_coordination_directory_reverse),"
        f" ra:restart_server(coordination, {{{_NAME}, node()}})."
    )
    asked = subprocess.run(
        [command, "-n", node, "eval", expression],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT_S,
    )
    if asked.returncode or asked.stdout.split() != ["ok"]:
        said = (asked.stdout + asked.stderr).strip()
        raise EmbeddedError(f"RabbitMQ's streams could not be recovered after a crash: {said}")
