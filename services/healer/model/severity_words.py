"""Maps other systems' words for severity to ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

from shared.contracts.alerts import Severity

_LABELS = ("severity", "priority", "level", "urgency")
"""The labels that hold a severity, the usual one first."""
_WORDS = {
    Severity.CRITICAL: "critical crit page pager error err high urgent emergency emerg fatal "
    "alert disaster blocker severe highest",
    Severity.WARNING: "warning warn ticket major medium moderate minor average normal degraded",
    Severity.INFO: "info information informational none debug low lowest notice ok trivial "
    "clear cleared unclassified",
}
_MEANING = {word: severity for severity, words in _WORDS.items() for word in words.split()}
_RANKED = re.compile(r"(?:p|prio|priority|s|sev|severity|lvl|level)[\s_.:#-]*([0-9])")
"""A severity that is given as a number, such as P1, sev-2 or Severity 3."""
_RANKS = (Severity.CRITICAL,) * 3 + (Severity.WARNING,)
"""The severities of the numbers from 0 on: 2 is usually called high; all above 3 are
information."""
_WORD = re.compile(r"[a-z]+[0-9]?|[0-9]+")
_READ = 100


def severity_of(labels: Mapping[str, str]) -> Severity:
    """Return how bad an alert is by its labels; a warning where nothing says so.

    >>> severity_of({"severity": "SEV-1"}), severity_of({"priority": "P4 - low"})
    (<Severity.CRITICAL: 'critical'>, <Severity.INFO: 'info'>)
    """
    read = (severity_in(labels.get(label, "")) for label in _LABELS)
    return next((found for found in read if found is not None), Severity.WARNING)


def severity_in(text: str) -> Severity | None:
    """The severity that ``text`` means; None where it is no word of severity."""
    text = text[:_READ].strip().lower()
    ranked = _RANKED.match(text)
    if ranked:
        rank = int(ranked[1])
        return _RANKS[rank] if rank < len(_RANKS) else Severity.INFO
    return next((_MEANING[word] for word in _WORD.findall(text) if word in _MEANING), None)
