"""``python -m services.task.launcher`` with a MemberSpec on standard input."""

import sys

from services.task.launcher.main import main

if __name__ == "__main__":
    sys.exit(main())
