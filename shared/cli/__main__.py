"""``python -m shared.cli``."""

from shared.cli.application import main

main()
