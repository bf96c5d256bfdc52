"""Notices about jobs: that one has ended, or waits for longer than its owner wants to wait."""
