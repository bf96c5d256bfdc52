"""The table says what the code does: who constructs a message, and who handles one."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from shared import topology
from shared.contracts import message_types
from shared.topology import Principal, Route

_ROOT = Path(__file__).parents[3]
_PACKAGES = {
    Principal.AGENT: "services.healer.agent",
    Principal.MEMBER: "services.task.launcher",
} | {
    name: f"services.{name}"
    for name in Principal
    if name not in (Principal.AGENT, Principal.MEMBER, Principal.OUTSIDE, Principal.OPERATOR)
}
_CLASSES = {cls.__name__: cls.TYPE for cls in message_types().values()}
_A_CLASS = re.compile(rf"\b(?:{'|'.join(_CLASSES)})\b")
_MAKERS = ("model_validate", "model_validate_json", "model_construct")


def _folder(principal: Principal) -> Path:
    return _ROOT / _PACKAGES[principal].replace(".", "/")


@cache
def _trees(principal: Principal) -> tuple[ast.AST, ...]:
    """The principal's own code: a package inside it may be another principal's."""
    others = [_folder(p) for p in _PACKAGES if p is not principal]
    inner = [other for other in others if _folder(principal) in other.parents]
    files = [f for f in _folder(principal).rglob("*.py") if not set(inner) & set(f.parents)]
    if principal is not Principal.MEMBER:
        # The answer that every service may give: ``request.refused``.
        files.append(_ROOT / "shared" / "service" / "refusals.py")
    if f"{principal}.asked" in topology.subscriptions(principal):
        files.append(_ROOT / "shared" / "service" / "answering.py")
    # To parse all files takes seconds; most of them name no message.
    return tuple(ast.parse(text) for text in map(Path.read_text, files) if _A_CLASS.search(text))


@cache
def _nodes(principal: Principal) -> tuple[tuple[ast.AST, ast.AST], ...]:
    """The nodes of the principal's code that may use a message's class, each with its module."""
    return tuple(
        (module, node)
        for module in _trees(principal)
        for node in ast.walk(module)
        if isinstance(node, ast.Call | ast.Dict | ast.IfExp)
    )


def _named(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name) and node.id in _CLASSES:
        yield _CLASSES[node.id]
    elif isinstance(node, ast.BinOp | ast.Tuple):
        for part in ast.iter_child_nodes(node):
            yield from _named(part)


@cache
def _constructed(principal: Principal) -> set[str]:
    """Types of messages whose class is called, or chosen to be called."""
    found: set[str] = set()
    for _, node in _nodes(principal):
        if isinstance(node, ast.Call):
            callee = node.func
            if isinstance(callee, ast.Attribute) and callee.attr in _MAKERS:
                callee = callee.value
            found.update(_named(callee))
            if isinstance(node.func, ast.Name) and node.func.id == "partial" and node.args:
                found.update(_named(node.args[0]))
        elif isinstance(node, ast.IfExp):
            found.update(_named(node.body), _named(node.orelse))
    return found


@cache
def _dispatched(principal: Principal) -> set[str]:
    """Types of messages that are keys of a table of handlers."""
    found: set[str] = set()
    for module, node in _nodes(principal):
        if isinstance(node, ast.Dict):
            found.update(name for key in node.keys if key is not None for name in _named(key))
        elif isinstance(node, ast.Call) and _is_fromkeys(node.func):
            found.update(_named(_value_of(module, node.args[0])))
    return found


def _is_fromkeys(function: ast.expr) -> bool:
    return (
        isinstance(function, ast.Attribute)
        and function.attr == "fromkeys"
        and getattr(function.value, "id", "") == "dict"
    )


def _value_of(module: ast.AST, node: ast.expr) -> ast.expr:
    """The value that a constant of the module was assigned."""
    assigned = {
        target.id: each.value
        for each in ast.walk(module)
        if isinstance(each, ast.Assign)
        for target in each.targets
        if isinstance(target, ast.Name)
    }
    return assigned.get(node.id, node) if isinstance(node, ast.Name) else node


@cache
def _distinguished(principal: Principal) -> set[str]:
    """Types of messages that the code asks for with ``isinstance``."""
    found: set[str] = set()
    for _, node in _nodes(principal):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
            found.update(_named(node.args[1]))
    return found


def _rows(routes: list[Route]) -> set[str]:
    return {route.message.TYPE for route in routes}


def _published(principal: Principal) -> set[str]:
    return _rows([r for r in topology.ROUTES if principal in r.publishers])


def _consumed(principal: Principal) -> set[str]:
    return _rows([r for routes in topology.subscriptions(principal).values() for r in routes])


@pytest.mark.parametrize("principal", _PACKAGES)
def test_every_publisher_of_a_row_constructs_its_message(principal: Principal) -> None:
    assert _published(principal) <= _constructed(principal)


@pytest.mark.parametrize("principal", _PACKAGES)
def test_what_is_planned_is_not_there_yet(principal: Principal) -> None:
    planned = _rows([r for r in topology.ROUTES if principal in r.planned])
    assert not planned & _constructed(principal), "it is a publisher now: make it one in its row"


@pytest.mark.parametrize("principal", _PACKAGES)
def test_every_consumer_of_a_row_handles_its_message(principal: Principal) -> None:
    handled = _dispatched(principal)
    if principal is Principal.MEMBER:
        handled = _distinguished(principal) - _published(principal)
    assert _consumed(principal) == handled


@pytest.mark.parametrize("principal", _PACKAGES)
def test_a_packages_docstring_names_what_it_consumes_and_publishes(principal: Principal) -> None:
    text = " ".join((importlib.import_module(_PACKAGES[principal]).__doc__ or "").split())
    types = set(_CLASSES.values())
    said = {
        word: set(re.findall(r"[a-z]+(?:[.-][a-z_]+)+", found[1])) & types
        for word in ("Consumes", "Publishes")
        if (found := re.search(rf"{word}: ((?:[^.]|\.(?=\S))*)\.", text))
    }
    assert said.get("Consumes", set()) == _consumed(principal)
    assert said.get("Publishes", set()) == _published(principal)


def test_every_row_has_code_on_both_ends() -> None:
    for route in topology.ROUTES:
        known = {*_PACKAGES, Principal.OUTSIDE}
        assert {*route.publishers, *route.planned} <= known, route.message.TYPE
        assert {sub.principal for sub in route.consumers} <= set(_PACKAGES), route.message.TYPE
