"""The ledger: keeps every prediction as an episode and scores it when its time has come.

hit: the alarm came. false: it had not come when the time it was predicted for, and a horizon more,
had passed, or the forecast took it back. averted: a clean-up ended it (says nothing of the
forecast: it counts neither way for accuracy). ended: the series sent nothing any more, which says
as little. missed: an alarm came that no prediction announced.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel

from shared.weeks import KEPT_WEEKS

MAX_ITEMS = 2_000
"""The limit of items scored in each partition. Senders choose their names, and may never stop."""
Outcome = Literal["hit", "false", "averted", "ended"]


class Episode(BaseModel):
    """One open prediction."""

    event_id: str
    revision: int = 1
    opened_ms: int
    crossing_ms: int
    deadline_ms: int
    """The time after which the prediction counts as false."""
    without: int = 0
    """Forecasts in a row that did not cross."""
    clean_ups: int = 0
    """Clean-ups in the history when it was opened."""
    seen_ms: int = -1
    """The time of the newest sample when the series was last found to have sent one."""
    heard_ms: int = 0
    """The time of that check by the partition's clock, without the halts of the pipeline."""


class Judged(BaseModel):
    """The accuracy of an item's forecasts: their intervals and their probabilities."""

    inside: int = 0
    """Values that the 95 % interval of an earlier forecast held."""
    judged: int = 0
    """Values for which there was one."""
    chances: int = 0
    """Forecasts whose probability of an alarm within the horizon has been judged."""
    came: int = 0
    """The number of these within which the alarm came."""
    squares: float = 0.0
    """Sum over them of (probability - 1 or 0)^2."""

    @property
    def brier(self) -> float | None:
        """Mean squared error of the probabilities, 0 best; None before the first verdict."""
        return self.squares / self.chances if self.chances else None

    @property
    def coverage(self) -> float | None:
        """Values inside the 95 % interval that was forecast for them; None before any."""
        return self.inside / self.judged if self.judged else None


class Score(Judged):
    """The outcomes of one item's predictions and alarms."""

    opened: int = 0
    hit: int = 0
    false: int = 0
    averted: int = 0
    ended: int = 0
    missed: int = 0
    lead_ms: int = 0
    """Sum over hits: from the prediction to the alarm."""

    def plus(self, other: Score) -> Score:
        """The sum of both scores."""
        return Score(**{name: value + getattr(other, name) for name, value in self})

    @property
    def brier_skill(self) -> float | None:
        """1 less that over what always saying how often it comes would have; None if none came."""
        share = self.came / self.chances if self.chances else 0.0
        usual = share * (1 - share)
        brier = self.brier
        return 1 - brier / usual if brier is not None and usual > 0 else None

    @property
    def accuracy(self) -> float | None:
        """Predicted alarms that came true; None before the first verdict."""
        judged = self.hit + self.false
        return self.hit / judged if judged else None

    @property
    def missed_rate(self) -> float | None:
        """Alarms that no prediction announced; None before the first alarm."""
        alarms = self.hit + self.missed
        return self.missed / alarms if alarms else None

    @property
    def reduction(self) -> float | None:
        """Alarms that a clean-up averted, of those that came or would have; None before any."""
        alarms = self.averted + self.hit + self.missed
        return self.averted / alarms if alarms else None

    @property
    def lead_s(self) -> float | None:
        """Mean seconds from a prediction to its alarm; None before the first hit."""
        return self.lead_ms / self.hit / 1000 if self.hit else None


class Ledger(BaseModel):
    """Open episodes by row of their series, scores by item."""

    episodes: dict[int, Episode] = {}
    scores: dict[str, Score] = {}
    weeks: dict[str, dict[int, Judged]] = {}
    """The scores by item and week, of the newest weeks."""

    def score(self, item: str) -> Score:
        """The item's score, made at first sight."""
        if item not in self.scores and len(self.scores) >= MAX_ITEMS:
            self._forget(min(self.scores, key=self._worth))
        return self.scores.setdefault(item, Score())

    def _worth(self, item: str) -> tuple[int, int]:
        """The newest week in which a forecast of the item was judged, and the judged forecasts."""
        score = self.scores[item]
        return max(self.weeks.get(item, ()), default=-1), score.judged + score.opened

    def _forget(self, item: str) -> None:
        del self.scores[item]
        self.weeks.pop(item, None)

    def judged(self, item: str, week: int) -> tuple[Judged, Judged]:
        """The item's score and that of its week, made at first sight, which both count."""
        weeks = self.weeks.setdefault(item, {})
        if week not in weeks:
            weeks[week] = Judged()
            for old in sorted(weeks)[:-KEPT_WEEKS]:
                del weeks[old]
        return self.score(item), weeks.get(week, Judged())

    def open(self, row: int, item: str, episode: Episode) -> None:
        """A prediction begins."""
        self.episodes[row] = episode
        self.score(item).opened += 1

    def keep(self, places: Mapping[int, int]) -> None:
        """Give the rows of open predictions, all of which are among these, other numbers."""
        self.episodes = {places[row]: each for row, each in self.episodes.items()}

    def close(self, row: int, item: str, outcome: Outcome, time_ms: int) -> Episode:
        """The prediction of ``row`` is judged."""
        episode = self.episodes.pop(row)
        score = self.score(item)
        setattr(score, outcome, getattr(score, outcome) + 1)
        if outcome == "hit":
            score.lead_ms += time_ms - episode.opened_ms
        return episode

    def missed(self, item: str) -> None:
        """An alarm came unannounced."""
        self.score(item).missed += 1
