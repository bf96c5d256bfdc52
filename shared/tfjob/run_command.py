"""Main program of an imported TFJob, which executes the container's command.

Runs in the job's own image, so it uses nothing but Python itself. ``command.json`` beside it
holds, for each role, ``argv``, ``env`` (pairs of name and value, in the file's order; without a
value where Kubernetes has put it into this process' environment), ``cwd``, and ``env_from``:
whether there are variables whose names only Kubernetes knows.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

_REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")


def main() -> None:
    """Replace this process."""
    commands = json.loads(Path(__file__).with_name("command.json").read_text(encoding="utf-8"))
    role = json.loads(os.environ.get("TF_CONFIG") or "{}").get("task", {}).get("type", "worker")
    command = commands[role]
    known = {name: value for name, value in os.environ.items() if is_the_platforms(name)}
    known = variables(command["env"], known)
    if command.get("env_from"):
        # The variables of an object and of the image cannot be told apart here.
        known = {**os.environ, **known}
    argv = [expanded(word, known) for word in command["argv"]]
    os.environ.update(known)  # what execvp looks the program up with
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        # Python ignores them, and so would what it executes: `yes | head` would fail.
        signal.signal(number, signal.SIG_DFL)
    try:
        if command["cwd"]:
            os.chdir(command["cwd"])
        os.execvp(argv[0], argv)  # noqa: S606 - no shell is what we want
    except OSError as error:
        sys.stderr.write(f"{command['cwd'] or argv[0]}: {error.strerror}\n")
        sys.exit(127 if isinstance(error, FileNotFoundError) else 126)


def variables(pairs: Iterable[tuple[str, str | None]], known: dict[str, str]) -> dict[str, str]:
    """``known`` and the variables of ``pairs``, each of which may refer to those before it."""
    found = dict(known)
    for name, value in pairs:
        if value is None:
            found[name] = os.environ.get(name, "")
        else:
            found[name] = expanded(value, found)
    return found


def expanded(text: str, known: dict[str, str]) -> str:
    """``text`` as Kubernetes expands it.

    ``$(NAME)`` is the variable's value, or stays as written where the name is not known; ``$$`` is
    one dollar sign. What a value brings in is not looked at again.
    """

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        return "$" if name is None else known.get(name, match.group(0))

    return _REFERENCE.sub(value, text)


def references(text: str) -> list[str]:
    """The names to which ``text`` refers."""
    return [each.group(1) for each in _REFERENCE.finditer(text) if each.group(1) is not None]


def is_the_platforms(name: str) -> bool:
    """As in Kubernetes, what the image itself sets cannot be referred to."""
    return name == "TF_CONFIG" or name.startswith("BAROGRAPH_")


if __name__ == "__main__":
    main()
