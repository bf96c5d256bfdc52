"""``tshell``: submit jobs and watch them from the command line."""

from shared import entry

__all__ = ["main"]


def main() -> None:
    """The command's entry point."""
    entry.run("services.client.tshell.app")
