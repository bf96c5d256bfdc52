"""Names and marks: valid, unique, and readable back."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from services.task.runtimes.kubernetes import names
from services.task.runtimes.kubernetes.names import base_name, groups, member_at, place_of
from shared.contracts import JobSubmit, Member, Role
from tests.unit.task.kubernetes.objects import cluster, submit

_DNS_LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
_LABEL_VALUE = re.compile(r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$")
_LONGEST_LABEL = 63

job_ids = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
clusters = st.builds(
    lambda chief, ps, workers, evaluator: cluster(
        chief=chief, ps=ps, workers=workers, evaluator=evaluator
    ),
    st.booleans(),
    st.integers(0, 3),
    st.integers(1, 4),
    st.booleans(),
)


@given(job_ids)
def test_every_name_is_a_dns_label_with_room_for_role_and_index(job_id: str) -> None:
    for group in (*Role, names.ALL):
        # A pod's host name is its Job's name and its index.
        longest = f"{base_name(job_id)}-{group}-9999"
        assert _DNS_LABEL.match(longest)
        assert len(longest) <= _LONGEST_LABEL


@given(st.text(min_size=1, max_size=100))
def test_any_text_at_all_makes_a_valid_name(job_id: str) -> None:
    assert _DNS_LABEL.match(base_name(job_id))


@given(job_ids, job_ids)
def test_no_two_jobs_share_a_name_or_a_mark(one: str, other: str) -> None:
    same = one == other
    assert (base_name(one) == base_name(other)) is same
    assert (names.digest(one) == names.digest(other)) is same


def test_ids_that_look_alike_as_names_are_told_apart() -> None:
    alike = ["a.b", "a_b", "a-b", "A-b", "a--b"]
    assert len({base_name(job_id) for job_id in alike}) == len(alike)


@given(job_ids)
def test_labels_are_valid_label_values(job_id: str) -> None:
    for value in names.labels("barograph", job_id).values():
        assert len(value) <= _LONGEST_LABEL
        assert _LABEL_VALUE.match(value)


def _members(job: JobSubmit) -> list[Member]:
    return [
        Member(role=role, index=index, incarnation=3)
        for role, number in job.roles().items()
        for index in range(number)
    ]


@given(clusters, st.booleans())
def test_a_pod_is_read_back_as_the_member_it_was_made_for(job: JobSubmit, queued: bool) -> None:
    roles = names.roles_text(job)
    for member in _members(job):
        assert member_at(roles, *place_of(job, member, queued=queued), 3) == member


@given(clusters, st.booleans())
def test_members_fill_the_indexes_of_their_groups_without_a_gap(
    job: JobSubmit, queued: bool
) -> None:
    places = [place_of(job, member, queued=queued) for member in _members(job)]
    wanted = {
        (group, index)
        for group, size in groups(job, queued=queued).items()
        for index in range(size)
    }
    assert len(places) == len(set(places))
    assert set(places) == wanted


def test_a_queued_cluster_is_one_group_and_a_queued_single_job_its_role() -> None:
    assert groups(cluster(), queued=True) == {"all": 4}
    assert groups(cluster(), queued=False) == {"chief": 1, "ps": 1, "worker": 2}
    assert groups(submit(), queued=True) == {"worker": 1}


def test_a_pod_with_marks_that_make_no_sense_is_nobody() -> None:
    assert member_at("ps=1,worker=2", "all", 3, 1) is None
    assert member_at("ps=1", "elephant", 0, 1) is None
    assert member_at("", "all", 0, 1) is None


@given(st.sampled_from(list(Role)), st.integers(0, 9999), st.integers(1, 50))
def test_a_members_name_gives_the_member(role: Role, index: int, incarnation: int) -> None:
    member = Member(role=role, index=index, incarnation=incarnation)
    assert names.member_named(member.name, incarnation) == member
