"""The life of an incident: what a signal changes, evidence, handling and verification."""
