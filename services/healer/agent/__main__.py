"""``python -m services.healer.agent``."""

import sys

from services.healer.agent.main import main

if __name__ == "__main__":
    sys.exit(main())
