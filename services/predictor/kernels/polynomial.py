"""Lag polynomials: whether their roots are stable, and coordinates that keep them so.

An autoregression is stationary, a moving average invertible, where all partial autocorrelations
of its polynomial lie between -1 and 1 (Barndorff-Nielsen and Schou 1973; Monahan 1984).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.compiled import kernel

Floats = NDArray[np.float64]

MAX_ORDER = 5
"""Largest order."""
SIZE = 2 * MAX_ORDER + 1
"""Most parameters: mean, autoregression, moving average."""
_NEAREST = 0.9999
_SINGULAR = 1e-13


@kernel
def _step_down(a: Floats, b: Floats, order: int) -> float:
    """From coefficients of ``order`` to those of one less; the partial autocorrelation."""
    r = a[order - 1]
    for i in range(order - 1):
        b[i] = (a[i] + r * a[order - 2 - i]) / (1.0 - r * r)
    for i in range(order - 1):
        a[i] = b[i]
    return float(r)


@kernel
def stable(coefficients: Floats, order: int, sign: float, beyond: float) -> bool:
    """Return whether all roots of ``1 - sum(sign*c_i*z^i)`` are larger than ``beyond``."""
    a, b = np.empty(MAX_ORDER), np.empty(MAX_ORDER)
    power = sign
    for i in range(order):
        power *= beyond
        a[i] = power * coefficients[i]
    for m in range(order, 0, -1):
        if not abs(a[m - 1]) < 1.0:
            return False
        _step_down(a, b, m)
    return True


@kernel
def shrink(coefficients: Floats, order: int, sign: float, beyond: float) -> None:
    """Pull the roots outwards, in place, until all are larger than ``beyond``."""
    for _ in range(100):
        if stable(coefficients, order, sign, beyond):
            return
        power = 1.0
        for i in range(order):
            power *= 0.95
            coefficients[i] *= power
    coefficients[:order] = 0.0


@kernel
def to_free(coefficients: Floats, order: int, sign: float, free: Floats) -> None:
    """Coordinates without bounds: the inverse tanh of the partial autocorrelations."""
    a, b = np.empty(MAX_ORDER), np.empty(MAX_ORDER)
    for i in range(order):
        a[i] = sign * coefficients[i]
    for m in range(order, 0, -1):
        a[m - 1] = min(max(a[m - 1], -_NEAREST), _NEAREST)
        free[m - 1] = np.arctanh(_step_down(a, b, m))


@kernel
def from_free(free: Floats, order: int, sign: float, coefficients: Floats) -> None:
    """The inverse of ``to_free``."""
    b = np.empty(MAX_ORDER)
    for m in range(order):
        r = np.tanh(free[m])
        for i in range(m):
            b[i] = coefficients[i] - r * coefficients[m - 1 - i]
        for i in range(m):
            coefficients[i] = b[i]
        coefficients[m] = r
    for i in range(order):
        coefficients[i] *= sign


@kernel
def solve(matrix: Floats, right: Floats, damping: float, k: int, x: Floats) -> bool:
    """Cholesky for ``(A + damping*diag(A)) x = right``; False where A is not positive definite."""
    factor = np.empty((SIZE, SIZE))
    for j in range(k):
        for i in range(j + 1):
            s = matrix[i, j]
            if i == j:
                s += damping * matrix[i, i]
            for m in range(i):
                s -= factor[i, m] * factor[j, m]
            if i < j:
                factor[j, i] = s / factor[i, i]
            elif not s > _SINGULAR * matrix[j, j]:
                return False
            else:
                factor[j, j] = np.sqrt(s)
    for j in range(k):
        s = right[j]
        for m in range(j):
            s -= factor[j, m] * x[m]
        x[j] = s / factor[j, j]
    for j in range(k - 1, -1, -1):
        s = x[j]
        for m in range(j + 1, k):
            s -= factor[m, j] * x[m]
        x[j] = s / factor[j, j]
    return True
