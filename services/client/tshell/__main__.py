"""``python -m services.client.tshell``."""

from services.client.tshell import main

if __name__ == "__main__":
    main()
