"""``python -m services.detector``."""

import sys


def _main() -> int:
    if sys.argv[1:] in (["-h"], ["--help"]):
        print(__doc__, "Settings come from BAROGRAPH_DETECTOR_... in the environment.")
        return 0
    from services.detector.main import run  # noqa: PLC0415 - help must not wait for numpy

    return run()


if __name__ == "__main__":
    sys.exit(_main())
