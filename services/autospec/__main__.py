"""``python -m services.autospec``."""

from services.autospec.main import main

if __name__ == "__main__":
    main()
