"""The health of machines: a score from 0 to 100 with every term, and what to fix first."""
