"""Chooses p and q: all orders by regression, the best of them by their likelihoods.

Hannan and Rissanen (1982): the errors of a long autoregression (Burg's) stand in for the unknown
ones, which makes every order a least squares problem on columns of one Gram matrix. The orders of
least criterion are fitted by the conditional likelihood from there, and the best of these by the
exact one, which has the last word.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.predictor.kernels.conditional import fit_conditional
from services.predictor.kernels.exact import fit_exact
from services.predictor.kernels.polynomial import SIZE, shrink, solve, stable
from shared.compiled import dot, kernel

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]

AIC, AICC, BIC = 0, 1, 2
_NEAR_UNIT_ROOT = 1.005
"""Roots nearer to the unit circle disqualify an order: its forecasts are not to be trusted."""
_START_BEYOND = 1.02
_POINTS_A_PARAMETER = 5
_MIN_GAIN = 0.05


@kernel
def criterion_of(kind: int, squares: float, k: int, n: int) -> float:
    """AIC, AICc or BIC, up to what depends on n only, of k parameters and the variance."""
    value = float(n * np.log(squares / n))
    if kind == BIC:
        return value + float((k + 1) * np.log(n))
    value += 2.0 * (k + 1)
    if kind == AICC:
        left = n - k - 2
        value += 2.0 * (k + 1) * (k + 2) / left if left > 0 else np.inf
    return value


@kernel
def _burg(x: Floats, order: int) -> Floats:
    """One-step errors of a long autoregression by Burg's method."""
    forward, backward = x.copy(), x.copy()
    n = x.shape[0]
    for m in range(order):
        cross = dot(forward[m + 1 :], backward[m : n - 1])
        power = dot(forward[m + 1 :], forward[m + 1 :]) + dot(
            backward[m : n - 1], backward[m : n - 1]
        )
        if power <= 0.0:
            break
        k = 2.0 * cross / power
        ahead, behind, before = forward[m + 1 :], backward[m + 1 :], backward[m]
        for t in range(n - m - 1):
            now, held = ahead[t], behind[t]
            ahead[t], behind[t] = now - k * before, before - k * now
            before = held
    return forward


