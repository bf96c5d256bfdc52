"""Documents derived from the contracts and the topology; a check fails when they are stale."""

from shared.documents.files import generated_files, stale_files, write_files

__all__ = ["generated_files", "stale_files", "write_files"]
