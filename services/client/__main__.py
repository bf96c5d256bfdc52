"""``python -m services.client`` runs the service."""

import sys

from services.client.main import main

if __name__ == "__main__":
    sys.exit(main())
