"""What every remediation must keep to, whoever wrote it."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.healer.remediations import Step, make, registered
from tests.troubles import TROUBLES, Noted, Trouble


@pytest.fixture(params=registered())
def trouble(request: pytest.FixtureRequest, tmp_path: Path) -> Trouble:
    assert request.param in TROUBLES, "a new remediation adds its trouble here"
    return TROUBLES[request.param](tmp_path.resolve())


class TestEveryRemediation:
    def test_a_dry_run_changes_and_notes_nothing_but_names_what_a_run_then_does(
        self, trouble: Trouble
    ) -> None:
        before, journal = trouble.state(), Noted()

        dry = trouble.run(journal, dry_run=True)

        assert trouble.state() == before
        assert journal.events == []
        assert dry.steps
        assert trouble.run().steps == dry.steps

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
        assert second.steps == ()
        assert trouble.state() == after

    def test_a_run_after_a_crash_does_the_rest(self, trouble: Trouble) -> None:
        expected = trouble.run(dry_run=True).steps

        class CrashError(BaseException):
            """Nothing catches it, as nothing catches kill -9."""

        def crash(step: Step) -> None:
            if step.target == expected[1].target:
                raise CrashError

        with pytest.raises(CrashError):
            trouble.run(Noted(crash))

        assert trouble.run().steps == expected[1:]

    def test_without_settings_nothing_is_allowed(self, trouble: Trouble) -> None:
        before = trouble.state()

        outcome = make(trouble.remedy.NAME).run(trouble.series, dry_run=False, journal=Noted())

        assert not outcome.succeeded
        assert outcome.detail
        assert trouble.state() == before
