"""``python -m services.healer.agent``."""

from services.healer.agent.main import main

if __name__ == "__main__":
    main()
