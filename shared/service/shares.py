"""Assigns partitions to replicas; every replica computes the same assignment."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from itertools import product


@lru_cache(maxsize=4)
def shares(partitions: int, replicas: frozenset[str]) -> Mapping[int, str]:
    """The replica that is to work each partition; empty without replicas.

    Rendezvous hashing with bounded loads: every pair of partition and replica has a score, and the
    pairs are taken from the highest score down while the replica has room. So nobody has two more
    than anybody else, and a replica that comes or goes moves little beyond its own share.
    """
    names = sorted(replicas)
    if not names:
        return {}
    least, more = divmod(partitions, len(names))
    owner: dict[int, str] = {}
    load = dict.fromkeys(names, 0)
    pairs = product(range(partitions), names)
    for partition, name in sorted(pairs, key=_score):
        room = load[name] < least or (load[name] == least and more > 0)
        if partition in owner or not room:
            continue
        more -= load[name] == least
        owner[partition] = name
        load[name] += 1
    return owner


def _score(pair: tuple[int, str]) -> bytes:
    partition, name = pair
    return hashlib.blake2b(f"{partition} {name}".encode(), digest_size=8).digest()
