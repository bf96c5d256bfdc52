"""Live logs and stored logs are the same text, however it is cut on its way."""

from __future__ import annotations

import io
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.client.tshell.printing import LogPrinter, prefix

ODD = "\r1/2\r2/2\n a\u2028b\x0cc\x85d\x1ce\n\n" + "x" * 1000 + "\n\x1b[31mred\x1b[0m\nno end"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(pieces: list[tuple[str, str]], out: io.StringIO | None = None) -> str:
    out = out or io.StringIO()
    printer = LogPrinter(out)
    for before, piece in pieces:
        printer.print(before, piece)
    printer.close()
    return out.getvalue()


@given(cuts=st.lists(st.integers(0, len(ODD)), max_size=8))
def test_where_a_log_is_cut_does_not_show(cuts: list[int]) -> None:
    ends = [0, *sorted(cuts), len(ODD)]
    pieces = [ODD[a:b] for a, b in itertools.pairwise(ends)]
    assert printed([("", piece) for piece in pieces]) == ODD
    lines = "".join(f"worker-1  {line}\n" for line in ODD.split("\n"))
    assert printed([("worker-1  ", piece) for piece in pieces]) == lines


@given(
    st.lists(
        st.tuples(st.sampled_from(["ps-0  ", "worker-0  "]), st.text(alphabet="ab\r\n\x0c\u2028")),
        max_size=12,
    )
)
def test_no_line_of_a_member_is_broken_by_anothers(pieces: list[tuple[str, str]]) -> None:
    lines = printed(pieces).split("\n")
    assert lines.pop() == ""
    for before in ("ps-0  ", "worker-0  "):
        own = "".join(piece for name, piece in pieces if name == before)
        whole = own.split("\n")
        if whole[-1] == "":
            whole.pop()
        assert [x.removeprefix(before) for x in lines if x.startswith(before)] == whole


def test_the_next_incarnation_begins_on_a_line_of_its_own() -> None:
    first, second = prefix("worker-0", 1, alone=True), prefix("worker-0", 2, alone=True)
    assert printed([(first, "a\nb"), (second, "c\n")]) == "a\nb\nworker-0/2  c\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m"),
        ("\x1b]0;title\x07", "\u241b]0;title\x07"),
        ("\x1b[2J\x1b[6n\x1bc", "\u241b[2J\u241b[6n\u241bc"),
        ("\x9b2J", "\ufffd2J"),
        ("50%\r100%\b\t\n", "50%\r100%\b\t\n"),
    ],
)
def test_a_terminal_gets_colours_but_no_commands(text: str, shown: str) -> None:
    assert printed([("", text)], Terminal()).rstrip("\n") == shown.rstrip("\n")
    assert printed([("", text)]) == text
