"""Effective rank of a layer (RankMe): the number of directions over which its features spread."""

from typing import Any

import numpy as np

from rra_monitor.measure.quantity import Quantity


def effective_rank(kernel: Any) -> float:
    """The effective rank of centred features.

    Formula: exp(-sum_i p_i ln p_i), p_i = s_i / sum_j s_j, with s_i the singular values of the (n, d) features after
    centring: the square roots of the eigenvalues of their Gram matrix. RankMe does not centre.

    Args:
        kernel: `LinearKernel` of the features.

    Returns:
        1 to min(n - 1, d), higher for features that spread over more directions; NaN where all samples are equal.

    Source: Roy and Vetterli 2007; as a measure of representations, RankMe: Garrido et al. 2023.
    """
    values = kernel.eigenvalues()
    # Rounding turns eigenvalues of 0 into small ones, which would count as directions.
    values = np.sqrt(values[values > len(values) * np.finfo(float).eps * values.max(initial=0)])
    if not values.size:
        return float("nan")
    fractions = values / values.sum()
    return float(np.exp(-(fractions * np.log(fractions)).sum()))


QUANTITIES = (
    Quantity(
        "effective_rank",
        effective_rank,
        of="gram",
        title="Effective rank",
        unit="dimensions",
        low=1,
        digits=1,
        depends_on_k=False,
    ),
)
