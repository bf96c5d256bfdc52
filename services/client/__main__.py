"""``python -m services.client`` runs the service."""

from services.client.main import main

if __name__ == "__main__":
    main()
