"""Tests of what clean-logs deletes, and what no deletion may ever touch."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from services.healer.remediations import Step
from services.healer.remediations.confined import ChangedError, opened
from services.healer.remediations.open_files import OpenFiles
from tests.troubles import OLD_S, Noted, Trouble, full_of_logs, put

_AT_A_TIME = 10


@pytest.fixture
def logs(tmp_path: Path) -> Trouble:
    return full_of_logs(tmp_path.resolve())


class TestWhatSurvives:
    def test_only_finished_old_logs_are_deleted_oldest_first(self, logs: Trouble) -> None:
        put(logs.root / "web/access.log.3", 2 * OLD_S)

        outcome = logs.run()

        left = {p.relative_to(logs.root).as_posix() for p in logs.root.rglob("*") if p.is_file()}
        assert left == {"app.log"}
        assert outcome.steps[0].target.endswith("access.log.3")
        assert outcome.freed_bytes == 4 * len(b"log\n")

    @pytest.mark.parametrize(
        ("name", "age_s", "why"),
        [
            ("fresh.log.1", 60, "too young"),
            ("data.db", OLD_S, ""),
            ("notes.txt", OLD_S, ""),
            ("trace.7", OLD_S, ""),
            ("catalina.2024-05-01.log", OLD_S, "active file"),
        ],
    )
    def test_a_file_that_is_young_or_unmatched_or_active_survives(
        self, logs: Trouble, name: str, age_s: float, why: str
    ) -> None:
        path = put(logs.root / name, age_s)

        outcome = logs.run()

        assert path.exists()
        assert why in outcome.detail

    def test_of_numbered_files_without_convention_only_the_newest_survives(
        self, tmp_path: Path
    ) -> None:
        logs = full_of_logs(tmp_path.resolve(), patterns=["trace.[0-9]"])
        for number in range(1, 4):
            put(logs.root / f"trace.{number}", OLD_S - number)

        logs.run()

        assert [p.name for p in logs.root.glob("trace.*")] == ["trace.3"]

    def test_a_file_that_another_process_holds_open_survives(self, logs: Trouble) -> None:
        held = logs.root / "app.log.1"
        with held.open("rb") as stdin:
            holder = subprocess.Popen(
                [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[stdin.fileno()]
            )
        try:
            outcome = logs.run()
            assert held.exists()
            assert "open" in outcome.detail
        finally:
            holder.kill()
            holder.communicate()
        logs.run()
        assert not held.exists()

    def test_a_file_opened_at_the_last_moment_survives_by_the_kernels_word(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        logs = full_of_logs(tmp_path.resolve())
        # As in a container that does not see the processes of the machine.
        monkeypatch.setattr(OpenFiles, "holds", lambda *_: False)

        with (logs.root / "app.log.1").open("rb"):
            outcome = logs.run()

        assert (logs.root / "app.log.1").exists()
        assert "1 files spared: open" in outcome.detail

    def test_processes_that_cannot_be_looked_into_are_told_of(
        self, logs: Trouble, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(OpenFiles, "_read_process", lambda *_: False)

        assert "processes could not be looked into" in logs.run().detail

    def test_the_target_of_a_hard_link_keeps_its_content_and_nothing_counts_as_freed(
        self, logs: Trouble
    ) -> None:
        (logs.root / "linked.log.1").hardlink_to(logs.outside / "app.log.1")

        outcome = logs.run()

        assert (logs.outside / "app.log.1").read_bytes() == b"precious"
        step = next(s for s in outcome.steps if s.target.endswith("linked.log.1"))
        assert step.freed_bytes == 0

    def test_bounds_of_files_and_bytes_end_a_run_and_the_next_goes_on(self, tmp_path: Path) -> None:
        few = full_of_logs(tmp_path.resolve() / "few", max_files_per_run=3)
        small = full_of_logs(tmp_path.resolve() / "small", max_bytes_per_run=9)

        assert [len(few.run().steps) for _ in range(3)] == [3, 1, 0]
        assert [len(small.run().steps) for _ in range(3)] == [2, 2, 0]

    def test_a_step_that_fails_does_not_stop_the_others(self, logs: Trouble) -> None:
        targets = [step.target for step in logs.run(dry_run=True).steps]

        def lose_the_third(_step: Step) -> None:
            Path(targets[2]).unlink(missing_ok=True)

        outcome = logs.run(Noted(lose_the_third))

        errors = {step.target: step.error for step in outcome.steps}
        assert outcome.succeeded
        assert errors[targets[2]]
        assert not errors[targets[3]]
        assert not Path(targets[3]).exists()

    @pytest.mark.parametrize("replaced", [True, False])
    def test_a_file_replaced_or_written_to_since_it_was_found_survives(
        self, logs: Trouble, replaced: bool
    ) -> None:
        last = Path(logs.run(dry_run=True).steps[-1].target)

        def change_the_last(_step: Step) -> None:
            if replaced:
                last.unlink(missing_ok=True)
            last.write_bytes(b"new")

        outcome = logs.run(Noted(change_the_last))

        assert last.read_bytes() == b"new"
        assert "changed" in outcome.steps[-1].error
        assert outcome.freed_bytes == 3 * len(b"log\n")

    def test_a_name_that_is_not_utf_8_is_deleted_and_reported_readably(self, logs: Trouble) -> None:
        name = os.fsdecode(b"\xff.log.1")
        put(logs.root / name)

        outcome = logs.run()

        assert not (logs.root / name).exists()
        assert any(step.target.endswith(r"\xff.log.1") for step in outcome.steps)
        assert all(step.model_dump_json() for step in outcome.steps)


class TestConfinement:
    def test_symbolic_links_are_neither_followed_nor_deleted(self, logs: Trouble) -> None:
        (logs.root / "way-out").symlink_to(logs.outside)
        (logs.root / "link.log.1").symlink_to(logs.outside / "app.log.1")

        outcome = logs.run()

        assert not any(step.error for step in outcome.steps), "they were not even tried"
        assert "could not be read" not in outcome.detail
        assert (logs.outside / "app.log.1").read_bytes() == b"precious"
        assert (logs.root / "link.log.1").is_symlink()

    def test_a_root_behind_a_symbolic_link_is_refused(self, logs: Trouble) -> None:
        moved = logs.ground / "elsewhere"
        logs.root.parent.rename(moved)
        logs.root.parent.symlink_to(moved)
        before = logs.state()

        outcome = logs.run()

        assert not outcome.succeeded
        assert str(logs.root) in outcome.detail
        assert logs.state() == before

    def test_a_root_above_or_beside_the_full_mount_is_not_touched(self, logs: Trouble) -> None:
        before = logs.state()
        for mount in (str(logs.root / "web"), str(logs.outside), "", "volume"):
            series = logs.series.model_copy(update={"labels": {"mount": mount}})
            assert not logs.remedy.run(series, dry_run=False, journal=Noted()).succeeded
        assert logs.state() == before

    @pytest.mark.parametrize("swapped", ["web", "."])
    def test_a_directory_swapped_for_a_link_at_the_last_moment_leads_nowhere(
        self, logs: Trouble, swapped: str
    ) -> None:
        for number in range(5):
            put(logs.root / "web" / f"access.log.{number}")
            put(logs.outside / f"access.log.{number}", content=b"precious")
            put(logs.outside / "web" / f"access.log.{number}", content=b"precious")
        target = logs.root / swapped

        def swap(step: Step) -> None:
            if not target.is_symlink():
                target.resolve().rename(logs.ground / "moved")
                target.parent.joinpath(target.name).symlink_to(logs.outside)

        logs.run(Noted(swap))

        precious = list(logs.outside.rglob("access.log.*"))
        assert len(precious) == 10
        assert all(path.read_bytes() == b"precious" for path in precious)

    def test_a_swapped_directory_leads_nowhere_even_to_another_name_of_the_same_file(
        self, logs: Trouble
    ) -> None:
        web = logs.root / "web"
        for number in range(5):
            inside = put(web / f"access.log.{number}")
            (logs.outside / inside.name).hardlink_to(inside)

        def swap(_step: Step) -> None:
            if not web.is_symlink():
                web.rename(logs.ground / "moved")
                web.symlink_to(logs.outside)

        logs.run(Noted(swap))

        assert len(list(logs.outside.glob("access.log.*"))) == 5

    def test_a_directory_swapped_over_and_over_never_costs_a_file_outside(
        self, logs: Trouble
    ) -> None:
        web, aside = logs.root / "web", logs.ground / "aside"
        for number in range(_AT_A_TIME):
            put(logs.outside / f"access.log.{number}", content=b"precious")
        stop = threading.Event()

        def swap() -> None:
            while not stop.is_set():
                web.rename(aside)
                web.symlink_to(logs.outside)
                web.unlink()
                aside.rename(web)

        swapper = threading.Thread(target=swap)
        swapper.start()
        deleted = 0
        try:
            for _ in range(60):
                for number in range(_AT_A_TIME):
                    refill(web, aside, f"access.log.{number}")
                deleted += sum(not step.error for step in logs.run().steps)
        finally:
            stop.set()
            swapper.join()

        assert deleted
        assert len(list(logs.outside.glob("access.log.*"))) == _AT_A_TIME

    def test_a_directory_on_another_mount_is_not_entered(self) -> None:
        # Every Linux has these two mounts; nothing is deleted here.
        with (
            opened(Path("/")) as root,
            pytest.raises(ChangedError, match="mount"),
            root.directory(("proc",)),
        ):
            pytest.fail("it was entered")


def refill(web: Path, aside: Path, name: str) -> None:
    """Put an old log into the real directory, wherever it is just now; never through the link."""
    for place in (web, aside):
        try:
            directory = os.open(place, os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=directory))
            os.utime(name, (1, 1), dir_fd=directory)
        finally:
            os.close(directory)
        return


class TestNamesWithoutConvention:
    def test_what_nobody_has_open_and_nobody_wrote_for_long_is_deleted_by_that_evidence(
        self, tmp_path: Path
    ) -> None:
        logs = full_of_logs(
            tmp_path.resolve(), unused_patterns=["dump-*", "*.trace"], unused_age_s=3600
        )
        unused, young = put(logs.root / "dump-a17"), put(logs.root / "x/app.trace", 60)
        held, other = put(logs.root / "x/db.trace"), put(logs.root / "dumps.db")
        seen = not OpenFiles().unseen
        with held.open("rb"):
            outcome = logs.run()
        assert [path.exists() for path in (young, held, other)] == [True, True, True]
        assert unused.exists() is not seen
        assert ("whether it is open is not known" in outcome.detail) is not seen
        assert "1 files spared: open" in outcome.detail
