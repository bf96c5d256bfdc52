"""``python -m services.client.tshell``."""

from services.client.tshell.app import main

if __name__ == "__main__":
    main()
