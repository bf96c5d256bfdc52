"""``tshell``: submit jobs and watch them from the command line."""

from services.client.tshell.app import main

__all__ = ["main"]
