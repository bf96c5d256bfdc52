"""``python -m examples.demo``."""

from shared import entry

if __name__ == "__main__":
    entry.run("examples.demo.program")
