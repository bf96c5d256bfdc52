"""Rhythm or not, and from votes to a verdict."""

from __future__ import annotations

import numpy as np
import pytest

from services.detector.combination import APERIODIC, PERIODIC, UNKNOWN, Combination
from services.detector.detectors import Votes
from services.detector.periodicity import Periodicity, dtw, fill_linearly, remove_spikes
from services.detector.rhythm import Rhythm

_HOURS = np.arange(7 * 24)


def _noise(scale: float, seed: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, (20, len(_HOURS)))


_SINE = np.sin(2 * np.pi * _HOURS / 24)


@pytest.mark.parametrize(
    ("curves", "kind"),
    [
        (1000 + 300 * _SINE + _noise(30), PERIODIC),
        (5 + _noise(1), APERIODIC),
        (np.cumsum(_noise(1), axis=1), APERIODIC),
        (_HOURS + _noise(1), APERIODIC),
        (np.full((1, len(_HOURS)), 7.0), APERIODIC),
    ],
    ids=["daily", "noise", "walk", "trend", "constant"],
)
def test_kinds_of_curves_are_told_apart(curves: np.ndarray, kind: int) -> None:
    kinds, distances = Periodicity().decide(curves)
    assert (kinds == kind).all()
    assert not np.isnan(distances).any()


def test_spikes_and_missing_hours_do_not_hide_a_rhythm() -> None:
    curves = 100 + 30 * _SINE + _noise(2)
    curves[:, 50] += 500
    curves[:, 80:84] = np.nan
    assert (Periodicity().decide(curves)[0] == PERIODIC).all()


def test_too_few_days_or_hours_leave_the_kind_open() -> None:
    curves = 100 + 30 * _SINE[None, :]
    young = curves.copy()
    young[:, : 5 * 24] = np.nan
    assert Periodicity().decide(young)[0].tolist() == [UNKNOWN]
    sparse = curves.copy()
    sparse[:, 1::2] = np.nan
    assert Periodicity().decide(sparse)[0].tolist() == [UNKNOWN]


def test_a_spike_is_filled_and_a_change_of_level_is_not() -> None:
    flat = np.array([[1.0, 2, 1, 2, 1, 2, 50, 2, 1, 2, 1, 2]])
    filled = fill_linearly(remove_spikes(flat))
    assert filled[0, 6] == 2
    step = np.array([[1.0, 2, 1, 2, 1, 2, 50, 51, 50, 51, 50, 51]])
    np.testing.assert_array_equal(fill_linearly(remove_spikes(step)), step)


def test_dtw_by_hand() -> None:
    a, b = np.array([[0.0, 1.0, 2.0]]), np.array([[0.0, 0.0, 1.0]])
    # Without warping |0-0| + |1-0| + |2-1| = 2; warped 0-0, 0-0, 1-1, 2-1: 1.
    assert dtw(a, b, 0)[0] == 2
    assert dtw(a, b, 2)[0] == 1
    assert dtw(a, a, 1)[0] == 0


def test_the_kind_is_decided_anew_when_a_day_begins() -> None:
    rhythm = Rhythm(Periodicity())
    rhythm.state.grow(1)
    rows = np.array([0])
    kinds = []
    for half_hour in range(10 * 48):
        value = 100 + 30 * np.sin(2 * np.pi * half_hour / 48)
        rhythm.add(rows, np.array([half_hour * 1_800_000]), np.array([value]))
        kinds.append(int(rhythm.kinds(rows)[0]))
    assert kinds.index(PERIODIC) == 3 * 48
    assert set(kinds[: 3 * 48]) == {UNKNOWN}
    assert set(kinds[3 * 48 :]) == {PERIODIC}


def _votes(*directions: int | None) -> Votes:
    judged = np.array([d is not None for d in directions])
    way = np.array([d or 0 for d in directions], dtype=np.int8)
    return Votes(judged, way != 0, way, {})


def _all(**votes: Votes) -> dict[str, Votes]:
    names = ("chain", "amplitude", "short_term", "isolation_forest", "long_term")
    n = len(next(iter(votes.values())).judged)
    return {name: votes.get(name, _votes(*[0] * n)) for name in names}


def test_branching_asks_chain_and_amplitude_for_periodic_series_and_the_others_else() -> None:
    kinds = np.array([PERIODIC, APERIODIC, UNKNOWN], dtype=np.int8)
    verdict = Combination(mode="branch").decide(_all(chain=_votes(1, 1, 1)), kinds)
    assert verdict.anomalous.tolist() == [True, False, False]
    down = _votes(-1, -1, -1)
    verdict = Combination(mode="branch").decide(_all(short_term=down, long_term=down), kinds)
    assert verdict.anomalous.tolist() == [False, True, True]
    assert verdict.direction.tolist() == [0, -1, -1]


@pytest.mark.parametrize(("needed", "fires"), [(1, True), (2, False)])
def test_one_of_two_is_enough_where_the_settings_say_so(needed: int, fires: bool) -> None:
    rule = Combination(mode="branch", periodic_needed=needed, aperiodic_needed=needed)
    kinds = np.array([PERIODIC, APERIODIC], dtype=np.int8)
    votes = _all(chain=_votes(1, 0), short_term=_votes(0, 1))
    assert rule.decide(votes, kinds).anomalous.tolist() == [fires, fires]


def test_a_series_that_no_voter_of_its_kind_can_judge_is_not_judged() -> None:
    kinds = np.array([PERIODIC], dtype=np.int8)
    verdict = Combination(mode="branch").decide(
        _all(chain=_votes(None), amplitude=_votes(None)), kinds
    )
    assert not verdict.judged[0]


def test_three_of_five_make_a_majority_and_two_do_not() -> None:
    vote = Combination(mode="vote")
    kinds = np.array([PERIODIC], dtype=np.int8)
    two = _all(chain=_votes(1), short_term=_votes(1))
    assert not vote.decide(two, kinds).anomalous[0]
    three = two | {"long_term": _votes(-1)}
    assert vote.decide(three, kinds).anomalous[0]
    assert vote.decide(three, kinds).direction[0] == 1
