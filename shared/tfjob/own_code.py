"""Arguments and variables of a TFJob whose command a folder of one's own replaces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from shared.tfjob.branch import Findings
from shared.tfjob.replica import Replica
from shared.tfjob.run_command import expanded, is_the_platforms, references, variables

_ONLY_THERE = (
    "refers to $({name}), whose value only the pod knows; nothing expands it for a folder's"
    " program: have the program read the variable"
)


def expand(
    replica: Replica, env: Iterable[tuple[str, str | None]], args: Iterable[str], findings: Findings
) -> tuple[dict[str, str], list[str]]:
    """The variables and arguments, with the references that can be expanded before it runs.

    One to a value that is known in the pod alone would reach the program as it is written.
    """
    pairs = [(name, value) for name, value in env if value is not None]
    found = variables(pairs, {})
    words = [*args]
    in_pod = {name for name, value in env if value is None}
    for name in dict.fromkeys(_left(pairs, words, found)):
        if name in in_pod or is_the_platforms(name) or replica.env_from:
            findings.unsupported(replica.path, _ONLY_THERE.format(name=name))
    return found, [expanded(word, found) for word in words]


def _left(
    pairs: Iterable[tuple[str, str]], words: Iterable[str], known: dict[str, str]
) -> Iterator[str]:
    before: set[str] = set()
    for name, value in pairs:
        yield from (each for each in references(value) if each not in before)
        before.add(name)
    for word in words:
        yield from (each for each in references(word) if each not in known)
