"""How well machines are: 0 to 100, every term shown, and what to fix first."""