@kernel
def _regressions(
    w: Floats, max_p: int, max_q: int, mean: int, kind: int, starts: Floats, values: Floats
) -> None:
    """Least squares starts (p, q, SIZE) of all orders and their criteria; inf where singular."""
    n = w.shape[0]
    center = w.mean() if mean else 0.0
    x = w - center
    longest = max(1, min(max(max_p, max_q) + 2 + int(3.0 * np.log10(n)), n // 4))
    errors = _burg(x, longest)
    begin = longest + max(max_p, max_q)
    n_obs = n - begin
    design = np.empty((1 + max_p + max_q, n_obs))
    design[0] = 1.0
    for i in range(max_p):
        design[1 + i] = x[begin - 1 - i : n - 1 - i]
    for j in range(max_q):
        design[1 + max_p + j] = errors[begin - 1 - j : n - 1 - j]
    target = x[begin:]
    total = dot(target, target)
    size = design.shape[0]
    gram, right = np.empty((size, size)), np.empty(size)
    for i in range(size):
        right[i] = dot(design[i], target)
        for j in range(i, size):
            gram[i, j] = dot(design[i], design[j])
            gram[j, i] = gram[i, j]
    columns = np.empty(SIZE, np.int64)
    columns[0] = 0
    for p in range(max_p + 1):
        for q in range(max_q + 1):
            for i in range(p):
                columns[mean + i] = 1 + i
            for j in range(q):
                columns[mean + p + j] = 1 + max_p + j
            k = mean + p + q
            left = _regression(gram, right, total, columns, k, starts[p, q])
            if left < np.inf:
                _admissible(starts[p, q], p, q, mean, center)
                values[p, q] = criterion_of(kind, left, k, n_obs)


@kernel
def _regression(
    gram: Floats, right: Floats, total: float, columns: Longs, k: int, found: Floats
) -> float:
    """Coefficients of ``k`` columns; the sum of squares left, inf where they are collinear."""
    matrix, own = np.empty((SIZE, SIZE)), np.empty(SIZE)
    for i in range(k):
        own[i] = right[columns[i]]
        for j in range(k):
            matrix[i, j] = gram[columns[i], columns[j]]
    if k and not solve(matrix, own, 0.0, k, found):
        return np.inf
    left = total
    for i in range(k):
        left -= found[i] * own[i]
    return max(left, 1e-12 * total)


@kernel
def _admissible(x: Floats, p: int, q: int, mean: int, center: float) -> None:
    """From a regression's constant to the mean, and inside the admissible region."""
    if mean:
        rest = 1.0
        for i in range(p):
            rest -= x[1 + i]
        x[0] = center + (x[0] / rest if abs(rest) > _MIN_GAIN else 0.0)
    shrink(x[mean:], p, 1.0, _START_BEYOND)
    shrink(x[mean + p :], q, -1.0, _START_BEYOND)


@kernel
def _leave_out(values: Floats, n: int, mean: int, fixed_p: int, fixed_q: int) -> None:
    """Leave out the orders that are not asked for, or have too many parameters for n points."""
    for p in range(values.shape[0]):
        for q in range(values.shape[1]):
            if fixed_p >= 0:
                values[p, q] = 0.0 if (p, q) == (fixed_p, fixed_q) else np.inf
            elif p + q > 0 and (mean + p + q) * _POINTS_A_PARAMETER > n:
                values[p, q] = np.inf


@kernel
def _screen(
    w: Floats,
    values: Floats,
    starts: Floats,
    mean: int,
    kind: int,
    screened: int,
    fixed: bool,
    counts: Longs,
    scratch: Floats,
) -> Floats:
    """Criteria by the conditional likelihood of the ``screened`` orders of least ``values``.

    By number of order; inf for the others. ``starts`` become the fitted parameters.
    """
    orders, n = values.shape[1], w.shape[0]
    start = max(values.shape[0], orders) - 1
    conditional = np.full(values.size, np.inf)
    ranked = np.argsort(values.ravel())
    for at in ranked[:screened]:
        p, q = at // orders, at % orders
        if not values[p, q] < np.inf:
            break
        counts[3] += 1
        x = starts[p, q]
        squares = fit_conditional(w, start, p, q, mean, x, 12, scratch)
        good = stable(x[mean:], p, 1.0, _NEAR_UNIT_ROOT)
        good &= stable(x[mean + p :], q, -1.0, _NEAR_UNIT_ROOT)
        if squares > 0.0 and squares < np.inf and (good or fixed):
            conditional[at] = criterion_of(kind, squares, mean + p + q, n - start)
        else:
            counts[4] += 1
    return conditional


@kernel
def best_order(
    w: Floats,
    max_p: int,
    max_q: int,
    fixed_p: int,
    fixed_q: int,
    mean: int,
    optional_mean: int,
    kind: int,
    screened: int,
    refined: int,
    found: Floats,
    errors: Floats,
    counts: Longs,
) -> float:
    """The order of least criterion (or ``fixed_p, fixed_q`` where they are not negative).

    ``found``: (mu, phi, theta) with SIZE places; ``errors``: standardised (n,); ``counts``:
    p, q, whether a mean was kept, orders fitted, orders that could not be. S, or inf where no
    order could be fitted.
    """
    n, fixed = w.shape[0], fixed_p >= 0
    starts = np.zeros((max_p + 1, max_q + 1, SIZE))
    values = np.full((max_p + 1, max_q + 1), np.inf)
    _regressions(w, max_p, max_q, mean, kind, starts, values)
    _leave_out(values, n, mean, fixed_p, fixed_q)
    scratch = np.empty((SIZE + 2, n))
    conditional = _screen(w, values, starts, mean, kind, screened, fixed, counts, scratch)
    best, result = np.inf, np.inf
    enough = 1e-11 if fixed else 1e-6
    ranked = np.argsort(conditional)
    for at in ranked[:refined]:
        if not conditional[at] < np.inf:
            break
        p, q = at // (max_q + 1), at % (max_q + 1)
        for kept in range(mean, -1 if optional_mean else mean - 1, -1):
            x = starts[p, q]
            if kept < mean:
                x = x[1:].copy()
            squares = fit_exact(w, p, q, kept, x, 30, enough, scratch)
            if not (squares > 0.0 and squares < np.inf):
                continue
            value = criterion_of(kind, squares, kept + p + q, n)
            if value < best:
                best, result = value, squares
                counts[0], counts[1], counts[2] = p, q, kept
                found[:] = 0.0
                found[1 - kept : 1 - kept + kept + p + q] = x[: kept + p + q]
                errors[:] = scratch[0]
    return result
