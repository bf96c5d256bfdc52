"""A TFJob's containers other than tensorflow, as ``containers`` of a job."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from shared.tfjob import advice, storage
from shared.tfjob.branch import Branch, Findings
from shared.tfjob.quantities import AMOUNTS, is_zero

_RESTRICTED = {
    "runAsNonRoot": (True,),
    "allowPrivilegeEscalation": (False,),
    "privileged": (False,),
    "readOnlyRootFilesystem": (False,),
    "capabilities": ({"drop": ["ALL"]}, {"drop": ["all"]}),
    "seccompProfile": ({"type": "RuntimeDefault"},),
    "fsGroupChangePolicy": ("OnRootMismatch", "Always"),
}
"""The fields of a security context that ask for nothing new: pods have it so here."""
MAX_WORD_BYTES = 131_072
"""Linux starts no program with a longer argument or variable, its final NUL included."""
TOO_LONG = f"has {MAX_WORD_BYTES} bytes or more, with which no program can be started; use a file"
_TYPOGRAPHIC = re.compile("[\u2018\u201a\u201c\u201e\u00ab].*[\u2019\u2018\u201d\u201c\u00bb]")
"""A word as web pages and word processors quote it; YAML reads such quotes as letters."""
_OF_A_SHELL = re.compile(r"&&|\|\|?|;|&|[0-9]?>>?|<|2>&1")
_SHELL_VARIABLE = re.compile(r"(--?[\w-]+=)?\$(\{[A-Z_][A-Z0-9_]*\}|[A-Z_][A-Z0-9_]*)(/\S*)?")
"""A word that a shell would replace, in a list that no shell reads."""


def beside(
    inits: list[Branch],
    others: list[Branch],
    sources: dict[str, dict[str, Any]],
    findings: Findings,
) -> list[dict[str, Any]]:
    """Init containers in their order, and then the rest, which run beside the program."""
    found = []
    for each in inits:
        restart = each.take("restartPolicy", str)
        if restart not in {None, "", "Always"}:
            findings.unsupported(each.at("restartPolicy"), "must be Always or left out")
        kind = "sidecar" if restart == "Always" else "init"
        found.append(_container(each, kind, sources, findings))
    return found + [_container(each, "sidecar", sources, findings) for each in others]


def security_context(branch: Branch, findings: Findings) -> None:
    """Take a security context that asks for what pods have anyway; the rest is not supported."""
    context = branch.branch("securityContext")
    for key, accepted in _RESTRICTED.items():
        if key in context.names():
            value = context.any(key)
            if value is None or value in accepted:
                findings.note(context.at(key), "left out: every pod has it so")
            else:
                text = f"not supported; {advice.POD_SECURITY}"
                findings.unsupported(context.at(key), text)
    context.close(dict.fromkeys(context.names(), advice.POD_SECURITY))


def _container(
    branch: Branch, kind: str, sources: dict[str, dict[str, Any]], findings: Findings
) -> dict[str, Any]:
    name = branch.take("name", str)
    if not name:
        findings.missing(branch.at("name"), "is missing")
    env, values = _variables(branch, findings)
    security_context(branch, findings)
    found = {
        "name": name,
        "image": branch.take("image", str),
        "command": words(branch, "command", findings),
        "args": words(branch, "args", findings),
        "working_dir": branch.take("workingDir", str),
        "env": env,
        "env_value_from": values,
        "env_from": storage.env_from(branch, findings),
        "mounts": storage.mounts(branch, sources, findings),
        **_amounts(branch, findings),
    }
    branch.close(advice.OWN_CONTAINER, advice.CONTAINER_HARMLESS)
    return {"kind": kind} | {key: value for key, value in found.items() if value}


def words(branch: Branch, key: str, findings: Findings) -> list[str]:
    """A command's or an argument list's words."""
    found = branch.take(key, list) or []
    if any(not isinstance(word, str) for word in found):
        findings.fault(branch.at(key), "every word must be a string; put it in quotes")
    typographic = [word for word in found if isinstance(word, str) and _TYPOGRAPHIC.fullmatch(word)]
    if typographic:
        text = f"has typographic quotes around {typographic[0][:60]}; write plain ones"
        findings.fault(branch.at(key), text)
    if any(isinstance(word, str) and len(word.encode()) >= MAX_WORD_BYTES for word in found):
        findings.fault(branch.at(key), f"a word {TOO_LONG}")
    texts = [str(word) for word in found]
    for text in _surprises(texts):
        findings.note(branch.at(key), text)
    return texts


def _surprises(texts: list[str]) -> Iterator[str]:
    """Yield in what the words of a list differ from those of a shell's line."""
    for word in texts:
        if _OF_A_SHELL.fullmatch(word):
            yield f"{word!r} is an argument here: no shell reads a list; write sh, -c and the line"
        elif _SHELL_VARIABLE.fullmatch(word):
            yield f"{word[:60]!r} stays as it is: no shell reads a list; write $(NAME)"
        elif "\r\n" in word:
            yield "has Windows' line ends (CRLF), at which a shell fails"


def _variables(branch: Branch, findings: Findings) -> tuple[dict[str, str], list[dict[str, Any]]]:
    env: dict[str, str] = {}
    values = []
    for each in branch.branches("env"):
        name, value, source = each.take("name", str), each.any("value"), each.branch("valueFrom")
        if not name:
            findings.missing(each.at("name"), "is missing")
        elif not isinstance(value, str | None):
            findings.fault(each.at("value"), "must be a string; put it in quotes")
        elif not source.names():
            env[name] = value or ""
        elif found := storage.value_from(name, source, findings):
            values.append(found)
        each.close()
    return env, values


def _amounts(branch: Branch, findings: Findings) -> dict[str, Any]:
    """Limits, or requests where there are none: a container here has one figure of each."""
    resources = branch.branch("resources")
    requests, limits = resources.branch("requests"), resources.branch("limits")
    found: dict[str, Any] = {}
    for name, (field, read) in AMOUNTS.items():
        limit, request = limits.any(name), requests.any(name)
        try:
            value = request if limit is None else limit
            if value is not None and not is_zero(value):
                found[field] = read(value)
        except ValueError as error:
            findings.fault((requests if limit is None else limits).at(name), str(error))
    if not found:
        findings.note(resources.path, "none are given: it gets 0.1 cores, 256Mi")
    for each in (requests, limits, resources):
        each.close(dict.fromkeys(each.names(), "a container beside the program has cpu and memory"))
    return found
