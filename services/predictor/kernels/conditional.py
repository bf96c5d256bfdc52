"""The conditional likelihood: errors follow from zeros before the sample, and so do gradients.

``e(t) = x(t) - sum(phi_i x(t-i)) - sum(theta_j e(t-j))`` with x = w - mu. Its derivatives obey the
same recursion: one series for all phi, one for all theta, each shifted (Box and Jenkins 1970),
which makes an exact Jacobian nearly as cheap as the errors; Levenberg-Marquardt does the rest.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.predictor.kernels.polynomial import SIZE, solve, stable
from shared.compiled import dot, kernel

Floats = NDArray[np.float64]

_MIN_GAIN = 1e-6
_MIN_DAMPING, _FIRST_DAMPING, _MAX_DAMPING = 1e-9, 1e-4, 1e8
_ATTEMPTS, _HALVINGS = 6, 6
_REGISTERS = 3
"""Orders whose past values and errors are kept in registers."""


@kernel
def over_ma(x: Floats, theta: Floats, q: int, start: int) -> None:
    """Divide ``x`` by theta(B) in place from ``start`` on; q up to 3 stays in registers."""
    n = x.shape[0]
    if q == 0 or start >= n:
        return
    x1 = x[start - 1] if start > 0 else 0.0
    x2 = x[start - 2] if start > 1 else 0.0
    x3 = x[start - 3] if start > 2 else 0.0  # noqa: PLR2004 - as the lines above
    if q == 1:
        for t in range(start, n):
            x1 = x[t] - theta[0] * x1
            x[t] = x1
    elif q <= 3:  # noqa: PLR2004 - as many as there are registers here
        t1, t2, t3 = theta[0], theta[1], theta[2] if q > 2 else 0.0  # noqa: PLR2004 - as above
        for t in range(start, n):
            now = ((x[t] - t3 * x3) - t2 * x2) - t1 * x1
            x3, x2, x1 = x2, x1, now
            x[t] = now
    else:
        for t in range(start, n):
            now = x[t]
            for j in range(min(q, t) - 1, -1, -1):
                now -= theta[j] * x[t - 1 - j]
            x[t] = now


@kernel
def times_ar(w: Floats, mu: float, phi: Floats, p: int, start: int, out: Floats) -> None:
    """``out = phi(B) (w - mu)`` from ``start`` on, with zeros before the sample."""
    n = w.shape[0]
    for t in range(start, n):
        out[t] = w[t] - mu
    for i in range(p):
        first = max(start, i + 1)
        # Counted from 0, so that no place can be negative: then several are done at a time.
        later, before = out[first:], w[first - 1 - i :]
        for t in range(n - first):
            later[t] -= phi[i] * (before[t] - mu)


@kernel
def errors_from(
    w: Floats, mu: float, phi: Floats, p: int, theta: Floats, q: int, start: int, e: Floats
) -> None:
    """``e = phi(B) / theta(B) (w - mu)`` from ``start`` on, from the errors before it.

    In one pass where registers hold the past: the moving average waits for its own last result,
    and the autoregression costs nothing meanwhile.
    """
    n = w.shape[0]
    if not (0 < q <= _REGISTERS and p <= _REGISTERS and start >= _REGISTERS):
        times_ar(w, mu, phi, p, start, e)
        over_ma(e, theta, q, start)
        return
    f1, f2, f3 = phi[0] if p > 0 else 0.0, phi[1] if p > 1 else 0.0, phi[2] if p > 2 else 0.0  # noqa: PLR2004 - a name for each coefficient
    t1, t2, t3 = theta[0], theta[1] if q > 1 else 0.0, theta[2] if q > 2 else 0.0  # noqa: PLR2004 - a name for each coefficient
    w1, w2, w3 = w[start - 1] - mu, w[start - 2] - mu, w[start - 3] - mu
    e1, e2, e3 = e[start - 1], e[start - 2], e[start - 3]
    values, errors = w[start:], e[start:]
    for t in range(n - start):
        now = values[t] - mu
        x = ((now - f1 * w1) - f2 * w2) - f3 * w3
        x = ((x - t3 * e3) - t2 * e2) - t1 * e1
        w3, w2, w1 = w2, w1, now
        e3, e2, e1 = e2, e1, x
        errors[t] = x


@kernel
def _errors(w: Floats, x: Floats, p: int, q: int, mean: int, e: Floats) -> None:
    mu, phi, theta = x[0] if mean else 0.0, x[mean:], x[mean + p :]
    begin = min(_REGISTERS, w.shape[0])
    times_ar(w[:begin], mu, phi, p, 0, e[:begin])
    over_ma(e[:begin], theta, q, 0)
    errors_from(w, mu, phi, p, theta, q, begin, e)


@kernel
def _jacobian(w: Floats, x: Floats, p: int, q: int, mean: int, e: Floats, out: Floats) -> None:
    """Rows of ``out``: derivatives of e by mu, phi, theta."""
    n = w.shape[0]
    mu = x[0] if mean else 0.0
    theta = x[mean + p :]
    if mean:
        weight = 1.0
        for t in range(n):
            if 0 < t <= p:
                weight -= x[mean + t - 1]
            out[0, t] = -weight
        over_ma(out[0], theta, q, 0)
    for block in range(2):
        size = q if block else p
        if not size:
            continue
        row = mean + p if block else mean
        base = out[row]
        base[0] = 0.0
        later = base[1:]
        for t in range(n - 1):
            later[t] = -e[t] if block else mu - w[t]
        over_ma(base, theta, q, 0)
        for i in range(1, size):
            out[row + i, :i] = 0.0
            out[row + i, i:] = base[: n - i]


@kernel
def _try_step(x: Floats, step: Floats, p: int, q: int, mean: int, y: Floats) -> bool:
    """Sets y = x + step, the step halved until y is stationary and invertible."""
    part = 1.0
    for _ in range(_HALVINGS):
        for i in range(mean + p + q):
            y[i] = x[i] + part * step[i]
        if stable(y[mean:], p, 1.0, 1.0) and stable(y[mean + p :], q, -1.0, 1.0):
            return True
        part *= 0.5
    return False


@kernel
def fit_conditional(
    w: Floats, start: int, p: int, q: int, mean: int, x: Floats, most: int, scratch: Floats
) -> float:
    """Least sum of squared errors from ``start`` on; x = (mu if mean, phi, theta), in place.

    ``scratch``: (SIZE + 2, n). The sum, at most ``most`` iterations from x.
    """
    e, trial, jacobian = scratch[0], scratch[1], scratch[2:]
    k = mean + p + q
    matrix, right = np.empty((SIZE, SIZE)), np.empty(SIZE)
    step, y = np.empty(SIZE), np.empty(SIZE)
    _errors(w, x, p, q, mean, e)
    now = dot(e[start:], e[start:])
    damping = _FIRST_DAMPING
    for _ in range(most if k else 0):
        _jacobian(w, x, p, q, mean, e, jacobian)
        for i in range(k):
            right[i] = -dot(jacobian[i, start:], e[start:])
            for j in range(i, k):
                matrix[i, j] = dot(jacobian[i, start:], jacobian[j, start:])
        gain = -1.0
        for _ in range(_ATTEMPTS):
            found = solve(matrix, right, damping, k, step) and _try_step(x, step, p, q, mean, y)
            if found:
                _errors(w, y, p, q, mean, trial)
                gain = now - dot(trial[start:], trial[start:])
                if gain >= 0.0:
                    break
            damping = min(damping * 8.0 + 1e-6, _MAX_DAMPING)
        if not gain >= 0.0:
            break
        x[:k] = y[:k]
        e[:] = trial
        now -= gain
        damping = max(damping * 0.2, _MIN_DAMPING)
        if gain <= _MIN_GAIN * now:
            break
    return now
