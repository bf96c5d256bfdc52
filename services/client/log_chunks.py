"""The list of the newest log chunks of each job; the object store has them all."""

from __future__ import annotations

from services.client.records import CHUNKS, TALLIES, LogChunk, LogTally
from shared.contracts import LogAppended
from shared.service import Context

_AT_ONCE = 500
_DROPPED_FROM = 100
"""Chunks too many before some are dropped, so that not each new one costs a deletion."""


def add(message: LogAppended, most: int, ctx: Context) -> bool:
    """List the chunk, and only the newest ``most`` of its job; return whether it was new."""
    chunk = LogChunk(
        job_id=message.job_id,
        member=message.member.name,
        incarnation=message.member.incarnation,
        chunk=message.chunk,
        object_key=message.key,
        at=message.at,
    )
    if ctx.records.get(CHUNKS, chunk.key) is not None:
        return False
    ctx.records.put(CHUNKS, chunk)
    _tally(message.job_id, most, ctx)
    return True


def _tally(job_id: str, most: int, ctx: Context) -> None:
    """Count the chunk that was put last, and drop the oldest ones that are too many."""
    known = ctx.records.get(TALLIES, job_id)
    # An earlier version listed chunks without counting them.
    stored = known.stored + 1 if known else len(ctx.records.find(CHUNKS, group=job_id))
    dropped = known.dropped if known else 0
    excess = stored - dropped - most
    if excess >= _DROPPED_FROM:
        oldest = ctx.records.find(CHUNKS, group=job_id, limit=min(excess, _AT_ONCE))
        for each in oldest:
            ctx.records.delete(CHUNKS, each.key)
        dropped += len(oldest)
    ctx.records.put(TALLIES, LogTally(job_id=job_id, stored=stored, dropped=dropped))
