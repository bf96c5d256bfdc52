"""Matchers and recurrence rules that people send: refused by name, or followed in bounded time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from services.healer.model.faults import faults_of
from services.healer.notify.matchers import Matcher, Matchers

ONE = TypeAdapter(Matchers)


def read(text: str) -> Matcher:
    (found,) = ONE.validate_python([text])
    return found


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('item="DiskFull"', "DiskFull"),
        ('item = "DiskFull"', "DiskFull"),
        ("item=DiskFull", "DiskFull"),
        ("item=~.+", ".+"),
        ("item=", ""),
        (r'path="C:\\\"x\""', r'C:\"x"'),
        (r'item=~"a\d+\."', r"a\d+\."),
        (r'item="two\nlines"', "two\nlines"),
        ('item=~"[[:alpha:]]+"', "[[:alpha:]]+"),
        ('item="a, b"', "a, b"),
    ],
)
def test_a_matcher_is_read_as_alertmanager_reads_it(text: str, value: str) -> None:
    assert read(text).value == value
    assert read(read(text).text()) == read(text)


@pytest.mark.parametrize(
    "text",
    [
        'item="DiskFull", job="node"',
        'item="DiskFull" job="node"',
        '{item="DiskFull",job="node"}',
        "item='DiskFull'",
        'item="DiskFull',
        'item=DiskFull"',
        'item=="DiskFull"',
        'item=~~"x"',
        'item=~="x"',
        '"item"="DiskFull"',
        "item=`x`",
        "item=“DiskFull”",
        "item=‘DiskFull’",
        "item=„DiskFull“",
        "item=«DiskFull»",
        "item",
        "=x",
        "",
        'item=~"("',
        r'item=~"\1"',
        'item=~"(?=look)"',
        'item=~"(?<=look)"',
    ],
)
def test_what_is_no_matcher_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        read(text)
    assert text[:20] in str(caught.value).replace("\\\\", "\\")


@pytest.mark.parametrize("name", ["service.name", "k8s.pod.name", "http:method", "größe", "a-b/c"])
def test_every_label_that_a_door_takes_can_be_named(name: str) -> None:
    matcher = read(f'{name}="x"')
    assert matcher.matches({name: "x"})
    assert not matcher.matches({name: "y"})


@pytest.mark.parametrize("word", ["page", "CRITICAL", "P1", "sev-2", "error"])
def test_a_severity_is_meant_however_it_is_written(word: str) -> None:
    assert read(f'severity="{word}"').matches({"severity": "critical"})
    assert not read(f'severity!="{word}"').matches({"severity": "critical"})
    assert not read(f'severity="{word}"').matches({"severity": "warning"})


@pytest.mark.parametrize("text", ['item=~"("', 'item=~"*"', 'item=~"a{1001}"', 'item=~"(?=x)"'])
def test_why_an_expression_is_refused_is_said_in_words(text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        read(text)
    faults = faults_of(caught.value.errors())
    assert [fault.field for fault in faults] == ["0"]
    assert "as RE2 takes them: " in faults[0].problem
    assert "b'" not in faults[0].problem
    assert "Value error" not in faults[0].problem


SLOW = [
    "(a+)+$",
    "([a-z0-9]+-?)+-stable",
    "(a|a)*b",
    "(.*)*x",
    "(a?){60}a{60}",
    "^(([a-z])+.)+[A-Z]",
]


@pytest.mark.parametrize("expression", SLOW)
def test_no_expression_takes_longer_than_the_text_is_long(expression: str) -> None:
    matcher = Matcher(name="pod", op="=~", value=expression)
    # A backtracking engine would need more than 2^60 steps for this.
    assert not matcher.matches({"pod": "a" * 4000 + "-canary!"})


def test_an_expression_that_would_grow_without_bound_is_refused() -> None:
    with pytest.raises(ValidationError, match="RE2"):
        Matcher(name="pod", op="=~", value="((a{100}){100}){100}")


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60), st.text(max_size=200))
def test_any_text_is_refused_or_matches_any_label(text: str, label: str) -> None:
    for written in (text, f'item="{text}"', f'item=~"{text}"', f"item!~{text}"):
        try:
            matcher = read(written)
        except ValidationError:
            continue
        assert matcher.matches({"item": label}) in {True, False}
        assert read(matcher.text()) == matcher


@pytest.mark.parametrize("text", ['message=~".*"', 'message=~"first.*last"', 'message!~"first"'])
def test_a_value_of_several_lines_is_one_value(text: str) -> None:
    assert read(text).matches({"message": "first\nmiddle\nlast"})


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ('exported_pod="cart-1"', True),
        ('exported_pod="cart-2"', False),
        ('exported_instance="web1:9100"', True),
        ('exported_instance="web2:9100"', False),
        ('exported_other=""', True),
    ],
)
def test_labels_that_a_middleman_renamed_are_matched_as_prometheus_shows_them(
    text: str, holds: bool
) -> None:
    assert read(text).matches({"host": "web1", "pod": "cart-1"}) == holds
