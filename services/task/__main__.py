"""``python -m services.task`` runs the service; ``python -m services.task sweep`` tidies up."""

from __future__ import annotations

from shared import entry
from shared.terminal import refuse_arguments

if __name__ == "__main__":
    refuse_arguments("services.task", "sweep")
    entry.run("services.task.main", service=True)
