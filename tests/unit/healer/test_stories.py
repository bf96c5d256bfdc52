"""The mail of each story, word for word; ``BAROGRAPH_GOLDEN=1`` writes them anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.healer.notify.render.text import plain, title
from tests.unit.healer.stories import STORIES

GOLDEN = Path(__file__).parent / "golden_mails"


@pytest.mark.parametrize("name", sorted(STORIES))
def test_the_mail_of_a_story_says_what_it_said(name: str) -> None:
    told = STORIES[name]()
    path = GOLDEN / f"{name}.txt"
    text = f"{title(told)}\n\n{plain(told)}"
    if os.environ.get("BAROGRAPH_GOLDEN"):
        GOLDEN.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


def test_no_story_speaks_of_a_spike_where_a_value_fell() -> None:
    text = plain(STORIES["unlike_itself"]())
    assert "a fall that is unlike it" in text
    assert "spike" not in text
    assert "alarm:" not in title(STORIES["unlike_itself"]())
