"""``barograph``: run the platform on one machine, and operate it.

``application`` lists the commands. A group of commands is one module; ``apis`` calls the two HTTP
APIs for them, ``options`` holds the options they share.
"""

from shared import entry

__all__ = ["main"]


def main() -> None:
    """The command's entry point."""
    entry.run("shared.cli.application")
