"""A program for tests of the fork server: tells about itself in its log, and ends as it is told."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    umask = os.umask(0)
    descriptors = sorted(path.name for path in Path("/proc/self/fd").iterdir())
    told = {
        "arguments": len(sys.argv),
        "descriptors": descriptors,
        "environment": dict(os.environ),
        "session": os.getsid(0),
        "umask": umask,
    }
    sys.stdout.write(f"{json.dumps(told)}\n")
    sys.stdout.flush()
    if "END" in os.environ:
        sys.exit(int(os.environ["END"]))
    time.sleep(600)
