"""``python -m services.task`` runs the service; ``python -m services.task sweep`` tidies up."""

import sys

from services.task.main import main

if __name__ == "__main__":
    sys.exit(main())
