"""What programs and machines say of themselves is shown, and never obeyed, by ``tshell``."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.client.tshell import shown
from shared.visible import visible_value
from tests.unit.client.test_api import NOW
from tests.unit.client.test_description import desk_with_a_cluster

EVIL = "[/x] [link=http://evil]:boom: \x1b]0;title\x07\x1b[2J\x9b6n\u202egnp.exe"


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    desk = next(iter(desk_with_a_cluster()))
    found: dict[str, Any] = desk.call("GET", "/api/v1/jobs/a/description").json()
    desk.store.close()
    return found


def poisoned(value: Any, evil: str) -> Any:
    """The value with ``evil`` for every text that is no time."""
    if isinstance(value, dict):
        return {
            name: each if name in {"at", "until", "role"} else poisoned(each, evil)
            for name, each in value.items()
        }
    if isinstance(value, list):
        return [poisoned(each, evil) for each in value]
    is_time = isinstance(value, str) and value[:4] == str(NOW.year)
    return evil if isinstance(value, str) and not is_time else value


def test_no_text_commands_the_terminal_or_breaks_the_tables(
    described: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    member = described["members"][0] | {"last_lines": [EVIL], "stands": "failed"}
    evil = poisoned(described, EVIL)
    evil["now"] = described["now"]
    evil["members"] = [
        poisoned(member, EVIL)
        | {name: member[name] for name in ("asked", "role", "stands", "cpu_cores", "memory_bytes")}
    ]
    for field in ("created_at", "updated_at", "retries", "artifacts", "stored", "submit"):
        evil["job"][field] = copy.deepcopy(described["job"][field])
    shown.description(evil)
    shown.jobs([evil["job"]])
    text = capsys.readouterr().out
    assert "[/x]" in text
    assert "[link=" in text
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & {*text}


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_what_is_made_visible_has_the_same_shape_and_no_commands(value: Any) -> None:
    made = visible_value(value)
    assert type(made) is type(value)
    texts = json.dumps([made] if isinstance(made, str) else made, ensure_ascii=False)
    if isinstance(made, str):
        assert not any(c < " " and c not in "\t\n" for c in made)
        assert len(made) == len(value)
        assert "\u202e" not in texts
