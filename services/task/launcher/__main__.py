"""Runs a member: with a MemberSpec on standard input, or as a container of its pod."""

import sys

from services.task.launcher import main, pod

_WAYS = {(): main.main, ("fetch",): pod.fetch, ("pod",): pod.run}

if __name__ == "__main__":
    way = _WAYS.get(tuple(sys.argv[1:]))
    if way is None:
        sys.exit("usage: python3 -m services.task.launcher [fetch | pod]")
    sys.exit(way())
