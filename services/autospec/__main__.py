"""``python -m services.autospec``."""

import sys

from services.autospec.main import main

if __name__ == "__main__":
    sys.exit(main())
