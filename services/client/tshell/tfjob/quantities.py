"""Kubernetes quantities as ``job.submit`` wants them."""

from __future__ import annotations

import re
from decimal import Decimal

_QUANTITY = re.compile(r"^([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(m|Ki|Mi|Gi|Ti|Pi|k|M|G|T|P|[eE][0-9]+)?$")
_FACTORS = {
    "m": Decimal("0.001"),
    "k": Decimal(10) ** 3,
    "M": Decimal(10) ** 6,
    "G": Decimal(10) ** 9,
    "T": Decimal(10) ** 12,
    "P": Decimal(10) ** 15,
    "Ki": Decimal(2) ** 10,
    "Mi": Decimal(2) ** 20,
    "Gi": Decimal(2) ** 30,
    "Ti": Decimal(2) ** 40,
    "Pi": Decimal(2) ** 50,
    "": Decimal(1),
}
_MIB = 2**20


def amount(quantity: object) -> Decimal:
    """The number a quantity stands for, e.g. ``500m`` 0.5 and ``1Gi`` 1073741824.

    Raises:
        ValueError: when it is none.
    """
    match = _QUANTITY.match(str(quantity)) if not isinstance(quantity, bool) else None
    if match is None:
        raise ValueError(f"{quantity!r} is not a Kubernetes quantity")
    number, suffix = match.groups()
    if suffix and suffix[0] in "eE":
        return Decimal(number) * Decimal(10) ** int(suffix[1:])
    return Decimal(number) * _FACTORS[suffix or ""]


def memory(quantity: object) -> str:
    """A quantity of bytes as a whole number of Mi, or of bytes where that is not exact."""
    number = int(amount(quantity))
    return f"{number // _MIB}Mi" if number % _MIB == 0 else str(number)
