"""``barograph``: run the platform on one machine, and operate it.

``application`` lists the commands. A group of commands is one module; ``apis`` calls the two HTTP
APIs for them, ``options`` holds the options they share.
"""

from shared.cli.application import app, complete, main

__all__ = ["app", "complete", "main"]
