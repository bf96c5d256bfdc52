"""Tests of what every remediation must keep to, whoever wrote it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.healer.remediations import Outcome, Step, StepFailed, Stopped, make, registered
from tests.troubles import TROUBLES, Noted, Trouble

NODE = [name for name, cls in registered().items() if cls.PLACE == "node"]
"""Those that act through the Kubernetes API have the same suite in tests/cluster."""


@pytest.fixture(params=NODE)
def trouble(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Trouble]:
    assert request.param in TROUBLES, "a new remediation adds its trouble here"
    made = TROUBLES[request.param](tmp_path.resolve())
    yield made
    made.stop()


REPEATABLE = {"restart-service"}
"""Run once more they do the same once more: cooldowns and plans keep that from happening."""


def _what(outcome: Outcome) -> list[tuple[str, str]]:
    """Return the executed steps, sorted, because equal processes may come in any order."""
    return sorted((step.action, step.target) for step in outcome.steps)


def _crashed_in_the_second_step(trouble: Trouble) -> list[tuple[str, str]]:
    """A run that a crash ends as its second step begins; the steps that had begun."""
    begun: list[tuple[str, str]] = []

    class CrashError(BaseException):
        """Nothing catches it, as nothing catches kill -9."""

    def crash(step: Step) -> None:
        begun.append((step.action, step.target))
        if len(begun) == 2:
            raise CrashError

    with pytest.raises(CrashError):
        trouble.run(Noted(crash))
    return begun


class TestEveryRemediation:
    def test_a_dry_run_changes_and_notes_nothing_but_names_what_a_run_then_does(
        self, trouble: Trouble
    ) -> None:
        before, journal = trouble.state(), Noted()

        dry = trouble.run(journal, dry_run=True)

        assert trouble.state() == before
        assert journal.events == []
        assert dry.steps
        assert _what(trouble.run()) == _what(dry)

    def test_every_step_is_noted_before_it_is_done_and_after(self, trouble: Trouble) -> None:
        def not_yet(step: Step) -> None:
            assert not trouble.remedy.happened(step)

        journal = Noted(not_yet)
        outcome = trouble.run(journal)

        kinds = [kind for kind, _ in journal.events]
        assert outcome.succeeded
        assert kinds == ["intend", "done"] * len(outcome.steps)
        assert all(trouble.remedy.happened(step) for _, step in journal.events)

    def test_a_second_run_does_nothing_more(self, trouble: Trouble) -> None:
        trouble.run()
        after = trouble.state()

        second = trouble.run()

        assert second.succeeded
        if trouble.remedy.NAME in REPEATABLE:
            return
        assert second.steps == ()
        assert trouble.state() == after

    def test_a_run_after_a_crash_does_the_rest(self, trouble: Trouble) -> None:
        expected = _what(trouble.run(dry_run=True))
        begun = _crashed_in_the_second_step(trouble)

        rest = _what(trouble.run())
        if trouble.remedy.NAME not in REPEATABLE:
            assert sorted([begun[0], *rest]) == expected

    def test_going_on_after_a_crash_repeats_nothing_that_was_done(self, trouble: Trouble) -> None:
        expected = _what(trouble.run(dry_run=True))
        begun = _crashed_in_the_second_step(trouble)

        done = begun[:1]
        rest = _what(trouble.remedy.go_on(trouble.series, done, journal=Noted()))
        assert sorted([*done, *rest]) == expected

    def test_nothing_is_done_but_what_was_approved(self, trouble: Trouble) -> None:
        dry = trouble.run(dry_run=True)
        journal = Noted()

        outcome = trouble.run(journal, only={dry.steps[0].identity})

        assert [step.identity for _, step in journal.events] == [dry.steps[0].identity] * 2
        assert "approved" in outcome.detail
        other = trouble.run(only={"nothing:like:this"})
        assert other.steps == ()

    def test_the_kill_switch_in_the_middle_ends_it_before_the_next_step(
        self, trouble: Trouble
    ) -> None:
        class Switched(Noted):
            def intend(self, step: Step) -> None:
                if self.events:
                    raise Stopped("bob (enough)")
                super().intend(step)

        journal = Switched()
        outcome = trouble.run(journal)

        assert not outcome.succeeded
        assert "stopped after 1" in outcome.detail
        assert "bob (enough)" in outcome.detail
        assert [kind for kind, _ in journal.events] == ["intend", "done"]

    def test_every_step_says_what_a_person_would_type(self, trouble: Trouble) -> None:
        steps = trouble.run(dry_run=True).steps
        assert all(step.command and step.identity for step in steps)

    def test_what_can_be_undone_is_as_before_and_what_cannot_says_so(
        self, trouble: Trouble
    ) -> None:
        before, journal = trouble.state(), Noted()
        trouble.run(journal)
        done = [step for kind, step in journal.events if kind == "done"]
        for step in done:
            if not trouble.remedy.UNDOABLE:
                with pytest.raises(StepFailed, match="cannot be taken back"):
                    trouble.remedy.undo(step)
                continue
            trouble.remedy.undo(step)
            trouble.remedy.undo(step)
        if trouble.remedy.UNDOABLE:
            assert trouble.state() == before

    def test_it_names_its_risks(self, trouble: Trouble) -> None:
        assert trouble.remedy.RISKS

    def test_without_settings_nothing_is_allowed(self, trouble: Trouble) -> None:
        before = trouble.state()

        outcome = make(trouble.remedy.NAME).run(trouble.series, dry_run=False, journal=Noted())

        assert not outcome.succeeded
        assert outcome.detail
        assert trouble.state() == before
