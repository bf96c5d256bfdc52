"""The statements over records. Building one costs more than executing it, so each is built once."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Integer,
    LargeBinary,
    Select,
    String,
    bindparam,
    cast,
    delete,
    func,
    or_,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite

from shared.store.prepared import Prepared
from shared.store.tables import RECORDS

First = Literal["oldest", "newest", "soonest", "latest"]
"""The order of records: by creation, or by when they are due."""
ESCAPE = "!"
"""The sign before a sign that means more in a pattern of LIKE."""
_ESCAPED = {ord(sign): f"{ESCAPE}{sign}" for sign in (ESCAPE, "%", "_")}
_BY_TIME = ("soonest", "latest")
_CHANGED = ("group_key", "status", "due_at", "data")

GET = select(RECORDS.c.data).where(
    RECORDS.c.collection == bindparam("collection"), RECORDS.c.key == bindparam("key")
)
GET_MANY = select(RECORDS.c.key, RECORDS.c.data).where(
    RECORDS.c.collection == bindparam("collection"),
    RECORDS.c.key.in_(bindparam("keys", expanding=True)),
)
_BEGINNING = bindparam("beginning", type_=String)
KEYS_BEGINNING = (
    select(RECORDS.c.key)
    .where(
        RECORDS.c.collection == bindparam("collection"),
        func.substr(RECORDS.c.key, 1, func.length(_BEGINNING)) == _BEGINNING,
    )
    .order_by(RECORDS.c.ordinal, RECORDS.c.key)
    .limit(bindparam("most", type_=Integer))
)
GROUPS_BEGINNING = (
    select(RECORDS.c.key, RECORDS.c.data)
    .where(
        RECORDS.c.collection == bindparam("collection"),
        RECORDS.c.status == bindparam("status"),
        func.substr(RECORDS.c.group_key, 1, func.length(_BEGINNING)) == _BEGINNING,
    )
    .order_by(RECORDS.c.ordinal, RECORDS.c.key)
    .limit(bindparam("most", type_=Integer))
)
GROUPS = (
    select(RECORDS.c.group_key)
    .distinct()
    .where(
        RECORDS.c.collection == bindparam("collection"),
        RECORDS.c.status.in_(bindparam("status", expanding=True)),
    )
)
OF_GROUPS = (
    select(RECORDS.c.key, RECORDS.c.data)
    .where(
        RECORDS.c.collection == bindparam("collection"),
        RECORDS.c.group_key.in_(bindparam("groups", expanding=True)),
        RECORDS.c.status.in_(bindparam("status", expanding=True)),
    )
    .order_by(RECORDS.c.ordinal, RECORDS.c.key)
    .limit(bindparam("most", type_=Integer))
)
DUE = select(RECORDS.c.key, cast(RECORDS.c.due_at, String).label("due")).where(
    RECORDS.c.collection == bindparam("collection")
)
"""The time at which each record is due, as the database writes it."""
DELETE = delete(RECORDS).where(
    RECORDS.c.collection == bindparam("collection_"), RECORDS.c.key == bindparam("key_")
)


def _newest() -> Select[Any]:
    """The newest records of each group, oldest of them first."""
    order = (RECORDS.c.ordinal, RECORDS.c.key)
    place = func.row_number().over(
        partition_by=RECORDS.c.group_key, order_by=[column.desc() for column in order]
    )
    numbered = (
        select(RECORDS.c.key, RECORDS.c.group_key, RECORDS.c.data, RECORDS.c.ordinal)
        .add_columns(place.label("place"))
        .where(
            RECORDS.c.collection == bindparam("collection"),
            RECORDS.c.group_key.in_(bindparam("groups", expanding=True)),
        )
        .subquery()
    )
    query = select(numbered.c.key, numbered.c.group_key, numbered.c.data)
    query = query.where(numbered.c.place <= bindparam("most", type_=Integer))
    return query.order_by(numbered.c.ordinal, numbered.c.key)


NEWEST = _newest()


# From each status to the next one in the index: a DISTINCT would read every record's entry.
STATUSES = text(
    """
    WITH RECURSIVE each(status) AS (
        SELECT min(status) FROM records WHERE collection = :collection
        UNION ALL
        SELECT (
            SELECT min(status) FROM records
            WHERE collection = :collection AND status > each.status
        ) FROM each WHERE each.status IS NOT NULL
    )
    SELECT status FROM each WHERE status IS NOT NULL
    """
)


def _upsert(dialect: str) -> postgresql.Insert | sqlite.Insert:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = insert(RECORDS)
    changed = {name: statement.excluded[name] for name in _CHANGED}
    return statement.on_conflict_do_update(index_elements=["collection", "key"], set_=changed)


UPSERT = Prepared([column.name for column in RECORDS.c], _upsert)


@cache
def find(given: frozenset[str], first: First) -> Select[Any]:
    query = _narrowed(select(RECORDS.c.key, RECORDS.c.data), given)
    return _in_order(query, given, first)


@cache
def scan(texts: int, dialect: str) -> Select[Any]:
    """Records of a status, the newest first, that may have ``texts`` texts in any case of letters.

    Only the letters of ASCII are compared without their case, the same way in every database. So a
    record with any other sign is given, too: some of them are another case of a letter of ASCII.
    """
    query = _narrowed(select(RECORDS.c.key, RECORDS.c.data), frozenset({"status"}))
    for number in range(texts):
        query = query.where(or_(_has(f"text_{number}", dialect), _is_beyond_ascii(dialect)))
    return _in_order(query, frozenset({"most"}), "newest")


def pattern(having: str) -> str:
    """The pattern of LIKE for a text that stands anywhere."""
    return f"%{having.translate(_ESCAPED)}%"


def _has(name: str, dialect: str) -> ColumnElement[bool]:
    wanted = bindparam(name, type_=String)
    if dialect == "postgresql":
        return RECORDS.c.data.collate("C").ilike(wanted, escape=ESCAPE)
    return RECORDS.c.data.like(wanted, escape=ESCAPE)


def _is_beyond_ascii(dialect: str) -> ColumnElement[bool]:
    data = RECORDS.c.data
    octets = func.octet_length(data)
    if dialect != "postgresql":
        octets = func.length(cast(data, LargeBinary))
    return octets > func.length(data)


@cache
def find_keys(newest_first: bool) -> Select[Any]:
    query = select(RECORDS.c.ordinal, RECORDS.c.key).where(
        RECORDS.c.collection == bindparam("collection"),
        RECORDS.c.status == bindparam("status"),
    )
    order = (RECORDS.c.ordinal, RECORDS.c.key)
    query = query.order_by(*[column.desc() for column in order] if newest_first else order)
    return query.limit(bindparam("most", type_=Integer))


def _narrowed(query: Select[Any], given: frozenset[str]) -> Select[Any]:
    query = query.where(RECORDS.c.collection == bindparam("collection"))
    if "status" in given:
        query = query.where(RECORDS.c.status.in_(bindparam("status", expanding=True)))
    if "group_key" in given:
        query = query.where(RECORDS.c.group_key == bindparam("group_key"))
    if "due" in given:
        query = query.where(RECORDS.c.due_at <= bindparam("due", type_=RECORDS.c.due_at.type))
    return query


def _in_order(query: Select[Any], given: frozenset[str], first: First) -> Select[Any]:
    order = (RECORDS.c.due_at if first in _BY_TIME else RECORDS.c.ordinal, RECORDS.c.key)
    backwards = first in ("newest", "latest")
    query = query.order_by(*[column.desc() for column in order] if backwards else order)
    if "most" in given:
        query = query.limit(bindparam("most", type_=Integer))
    return query.offset(bindparam("skipped", type_=Integer))
