"""A notice as text, mail, table and picture."""
