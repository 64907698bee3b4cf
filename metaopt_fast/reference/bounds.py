"""A lower bound of the mean logistic loss by moments of the rows, in plain NumPy."""

from __future__ import annotations

import numpy as np

from metaopt_fast.reference.losses import Array, sigmoid, softplus


def moment_bound(
    rows: Array,
    weights: Array,
    anchor: Array,
    thetas: Array,
    spread: Array,
    ridge: float = 0.3,
    part: Array | float = 1.0,
) -> Array:
    """Return lower bounds of sum_i w_i softplus(r_i . theta), shape (K,), for thetas (K, D).

    With f = softplus, a_i = r_i . t at the anchor t, d = theta - t and u_i = r_i . d:

    1. |f'''| <= f'' (Bach 2010), so that f''(a + v) >= f''(a) exp(-|v|), and integrated twice
       f(a + u) >= f(a) + f'(a) u + f''(a) psi(|u|) with psi(x) = exp(-x) + x - 1. At t = 0,
       f(u) = log 2 + u / 2 + psi(|u|) with psi(x) = log cosh(x / 2): an equality, and twice as
       much far away. With h_i = f''(a_i), or 1 at t = 0, and masses m_i = w_i h_i / sum_i w_i h_i,

           L(theta) >= L(t) + g . d + amplitude E psi(|u|),  amplitude = sum_i w_i h_i,

       where E is the mean under those masses.
    2. H(v) = psi(sqrt(v)) has H(0) = 0 and H'' <= 0 <= H''': H' is a mixture of exp(-c sqrt(v)), or
       of 1 / (v + c) at t = 0, and both are completely monotone. The parabola q(v) = alpha v -
       beta v^2 that touches H at v* has H(v) - q(v) = H'''(xi) / 6 v (v - v*)^2 >= 0, and
       beta >= 0. Where E u^2 = s and E u^4 <= k s^2, v* = k s gives

           E H(u^2) >= alpha s - beta k s^2 = H(k s) / k.

       That rises with s and falls with k: s may be rounded down, and k up.
    3. With S = E r r' and a diagonal matrix R > 0, S + R = C C', w = C^-1 r and y = C' d, the
       variance of u^2 = (w . y)^2 = <y y', w w'> is at most lambda |y|^4, where lambda is the
       largest eigenvalue of the covariance of the D (D + 1) / 2 numbers w w'. So

           k = 1 + lambda (s~ / s)^2,  s~ = |y|^2,  s = s~ - d' R d.

       R keeps a row that nearly alone has a direction from making lambda as large as its mass is
       small. It is `ridge` of S in the mean over the directions in which candidates differ, those
       of `spread`, the root mean square of each parameter's d: so s~ / s is near 1 + ridge.

    `part` is 1 for rows with that curvature, and 0 for those that count as their tangents, as
    psi >= 0: a few rows that stand out, which make lambda large, are better left out of E.
    """
    a, steps = rows @ anchor, thetas - anchor
    at_zero = not anchor.any()
    masses = weights * part * (np.ones(len(a)) if at_zero else sigmoid(a) * sigmoid(-a))
    amplitude = masses.sum()
    masses = masses / amplitude
    moment = rows.T @ (masses[:, None] * rows)
    added = ridge * np.mean(np.diag(moment) * spread**2) / spread**2
    factor = np.linalg.cholesky(moment + np.diag(added))
    whitened = rows @ np.linalg.inv(factor).T
    dispersion = np.linalg.eigvalsh(covariance_of_products(whitened, masses))[-1]
    wide = ((steps @ factor) ** 2).sum(axis=1)
    s = np.maximum(wide - steps**2 @ added, 1e-300)
    k = 1 + dispersion * (wide / s) ** 2
    x = np.sqrt(k * s)
    psi = softplus(x) - x / 2 - np.log(2) if at_zero else np.expm1(-x) + x
    slope = rows.T @ (weights * sigmoid(a))
    return np.asarray(weights @ softplus(a) + steps @ slope + amplitude / k * psi)


def covariance_of_products(rows: Array, masses: Array) -> Array:
    """Return the covariance of r_a r_b for a <= b, times sqrt(2) where a < b: they stand twice."""
    a, b = np.triu_indices(rows.shape[1])
    products = rows[:, a] * rows[:, b] * np.where(a == b, 1, np.sqrt(2))
    products = products - masses @ products
    return np.asarray(products.T @ (masses[:, None] * products))
