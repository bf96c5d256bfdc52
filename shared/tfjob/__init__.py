"""Imports a TFJob (kubeflow.org/v1) as a job, and names everything without a counterpart.

A TFJob's program is in its image; a job of ours brings a package. So the import makes a tiny
package whose main program, in the image, becomes the container's command. A folder of one's own
takes its place where one is given.
"""

from shared.tfjob.importing import ROLES, Imported, NotImportableError, import_tfjob, write
from shared.tfjob.quantities import amount, memory
from shared.tfjob.reading import MAX_BYTES, UnreadableError, document

__all__ = [
    "MAX_BYTES",
    "ROLES",
    "Imported",
    "NotImportableError",
    "UnreadableError",
    "amount",
    "document",
    "import_tfjob",
    "memory",
    "write",
]
