"""The exact Gaussian likelihood, by the innovations algorithm (Brockwell and Davis 1991, 5.3, 8.7).

With the variance profiled out, ``-2 log L = n log S + const`` where S is the sum of squares of
standardised one-step errors, scaled by the geometric mean of their variances: again least squares,
solved in coordinates in which no step can leave the stationary and invertible region.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.predictor.kernels.conditional import errors_from
from services.predictor.kernels.polynomial import MAX_ORDER, SIZE, from_free, solve, to_free
from shared.compiled import dot, kernel

Floats = NDArray[np.float64]

_STEADY = 1e-9
_SINGULAR = 1e-14
_DIFFERENCE = 1e-6
_FURTHEST = 4.9  # tanh of it is 0.9999
_ATTEMPTS = 8
_RING = MAX_ORDER + 1


@kernel
def autocovariances(phi: Floats, p: int, theta: Floats, q: int, most: int, out: Floats) -> bool:
    """``out[k]`` = gamma(k)/sigma^2 for k = 0..most; False where they cannot be had."""
    right = np.zeros(MAX_ORDER + 1)
    psi = np.zeros(MAX_ORDER + 1)
    psi[0] = 1.0
    for j in range(1, q + 1):
        psi[j] = theta[j - 1]
        for i in range(min(j, p)):
            psi[j] += phi[i] * psi[j - 1 - i]
    for k in range(q + 1):
        for j in range(k, q + 1):
            right[k] += (theta[j - 1] if j else 1.0) * psi[j - k]
    system = np.zeros((p + 1, p + 2))
    for k in range(p + 1):
        system[k, k] += 1.0
        for i in range(1, p + 1):
            system[k, abs(k - i)] -= phi[i - 1]
        system[k, p + 1] = right[k]
    if not _eliminate(system, out):
        return False
    for k in range(p + 1, most + 1):
        out[k] = right[k] if k <= q else 0.0
        for i in range(1, p + 1):
            out[k] += phi[i - 1] * out[k - i]
    return bool(out[0] > 0.0)


@kernel
def _eliminate(system: Floats, out: Floats) -> bool:
    """Solve (n, n+1) by elimination with pivots."""
    n = system.shape[0]
    for c in range(n):
        best = c
        for r in range(c + 1, n):
            if abs(system[r, c]) > abs(system[best, c]):
                best = r
        if abs(system[best, c]) < _SINGULAR:
            return False
        for j in range(n + 1):
            system[c, j], system[best, j] = system[best, j], system[c, j]
        for r in range(c + 1, n):
            factor = system[r, c] / system[c, c]
            for j in range(c, n + 1):
                system[r, j] -= factor * system[c, j]
    for c in range(n - 1, -1, -1):
        s = system[c, n]
        for j in range(c + 1, n):
            s -= system[c, j] * out[j]
        out[c] = s / system[c, c]
    return True


@kernel
def _kappas(
    phi: Floats, p: int, theta: Floats, q: int, gamma: Floats, late: Floats, mixed: Floats
) -> None:
    """Covariances of the transformed process by lag: late for both times > m, mixed across m."""
    for lag in range(q + 1):
        s = theta[lag - 1] if lag else 1.0
        for r in range(1, q + 1 - lag):
            s += theta[r - 1] * theta[r + lag - 1]
        late[lag] = s
    for lag in range(2 * max(p, q) + 1):
        s = gamma[lag]
        for r in range(1, p + 1):
            s -= phi[r - 1] * gamma[abs(r - lag)]
        mixed[lag] = s


@kernel
def innovations(
    w: Floats, mu: float, phi: Floats, p: int, theta: Floats, q: int, u: Floats
) -> float:
    """``u``: one-step errors over the root of their relative variance; the sum of its logs.

    inf where the parameters are not usable. The relative variance falls to 1; from there on the
    errors are the conditional recursion's.
    """
    n, m = w.shape[0], max(p, q)
    gamma, mixed = np.zeros(SIZE + 1), np.zeros(SIZE + 1)
    late = np.zeros(_RING)
    if not autocovariances(phi, p, theta, q, 2 * m, gamma):
        return np.inf
    _kappas(phi, p, theta, q, gamma, late, mixed)
    weights = np.zeros((_RING, _RING))
    variances, errors = np.zeros(_RING), np.zeros(_RING)
    logs, t = 0.0, 0
    while t < n:
        row = t % _RING
        low = max(0, t - (m if t < m else q))
        variance = gamma[0] if t < m else late[0]
        predicted = 0.0
        for k in range(low, t):
            lag = t - k
            if t < m:
                s = gamma[lag]
            elif k < m:
                s = mixed[lag]
            else:
                s = late[lag]
            for j in range(low, k):
                s -= weights[k % _RING, k - j] * weights[row, t - j] * variances[j % _RING]
            weights[row, lag] = s / variances[k % _RING]
            variance -= s * weights[row, lag]
            predicted += weights[row, lag] * errors[k % _RING]
        if not variance > 0.0:
            return np.inf
        if t >= m:
            for i in range(p):
                predicted += phi[i] * (w[t - 1 - i] - mu)
        variances[row] = variance
        errors[row] = w[t] - mu - predicted
        u[t] = errors[row] / np.sqrt(variance)
        logs += np.log(variance)
        t += 1
        if t > m + q and abs(variance - 1.0) < _STEADY:
            break
    if t < n:
        errors_from(w, mu, phi, p, theta, q, t, u)
    return logs


@kernel
def _scaled(w: Floats, z: Floats, p: int, q: int, mean: int, u: Floats) -> float:
    """S at the free coordinates z = (mu if mean, ...), ``u`` its scaled errors."""
    phi, theta = np.zeros(MAX_ORDER), np.zeros(MAX_ORDER)
    from_free(z[mean:], p, 1.0, phi)
    from_free(z[mean + p :], q, -1.0, theta)
    logs = innovations(w, z[0] if mean else 0.0, phi, p, theta, q, u)
    if not logs < np.inf:
        return np.inf
    factor = np.exp(logs / (2.0 * w.shape[0]))
    for t in range(w.shape[0]):
        u[t] *= factor
    return dot(u, u)


@kernel
def fit_exact(
    w: Floats, p: int, q: int, mean: int, x: Floats, most: int, enough: float, scratch: Floats
) -> float:
    """Most likely x = (mu if mean, phi, theta), in place, from x; returns S.

    ``scratch``: (SIZE + 2, n), its first row the standardised errors in the end. ``enough``: the
    relative gain of a step that ends it.
    """
    u, trial, jacobian = scratch[0], scratch[1], scratch[2:]
    n, k = w.shape[0], mean + p + q
    z, y, step, right = np.zeros(SIZE), np.zeros(SIZE), np.zeros(SIZE), np.zeros(SIZE)
    matrix = np.zeros((SIZE, SIZE))
    z[0] = x[0]
    to_free(x[mean:], p, 1.0, z[mean:])
    to_free(x[mean + p :], q, -1.0, z[mean + p :])
    now = _scaled(w, z, p, q, mean, u)
    damping = 1e-4
    for _ in range(most if k and now < np.inf else 0):
        for i in range(k):
            kept, h = z[i], _DIFFERENCE * max(1.0, abs(z[i]))
            z[i] += h
            if not _scaled(w, z, p, q, mean, jacobian[i]) < np.inf:
                return np.inf
            z[i] = kept
            for t in range(n):
                jacobian[i, t] = (jacobian[i, t] - u[t]) / h
            right[i] = -dot(jacobian[i], u)
            for j in range(i + 1):
                matrix[j, i] = dot(jacobian[j], jacobian[i])
        gain = -1.0
        for _ in range(_ATTEMPTS):
            if solve(matrix, right, damping, k, step):
                for i in range(k):
                    far = z[i] + step[i]
                    y[i] = far if i < mean else min(max(far, -_FURTHEST), _FURTHEST)
                gain = now - _scaled(w, y, p, q, mean, trial)
                if gain >= 0.0:
                    break
            damping = min(damping * 10.0 + 1e-6, 1e8)
        if not gain >= 0.0:
            break
        z[:k] = y[:k]
        u[:] = trial
        now -= gain
        damping = max(damping * 0.1, 1e-10)
        if gain <= enough * now:
            break
    if mean:
        x[0] = z[0]
    from_free(z[mean:], p, 1.0, x[mean:])
    from_free(z[mean + p :], q, -1.0, x[mean + p :])
    if now < np.inf:
        innovations(w, z[0] if mean else 0.0, x[mean:], p, x[mean + p :], q, u)
    return now
