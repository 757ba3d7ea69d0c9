"""How much two NNLS matrices differ (the thesis's NNLS_SIM)."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt


def nnls_divergence(matrix_p: Any, matrix_q: Any) -> float:
    """The mean Jensen-Shannon divergence between the corresponding cells of two NNLS matrices, in bits.

    Formula: 1 / (l_p l_q) sum_ij JSD(P_ij || Q_ij), each cell v taken as the Bernoulli distribution (v, 1 - v):
    JSD(p || q) = (KL(p || m) + KL(q || m)) / 2 with m = (p + q) / 2 and
    KL(a || b) = a log2(a / b) + (1 - a) log2((1 - a) / (1 - b)), where 0 log 0 = 0. Zeros and ones are therefore
    ordinary values: m is 0 or 1 only where both cells are.

    The thesis names the matrices after one network in two parameterisations (n, k); whatever they are, cell ij of both
    must belong to the same pair of layers. Cells of dissimilar layers differ little under any parameterisation, so the
    mean over all cells falls with the number of layers (section 5.3.2 says so too).

    Args:
        matrix_p: (l_p, l_q) NNLS values, 0 to 1.
        matrix_q: NNLS values of the same shape and the same layers.

    Returns:
        0 for equal matrices, at most 1 (all cells 0 in one and 1 in the other); symmetric in its arguments. Close cells
        give about (p - q)² / (8 p (1 - p) ln 2).

    Raises:
        ValueError: matrices of different shape or with no cells; values outside 0 to 1 or NaN.

    Source: Eq. 5.2 of the thesis, which defines neither the divergence of single numbers nor the base of the logarithm:
    Bernoulli probabilities and base 2 are our choice.

    >>> nnls_divergence([[1.0, 0.0]], [[1.0, 1.0]])
    0.5
    """
    p, q = _checked(matrix_p, "first"), _checked(matrix_q, "second")
    if p.shape != q.shape or not p.size:
        raise ValueError(
            f"the matrices have shapes {p.shape} and {q.shape}, expected one shape (l_p, l_q) with cells of the same "
            "layers; pick the rows and columns of the layers that both have"
        )
    return float((_half(p, q) + _half(1 - p, 1 - q)).mean())


def _half(p: npt.NDArray[np.float64], q: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(p log2(p / m) + q log2(q / m)) / 2 with m = (p + q) / 2."""
    total = p + q
    # p / m = 1 + away and q / m = 1 - away: exact where p and q are close, which a difference of entropies is not.
    away = np.divide(p - q, total, out=np.zeros_like(total), where=total > 0)
    half: npt.NDArray[np.float64] = (_times_log(p, away) + _times_log(q, -away)) / (2 * math.log(2))
    return half


def _times_log(p: npt.NDArray[np.float64], away: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """p ln(1 + away), 0 where p is 0."""
    logarithms = np.log1p(away, out=np.zeros_like(p), where=p > 0)
    terms: npt.NDArray[np.float64] = p * logarithms
    return terms


def _checked(matrix: Any, which: str) -> npt.NDArray[np.float64]:
    values = np.asarray(matrix, dtype=np.float64)
    outside = ~((values >= 0) & (values <= 1))
    if outside.any():
        cell = tuple(int(i) for i in np.argwhere(outside)[0])
        raise ValueError(
            f"the {which} matrix holds {values[cell]} at {cell}, expected NNLS values in 0 to 1; leave out the layers "
            "without a value, and pass values as `nnls_matrix` gives them, not adjusted ones"
        )
    return values
