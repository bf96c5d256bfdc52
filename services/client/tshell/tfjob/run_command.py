"""Main program of an imported TFJob: becomes the command that its container would have run.

Runs in the job's own image, so it uses nothing but Python itself. ``command.json`` beside it
holds, for each role, ``argv``, ``env`` and ``cwd``.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path


def main() -> None:
    """Replace this process."""
    commands = json.loads(Path(__file__).with_name("command.json").read_text(encoding="utf-8"))
    role = json.loads(os.environ.get("TF_CONFIG") or "{}").get("task", {}).get("type", "worker")
    command = commands[role]
    environment = dict(os.environ)
    for name, value in command["env"].items():
        environment[name] = expanded(value, environment)
    argv = [expanded(word, environment) for word in command["argv"]]
    os.environ.update(environment)  # what execvp looks the program up with
    try:
        if command["cwd"]:
            os.chdir(command["cwd"])
        os.execvp(argv[0], argv)  # noqa: S606 - no shell is what we want
    except OSError as error:
        print(f"{command['cwd'] or argv[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(127 if isinstance(error, FileNotFoundError) else 126)


def expanded(text: str, environment: dict[str, str]) -> str:
    """Kubernetes' ``$(NAME)``; ``$$(NAME)`` stays as ``$(NAME)``, unknown names as written."""

    def value(match: re.Match[str]) -> str:
        written = str(match.group(0))
        return written[1:] if written.startswith("$$") else environment.get(match.group(1), written)

    return re.sub(r"\$?\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)", value, text)


if __name__ == "__main__":
    main()
