"""Kubernetes quantities as ``job.submit`` wants them."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import ROUND_CEILING, Decimal

_QUANTITY = re.compile(
    r"([0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})"
    r"(?:[eE]([+-]?[0-9]{1,2})|(n|u|m|Ki|Mi|Gi|Ti|Pi|Ei|k|M|G|T|P|E))?"
)
_MAX_QUANTITY = 2**63 - 1
"""Kubernetes' largest quantity."""
_FACTORS = {
    "n": Decimal(10) ** -9,
    "u": Decimal(10) ** -6,
    "m": Decimal(10) ** -3,
    "k": Decimal(10) ** 3,
    "M": Decimal(10) ** 6,
    "G": Decimal(10) ** 9,
    "T": Decimal(10) ** 12,
    "P": Decimal(10) ** 15,
    "E": Decimal(10) ** 18,
    "Ki": Decimal(2) ** 10,
    "Mi": Decimal(2) ** 20,
    "Gi": Decimal(2) ** 30,
    "Ti": Decimal(2) ** 40,
    "Pi": Decimal(2) ** 50,
    "Ei": Decimal(2) ** 60,
    "": Decimal(1),
}
_MIB = 2**20


def amount(quantity: object) -> Decimal:
    """The number a quantity stands for, e.g. ``500m`` 0.5 and ``1Gi`` 1073741824.

    Raises:
        ValueError: when it is none.
    """
    text = str(quantity)[:100]
    match = _QUANTITY.fullmatch(text) if not isinstance(quantity, bool) else None
    if match is None:
        raise ValueError(f"{text!r} is not a Kubernetes quantity")
    number, exponent, suffix = match.groups()
    factor = Decimal(10) ** int(exponent) if exponent else _FACTORS[suffix or ""]
    found = Decimal(number) * factor
    if found > _MAX_QUANTITY:
        raise ValueError(f"{text!r} is more than Kubernetes can count")
    return found


def is_zero(quantity: object) -> bool:
    """Return whether it asks for nothing, as no quantity does.

    Raises:
        ValueError: when it is none.
    """
    return amount(quantity) == 0


def memory(quantity: object) -> str:
    """A quantity of bytes as a whole number of Mi, or of bytes where that is not exact.

    Raises:
        ValueError: when it is none, or so small that another unit was meant.
    """
    number = int(amount(quantity).to_integral_value(ROUND_CEILING))
    if 0 < number < _MIB:
        many = f"{number} byte{'s'[: number > 1]}"
        raise ValueError(f"{str(quantity)!r} is {many}; m are thousandths, write Mi or Gi")
    return f"{number // _MIB}Mi" if number % _MIB == 0 else str(number)


def _cores(quantity: object) -> float:
    return float(amount(quantity))


AMOUNTS: dict[str, tuple[str, Callable[[object], object]]] = {
    "cpu": ("cpu", _cores),
    "memory": ("memory", memory),
    "ephemeral-storage": ("storage", memory),
}
"""Kubernetes' resources that every container has, with our fields of them."""
