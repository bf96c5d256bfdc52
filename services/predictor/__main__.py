"""``python -m services.predictor``."""

import sys


def _main() -> int:
    if sys.argv[1:] in (["-h"], ["--help"]):
        print(__doc__, "Settings come from BAROGRAPH_PREDICTOR_... in the environment.")
        return 0
    from services.predictor.main import run  # noqa: PLC0415 - help must not wait for numpy

    return run()


if __name__ == "__main__":
    sys.exit(_main())
