"""An incident's lifecycle: signals, evidence, handling and verification."""
