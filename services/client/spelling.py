"""Names that read alike, so that one person or machine cannot pass for another."""

from __future__ import annotations

import unicodedata

from services.client.access import UNNAMED

_LATIN = str.maketrans(
    "\u0430\u0432\u0435\u0456\u043a\u043c\u043d\u043e\u0440\u0441\u0442\u0443\u0445\u0455\u0458\u04bb\u04cf\u0501\u051b\u051d"
    "\u03b1\u03b2\u03b5\u03b6\u03b7\u03b9\u03ba\u03bc\u03bd\u03bf\u03c1\u03c4\u03c5\u03c7"
    "\u0570\u0578\u057d\u0581\u0585\u13aa\u13ac\u13bb\u13de\u13e2\u13a2\u13da\u13a1\u13a0\u0131\u0251\u0261\u0454",
    "abeikmhopctyxsjhldqwabezhikmvoptuxhnugoaehlptsrdiage",
)
"""Letters of other scripts (Cyrillic, Greek, Armenian, Cherokee) and Latin ones, in lower case,
that as small or capital letters look like plain Latin. Unicode's list (TS 39) has thousands; names
that must not be imitated are few, and these are what their letters can be written in."""
_MARK = "xn--"
"""The beginning of a label that DNS keeps in ASCII."""
_UNSEEN = {"Cf"}
_MARKS = {"Mn", "Me"}
"""The categories of characters that are not shown, and of those above and below letters."""


def spelt(name: str) -> str:
    """The common form of names that look alike; case, width and dashes distinguish nobody.

    >>> spelt("Ann") == spelt("\u0410NN\u200b")
    True
    """
    seen = _without(_UNSEEN, unicodedata.normalize("NFKC", name))
    folded = seen.casefold().translate(_LATIN)
    dashes = "".join("-" if unicodedata.category(each) == "Pd" else each for each in folded)
    return " ".join(dashes.split())


def _without(categories: set[str], text: str) -> str:
    return "".join(each for each in text if unicodedata.category(each) not in categories)


_RESERVED = frozenset({spelt(UNNAMED), spelt("the user")})
"""The names under which decisions of the API token's holder are signed."""


def is_reserved(name: str) -> bool:
    """Return whether a name would pass for that of the API token's holder, accents aside."""
    bare = _without(_MARKS, unicodedata.normalize("NFKD", name))
    return spelt(bare) in _RESERVED


def also_spelt(name: str) -> str:
    """The readable form of a machine's name that DNS keeps in ASCII; '' for any other name.

    Letters of one script pass for another's, so a page shows it beside the name, never alone.

    >>> also_spelt("xn--bro-hoa.example"), also_spelt("db1.example")
    ('b\u00fcro.example', '')
    """
    readable = ".".join(map(_readable, name.split(".")))
    return readable if readable != name else ""


def _readable(label: str) -> str:
    if not label.lower().startswith(_MARK):
        return label
    try:
        return label[len(_MARK) :].encode("ascii").decode("punycode")
    except ValueError:
        return label
